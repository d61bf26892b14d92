"""The public data files: where they are, and that they are the pinned ones.

A file is known by its local path, "gsm8k/test.jsonl". It is looked for in this order:

1. the folder that EVENHAND_DATA_DIR names, laid out by the same paths;
2. the user's cache folder;
3. its public source, pinned by commit, from where it is put into the cache folder.

Wherever it comes from, its SHA-256 must be the one in `data/sources.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evenhand.errors import DataError
from evenhand.text import one_line

_DOWNLOADS_AT_ONCE = 8
_TIMEOUT_SECONDS = 30
_verified: set[tuple[Path, str]] = set()


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file comes from.

    Attributes:
        url: its public address, pinned by commit.
        sha256: hash of its content, 64 hex digits.
        bytes: its size.
        license: license of the data.
    """

    url: str
    sha256: str
    bytes: int
    license: str


@cache
def sources() -> dict[str, Source]:
    """All known files by local path."""
    text = (Path(__file__).parents[1] / "data" / "sources.json").read_text(encoding="utf-8")
    return {name: Source(**fields) for name, fields in json.loads(text).items()}


def names_under(folder: str) -> tuple[str, ...]:
    """Local paths of all known files under a folder, "mmlu/dev/", in alphabetical order."""
    return tuple(sorted(name for name in sources() if name.startswith(folder)))


def cache_folder() -> Path:
    """The folder that downloads are kept in; it need not exist yet."""
    import pooch

    return Path(pooch.os_cache("evenhand")) / "data"


def get(name: str, *, benchmark: str, offline: bool = False) -> Path:
    """The verified file of that local path.

    Args:
        name: local path, "gsm8k/test.jsonl".
        benchmark: the benchmark that needs it, to be named in errors.
        offline: never use the network.

    Raises:
        DataError: the file is not there and cannot be had, or it is not the pinned one.
    """
    source = sources()[name]
    local_copies = os.environ.get("EVENHAND_DATA_DIR")
    if local_copies and not Path(local_copies).is_dir():
        raise DataError(
            f"EVENHAND_DATA_DIR names {local_copies}, which is no folder; mend or unset it"
        )
    if local_copies and (path := Path(local_copies) / name).is_file():
        return _verify(path, source, "restore it, or unset EVENHAND_DATA_DIR")
    path = cache_folder() / name
    if offline and not path.is_file():
        raise DataError(f"{name} is not on this computer; {_remedy(name, benchmark)}")
    if offline or (path, source.sha256) in _verified:
        return _verify(path, source, "delete it and fetch it again without --offline")
    return _fetch(name, source, benchmark)


def get_all(names: Iterable[str], *, benchmark: str, offline: bool = False) -> dict[str, Path]:
    """The verified files of these local paths; downloads run side by side.

    Raises:
        DataError: as for `get`.
    """

    def get_one(name: str) -> tuple[str, Path]:
        return name, get(name, benchmark=benchmark, offline=offline)

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        return dict(pool.map(get_one, names))


def _is_pinned(path: Path, source: Source) -> bool:
    if (path, source.sha256) not in _verified and _sha256(path) == source.sha256:
        _verified.add((path, source.sha256))
    return (path, source.sha256) in _verified


def _verify(path: Path, source: Source, remedy: str) -> Path:
    if not _is_pinned(path, source):
        raise DataError(
            f"{path} is not the pinned file: expected SHA-256 {source.sha256[:12]}, "
            f"found {_sha256(path)[:12]}; {remedy}"
        )
    return path


def _fetch(name: str, source: Source, benchmark: str) -> Path:
    """From the cache, or else from the public source, through pooch, which puts no file into the
    cache that is not the pinned one, and none by halves.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")
    cache = pooch.create(
        cache_folder(),
        base_url="",
        registry={name: f"sha256:{source.sha256}"},
        urls={name: source.url},
    )
    downloader = pooch.HTTPDownloader(timeout=_TIMEOUT_SECONDS)
    try:
        path = Path(cache.fetch(name, downloader=downloader))
    except OSError as error:  # every network error of requests is an OSError
        reason = f"{error.strerror or type(error).__name__} at {error.filename or source.url}"
        raise DataError(f"cannot download {name} ({reason}); {_remedy(name, benchmark)}") from error
    except ValueError as error:  # the hash is another
        raise DataError(f"{name} from {source.url}: {one_line(str(error), 600)}") from None
    _verified.add((path, source.sha256))
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remedy(name: str, benchmark: str) -> str:
    return (
        f"run `evenhand fetch {benchmark}` where there is a network, "
        f"or set EVENHAND_DATA_DIR to a folder that holds {name}"
    )
