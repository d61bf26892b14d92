"""The file of a bundle: a zip archive with a manifest of its files and their hashes.

A bundle may come from anybody. Nothing is unpacked by the names that stand in it, every size is
bounded before anything is read, and only what the manifest lists is looked at.
"""

from __future__ import annotations

import hashlib
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from zlib import error as zlib_error

import orjson

from evenhand.errors import UsageError
from evenhand.files import write_file
from evenhand.text import one_line

MANIFEST = "manifest.json"
FORMAT = 1
_NAME = re.compile(r"(?:\w[\w.+-]*/){0,4}\w[\w.+-]*", re.ASCII)
_MOST_FILES = 20_000
_MOST_BYTES = 4 * 2**30
"""Of all files, unpacked."""
_MOST_OF_A_FILE = 64 * 2**20
"""Of a file, and of a line of one, that is read as a whole."""
_CHUNK = 2**20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_EPOCH = (1980, 1, 1, 0, 0, 0)


class BundleWriter:
    """Writes the files of a bundle, and last the manifest that lists them."""

    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
        self._files: dict[str, dict[str, Any]] = {}
        self._bytes = 0

    def add(self, name: str, chunks: Iterable[bytes]) -> None:
        """Write one file.

        Raises:
            UsageError: the bundle would be larger than a reader accepts.
        """
        digest, size = hashlib.sha256(), 0
        info = zipfile.ZipInfo(name, _EPOCH)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = (stat.S_IFREG | 0o600) << 16
        with self._zip.open(info, "w", force_zip64=True) as out:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                out.write(chunk)
        self._bytes += size
        if self._bytes > _MOST_BYTES or len(self._files) >= _MOST_FILES - 1:
            raise UsageError("the run is too large for a bundle (4 GiB); bundle a smaller study")
        self._files[name] = {"sha256": digest.hexdigest(), "bytes": size}

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the manifest, and end the archive."""
        manifest = {"format": FORMAT, **facts, "files": self._files}
        text = orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n"
        self._zip.writestr(zipfile.ZipInfo(MANIFEST, _EPOCH), text, zipfile.ZIP_DEFLATED)
        self._zip.close()


class BundleReader:
    """An open bundle.

    Attributes:
        manifest: what it says of itself; nothing in it is to be trusted.

    Raises:
        UsageError: the file is not a bundle, or one that could do harm.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise UsageError(f"{path}: there is no such file") from None
        except IsADirectoryError:
            made = f"evenhand bundle {path} --out FILE.zip"
            raise UsageError(f"{path}: a folder; a bundle of a run is written by: {made}") from None
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise UsageError(f"{path}: not a bundle: {one_line(str(error))}") from None
        try:
            self._entries = self._checked_entries()
            self.manifest = self._read_manifest()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    @property
    def names(self) -> set[str]:
        """All files but the manifest."""
        return set(self._entries) - {MANIFEST}

    def chunks(self, name: str) -> Iterator[bytes]:
        """The content of a file, never more than was declared.

        Raises:
            UsageError: it is not there, or damaged.
        """
        with self._open(name) as file:
            while chunk := self._next(name, file, _CHUNK):
                yield chunk

    def read(self, name: str) -> bytes:
        """The content of a small file.

        Raises:
            UsageError: it is not there, damaged, or too large.
        """
        if name in self._entries and self._entries[name].file_size > _MOST_OF_A_FILE:
            raise self._fault(f"{name} is too large")
        return b"".join(self.chunks(name))

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        """The objects of a file with one a line.

        Raises:
            UsageError: it is not there, damaged, or holds something else.
        """
        left = b""
        for chunk in self.chunks(name):
            *lines, left = (left + chunk).split(b"\n")
            if len(left) > _MOST_OF_A_FILE:
                raise self._fault(f"{name} has a line that is too long")
            yield from (self._row(name, line) for line in lines if line)
        if left:
            yield self._row(name, left)

    def digest(self, name: str) -> str:
        """SHA-256 of a file."""
        digest = hashlib.sha256()
        for chunk in self.chunks(name):
            digest.update(chunk)
        return digest.hexdigest()

    def extract(self, names: Iterable[str], folder: Path) -> None:
        """Copy files into a folder under their own names, which hold nothing but plain parts."""
        for name in names:
            write_file(folder / name, self.read(name), UsageError, private=True)

    def _row(self, name: str, line: bytes) -> dict[str, Any]:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            row = None
        if not isinstance(row, dict):
            raise self._fault(f"{name} is not JSON Lines")
        return row

    def _open(self, name: str) -> BinaryIO:
        if name not in self._entries:
            raise self._fault(f"{name} is missing")
        try:
            return self._zip.open(self._entries[name])  # type: ignore[return-value]
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise self._fault(f"{name}: {error}") from None

    def _next(self, name: str, file: BinaryIO, size: int) -> bytes:
        try:
            return file.read(size)
        except (OSError, EOFError, zipfile.BadZipFile, ValueError, zlib_error) as error:
            raise self._fault(f"{name}: {error}") from None

    def _checked_entries(self) -> dict[str, zipfile.ZipInfo]:
        entries: dict[str, zipfile.ZipInfo] = {}
        listed = self._zip.infolist()
        if len(listed) > _MOST_FILES:
            raise self._fault("too many files")
        if sum(entry.file_size for entry in listed) > _MOST_BYTES:
            raise self._fault("more than 4 GiB when unpacked")
        for entry in listed:
            mode = entry.external_attr >> 16
            name = entry.filename
            if not _NAME.fullmatch(name) or ".." in name or name in entries:
                raise self._fault(f'no file of a bundle is called "{name}"')
            if entry.flag_bits & 1 or entry.compress_type not in _METHODS:
                raise self._fault(f"{name} is encrypted or packed in an unknown way")
            if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
                raise self._fault(f"{name} is not a plain file")
            entries[name] = entry
        return entries

    def _read_manifest(self) -> dict[str, Any]:
        try:
            manifest = orjson.loads(self.read(MANIFEST))
        except orjson.JSONDecodeError:
            manifest = None
        if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
            raise self._fault(f"{MANIFEST} is not a manifest")
        if manifest.get("format") != FORMAT:
            raise self._fault("written by another version of evenhand")
        return manifest

    def _fault(self, what: str) -> UsageError:
        return UsageError(f"{self.path}: not a sound bundle: {one_line(what)}")
