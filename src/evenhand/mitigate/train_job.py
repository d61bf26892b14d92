"""A training on disk: what is to be done, prepared once, then run, resumed or launched from it.

DIR/                       when done: the adapter or model, tokenizer, and README.md, its card
DIR/training/job.json      model, recipe and settings
DIR/training/pairs.jsonl   the rows as trained
DIR/training/checkpoints/  the last two, while it is under way
DIR/training/training.json what came of it: the curves
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from evenhand import __version__
from evenhand.errors import TrainingError, UsageError
from evenhand.files import write_file
from evenhand.mitigate.pairs import Pair
from evenhand.mitigate.train_settings import Training
from evenhand.study.entry import Entry, validate

FOLDER = "training"


class Job(Entry):
    """A training that is prepared.

    Attributes:
        model: as the user names it: "organism", "hf/ID-or-path".
        base: folder or hub id of its weights.
        recipe: of the pairs.
        pairs: how many there are.
        too_long: how many of them are left out, because their prompt alone fills `max_length`.
        digest: of the rows, to tell another training in the same folder.
        system_role: False if system messages stand in front of the user's first message.
        example: the first pair as the model reads it.
        training: the settings.
        version: of evenhand.
    """

    model: str
    base: str
    recipe: str
    pairs: int
    too_long: int
    digest: str
    system_role: bool
    example: str
    training: Training
    version: str


@dataclass(frozen=True, slots=True)
class Files:
    """The paths of a training."""

    out: Path

    @property
    def folder(self) -> Path:
        """Of all that is not the model itself."""
        return self.out / FOLDER

    @property
    def job(self) -> Path:
        """What is to be done."""
        return self.folder / "job.json"

    @property
    def rows(self) -> Path:
        """The pairs, as trained."""
        return self.folder / "pairs.jsonl"

    @property
    def cache(self) -> Path:
        """Tokens and reference log-probabilities, computed once."""
        return self.folder / "cache"

    @property
    def checkpoints(self) -> Path:
        """The last two."""
        return self.folder / "checkpoints"

    @property
    def curves(self) -> Path:
        """What came of it."""
        return self.folder / "training.json"

    def finished(self) -> bool:
        """Whether the model is there."""
        return self.curves.exists() and bool(orjson.loads(self.curves.read_bytes())["finished"])


def base_of(model: str) -> str:
    """Folder or hub id of a model's weights.

    Raises:
        UsageError: the model is behind an endpoint.
    """
    if model == "organism":
        from evenhand.organism import MODEL

        return str(MODEL)
    prefix, _, name = model.partition("/")
    if prefix != "hf" or not name:
        raise UsageError(f"{model}: only local weights can be tuned: hf/ID-or-path, or organism")
    return name


def prepare(
    model: str, pairs: Sequence[Pair], out: Path, training: Training, *, recipe: str
) -> Job:
    """Write down a training, with its pairs checked against the model's chat template.

    Args:
        model: "organism" or "hf/ID-or-path".
        pairs: of `make_pairs`.
        out: folder for the tuned model; one with the same training in it is resumed later.
        training: settings.
        recipe: of the pairs, for the card.

    Raises:
        TrainingError: the folder holds something else, the template does not fit, every prompt is
            too long, or the model is not there.
        MissingExtra: a package is not installed.
        UsageError: the model is behind an endpoint.
    """
    from evenhand.mitigate.pairs_render import count_too_long, render
    from evenhand.mitigate.train_model import check_packages, load_tokenizer

    base = base_of(model)
    check_packages(training)
    tokenizer = load_tokenizer(base)
    rendered = render(tokenizer, pairs, model)
    too_long = count_too_long(tokenizer, rendered.rows, training.max_length)
    if too_long == len(rendered.rows):
        raise TrainingError(f"no prompt fits into max_length {training.max_length}")
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rendered.rows)
    job = Job(
        model=model,
        base=base,
        recipe=recipe,
        pairs=len(rendered.rows),
        too_long=too_long,
        digest=blake2b(text.encode(), digest_size=8).hexdigest(),
        system_role=rendered.system_role,
        example=rendered.example,
        training=training,
        version=__version__,
    )
    _write(Files(out), job, text)
    return job


def read_job(out: Path) -> Job:
    """The training that was prepared in a folder.

    Raises:
        TrainingError: there is none.
    """
    path = Files(out).job
    try:
        return validate(Job, orjson.loads(path.read_bytes()), str(path))
    except FileNotFoundError:
        raise TrainingError(f"no training in {out}; prepare one: evenhand mitigate") from None
    except (OSError, orjson.JSONDecodeError) as error:
        raise TrainingError(f"{path}: cannot be read: {error}") from None


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write JSON so that the file is the old one or the new one, and never half of it."""
    write_file(path, orjson.dumps(content, option=orjson.OPT_INDENT_2), TrainingError)


def _write(files: Files, job: Job, rows: str) -> None:
    if files.job.exists():
        found = read_job(files.out)
        if found.model_copy(update={"version": job.version}) != job:
            raise TrainingError(f"{files.out} holds another training; take a new folder")
        return
    if files.out.is_file() or (files.out.exists() and any(files.out.iterdir())):
        raise TrainingError(f"{files.out} holds other files; take a new folder")
    try:
        files.folder.mkdir(parents=True)
        files.rows.write_text(rows, encoding="utf-8")
        # Last: where the job is, its pairs are.
        write_whole(files.job, job.model_dump(mode="json"))
    except OSError as error:
        raise TrainingError(f"cannot write to {files.folder}: {error.strerror}") from None
