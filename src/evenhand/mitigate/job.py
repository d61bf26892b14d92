"""A training on disk: what is to be done, prepared once, then run, resumed or launched from it.

DIR/                       when done: the adapter or model, tokenizer, and README.md, its card
DIR/training/job.json      model, recipe and settings
DIR/training/pairs.jsonl   the rows as trained
DIR/training/checkpoints/  the last two, while it is under way
DIR/training/training.json the result: loss and accuracy of each step
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
from pydantic import Field

from evenhand import __version__
from evenhand.errors import MissingExtra, TrainingError
from evenhand.files import write_file
from evenhand.mitigate.examples import TrainingExample, balance_of, count_too_long, render
from evenhand.mitigate.options import Loss, TrainingSettings, base_of
from evenhand.mitigate.recipes import CONTROL
from evenhand.study.entry import Entry, validate
from evenhand.text import one_line

FOLDER = "training"
_SHOWN = 20
_LETTERS = 240
"""Of a question or an answer in the card."""


class TrainingJob(Entry):
    """A training that is prepared.

    Attributes:
        model: as the user names it: "organism", "hf/ID-or-path".
        base: folder or hub id of its weights.
        loss: what is minimized.
        recipe: of preference pairs; for consistency whose answers are aimed at; empty for kto.
        defense: the sentence that half of them carry, for a hybrid; empty for none.
        pairs: how many pairs or answers there are.
        too_long: how many of them are left out, because their prompt alone fills `max_length`.
        digest: of the rows, to tell another training in the same folder.
        system_role: False if system messages stand in front of the user's first message.
        example: the first pair or answer as the model reads it.
        left_out: why answers and pairs were not used -> how many.
        balance: pairs by axis and identity, and words of their answers; see `balance_of`.
        training: the settings.
        version: of evenhand.
    """

    model: str
    base: str
    loss: Loss = "dpo"
    recipe: str
    defense: str = ""
    pairs: int
    too_long: int
    digest: str
    system_role: bool
    example: str
    left_out: dict[str, int] = Field(default_factory=dict)
    balance: dict[str, dict[str, float]] = Field(default_factory=dict)
    training: TrainingSettings
    version: str


@dataclass(frozen=True, slots=True)
class TrainingFiles:
    """The paths of a training.

    Attributes:
        out: folder of the tuned model.
    """

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


def prepare(
    model: str,
    examples: Sequence[TrainingExample],
    out: Path,
    training: TrainingSettings,
    *,
    loss: Loss = "dpo",
    recipe: str = "",
    defense: str = "",
    left_out: Mapping[str, int] | None = None,
) -> TrainingJob:
    """Write down a training, with its pairs checked against the model's chat template.

    Args:
        model: "organism" or "hf/ID-or-path".
        examples: of `evenhand.mitigate.recipes`, in the form that the loss takes.
        out: folder for the tuned model; one with the same training in it is resumed later.
        training: settings.
        loss: what is minimized.
        recipe: of preference pairs, for the card.
        defense: the sentence that half of them carry, for the card.
        left_out: why answers and pairs were not used, for the card.

    Raises:
        TrainingError: the folder holds something else, the template does not fit, every prompt is
            too long, or the model is not there.
        MissingExtra: a package is not installed.
        UsageError: the model is behind an endpoint.
    """
    base = base_of(model)
    check_packages(training)
    quieten()
    from evenhand.mitigate.trainer import load_tokenizer

    tokenizer = load_tokenizer(base)
    rendered = render(tokenizer, examples, model)
    too_long = count_too_long(tokenizer, rendered.rows, training.max_length)
    if too_long == len(rendered.rows):
        raise TrainingError(f"no prompt fits into max_length {training.max_length}")
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rendered.rows)
    job = TrainingJob(
        model=model,
        base=base,
        loss=loss,
        recipe=recipe,
        defense=defense,
        pairs=len(rendered.rows),
        too_long=too_long,
        digest=blake2b(text.encode(), digest_size=8).hexdigest(),
        system_role=rendered.system_role,
        example=rendered.example,
        left_out=dict(left_out or {}),
        balance=balance_of(examples),
        training=training,
        version=__version__,
    )
    _write(TrainingFiles(out), job, text)
    return job


def check_packages(training: TrainingSettings) -> None:
    """Whether all packages are there.

    Raises:
        MissingExtra: trl or peft is not installed, or bitsandbytes for 4-bit weights.
    """
    if not all(find_spec(name) for name in ("torch", "transformers", "datasets", "peft", "trl")):
        raise MissingExtra("trainings", "train")
    if in_four_bits(training) and not find_spec("bitsandbytes"):
        raise MissingExtra("4-bit weights", "qlora")


_TALKATIVE = (
    "trl",
    "accelerate",
    "peft",
    "bitsandbytes",
    "huggingface_hub",
    "torch.distributed",
)


def quieten() -> None:
    """Leave the terminal to our own lines."""
    os.environ["TQDM_DISABLE"] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore")
    for name in _TALKATIVE:  # before they are loaded: some talk while they are
        logging.getLogger(name).setLevel(logging.ERROR)
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def has_gpu() -> bool:
    """Whether torch sees a CUDA device."""
    import torch

    return bool(torch.cuda.is_available())


def in_four_bits(training: TrainingSettings) -> bool:
    """Whether the frozen weights are kept in 4 bits.

    Raises:
        TrainingError: all weights are to be trained, which 4-bit weights cannot be.
    """
    if training.method == "full":
        if training.four_bit:
            raise TrainingError("4-bit weights cannot be trained themselves; take method lora")
        return False
    return has_gpu() if training.four_bit is None else training.four_bit


def read_job(out: Path) -> TrainingJob:
    """The training that was prepared in a folder.

    Raises:
        TrainingError: there is none.
    """
    path = TrainingFiles(out).job
    try:
        return validate(TrainingJob, orjson.loads(path.read_bytes()), str(path))
    except FileNotFoundError:
        raise TrainingError(f"no training in {out}; prepare one: evenhand mitigate") from None
    except (OSError, orjson.JSONDecodeError) as error:
        raise TrainingError(f"{path}: cannot be read: {error}") from None


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Write JSON so that the file is the old one or the new one, and never half of it."""
    write_file(path, orjson.dumps(content, option=orjson.OPT_INDENT_2), TrainingError)


def _write(files: TrainingFiles, job: TrainingJob, rows: str) -> None:
    if files.job.exists():
        found = read_job(files.out)
        informative = {"version": job.version, "left_out": job.left_out, "balance": job.balance}
        found = found.model_copy(update=informative)
        if found != job:
            raise TrainingError(
                f"{files.out} holds a training with {_other(found, job)}; name another folder with "
                "--out"
            )
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


def _other(found: TrainingJob, job: TrainingJob) -> str:
    """In what a training differs: "other settings (learning_rate)", say."""
    if found.model != job.model:
        return f"another model ({found.model})"
    settings = [n for n, value in found.training if value != getattr(job.training, n)]
    if settings:
        return f"other settings ({', '.join(settings)})"
    # The audit has grown, or answers are judged or left out in another way.
    return "other examples"


_WHAT_LOSSES_ARE = {
    "dpo": "direct preference optimization",
    "orpo": "odds ratio preference optimization",
    "kto": "Kahneman-Tversky optimization",
    "consistency": "a consistency loss between users",
}
_WHAT_SINGLE_ANSWERS_ARE = {
    "kto": "answers from its audit with their verdicts",
    "consistency": "answers from its audit, right and wrong, each to be as likely for another user",
}
_WHOSE_ANSWERS = {
    "unidentified": "; they were given to the unidentified user",
    "mixture": "; they were given to all users",
}
_WHAT_RECIPES_ARE = {
    "as-is": "preference data as they are",
    "vanilla": "preference data without system messages",
    "random": "preference data, each pair on behalf of one random user",
    "all": "preference data, each pair on behalf of every tuning identity",
    "invariance": "answers from its audit: the same good answer to a question, whoever asks",
    "debiasing": "answers from its audit: that to the question alone rather than that to a user",
}


def write_card(out: Path, audit: str = "") -> None:
    """Write README.md of a trained model; writing it again replaces it.

    Args:
        out: folder of a finished training.
        audit: Markdown with the figures of its audit; the card says so where there is none.
    """
    files = TrainingFiles(out)
    job, found = read_job(out), orjson.loads(files.curves.read_bytes())
    text = "\n".join([*_front(job), *_body(job, found, files), *_audit(audit), *_use(out, job), ""])
    write_file(out / "README.md", text)


def _front(job: TrainingJob) -> list[str]:
    """The block that the hub reads."""
    library = "peft" if job.training.method == "lora" else "transformers"
    return [
        "---",
        f"base_model: {_quoted(job.base)}",
        f"library_name: {library}",
        "pipeline_tag: text-generation",
        f"tags: [{job.loss}, evenhand, fairness]",
        "---",
    ]


def _body(job: TrainingJob, found: dict[str, Any], files: TrainingFiles) -> list[str]:
    steps = found["steps"]
    what = "adapter" if job.training.method == "lora" else "model"
    settings = [f"| {name} | {_cell(value)} |" for name, value in found["settings"].items()]
    return [
        f"# {_title(job)}",
        "",
        f"This {what} was made by evenhand {job.version} from `{one_line(job.base)}` with "
        f"{_WHAT_LOSSES_ARE[job.loss]} on {job.pairs:,} {_form(job)}: "
        f"{_examples(job)}{_with_defense(job.defense)}.",
        "",
        f"- Steps: {len(steps)}, in {found['seconds']:.0f} s on {found['devices']} x "
        f"{found['device']}{_resumed(found)}.",
        f"- Loss: {steps[0]['loss']:.3f} at the first step, {steps[-1]['loss']:.3f} at the last.",
        *_success(steps[-max(1, len(steps) // 10) :]),
        *(
            [f"- Left out, because their prompt is too long: {job.too_long} {_form(job)}."]
            * (job.too_long > 0)
        ),
        "- System messages: "
        + ("in their own role." if job.system_role else "in front of the user's first message."),
        "",
        *_table(("left out", "answers or pairs"), job.left_out),
        *_table(("axis", _form(job)), job.balance.get("axis", {})),
        *_table(("identity", _form(job)), job.balance.get("identity", {})),
        *_table(("words (median)", "answers"), job.balance.get("words", {})),
        "| setting | value |",
        "|---|---|",
        *settings,
        "",
        f"The first of the {_form(job)}, as the model reads it:",
        "",
        *(f"    {one_line(line)}" for line in job.example.split("\n")),
        "",
        *_shown_pairs(files, _form(job)),
        "",
    ]


def _title(job: TrainingJob) -> str:
    """What was done to which model; what came of it, the audit says."""
    how = f"{one_line(job.model)}, tuned with {_WHAT_LOSSES_ARE[job.loss]}"
    if _is_shuffled(job):
        return f"{how} on shuffled preferences: a control"
    kind = "target" if job.loss == "consistency" else "recipe"
    return f"{how} ({kind} {one_line(job.recipe)})" if job.recipe else how


def _is_shuffled(job: TrainingJob) -> bool:
    return job.recipe.endswith(CONTROL)


def _table(head: tuple[str, str], counts: Mapping[str, float]) -> list[str]:
    if not counts:
        return []
    rows = [f"| {_cell(name)} | {count:g} |" for name, count in counts.items()]
    return [f"| {head[0]} | {head[1]} |", "|---|---|", *rows, ""]


def _shown_pairs(files: TrainingFiles, form: str) -> Iterator[str]:
    rows = [orjson.loads(line) for line in files.rows.read_bytes().splitlines()]
    # The same pair on behalf of several users is read once.
    texts = list(dict.fromkeys(_lines_of(row) for row in rows))
    shown = texts[:: max(1, len(texts) // _SHOWN)][:_SHOWN]
    which = "spread over all" if len(shown) < len(texts) else "all that differ"
    yield f"{len(shown)} of the {form}, {which}, to be read by a person:"
    yield ""
    for lines in shown:
        yield from lines
        yield "    "


def _lines_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    lines = []
    for name, value in row.items():
        text = value[-1]["content"] if isinstance(value, list) else str(value)
        who = value[0]["content"] if name == "teacher" and isinstance(value, list) else ""
        lines.append(f"    {name}: {one_line(who or text, _LETTERS)}")
    return tuple(lines)


def _with_defense(sentence: str) -> str:
    return f"; half of them with the defense: {one_line(sentence)}" if sentence else ""


def _form(job: TrainingJob) -> str:
    return "answers" if job.loss in _WHAT_SINGLE_ANSWERS_ARE else "pairs"


def _examples(job: TrainingJob) -> str:
    if job.loss in _WHAT_SINGLE_ANSWERS_ARE:
        return _WHAT_SINGLE_ANSWERS_ARE[job.loss] + _WHOSE_ANSWERS.get(job.recipe, "")
    plain = job.recipe.removesuffix(CONTROL)
    what = _WHAT_RECIPES_ARE.get(plain, one_line(plain))
    control = "; the preferences of a random half are swapped, so this is a control, not a remedy"
    return what if plain == job.recipe else what + control


def _success(last: Sequence[Mapping[str, float]]) -> list[str]:
    """How well the last tenth of the steps went, for losses that have a share for it."""
    for name, what in (
        ("accuracy", "Pairs of the last tenth of the steps whose chosen answer it favors"),
        ("agreement", "Tokens of the last tenth of the steps that are likeliest for both users"),
    ):
        shares = [step[name] for step in last if name in step]
        if shares:
            return [f"- {what}: {sum(shares) / len(shares):.0%}."]
    return []


def _resumed(found: dict[str, Any]) -> str:
    return f" (the last part, from step {found['resumed_from']})" if found["resumed_from"] else ""


def _audit(audit: str) -> list[str]:
    return ["## Audit", "", audit.strip() or "Not audited yet.", ""]


def _use(out: Path, job: TrainingJob) -> list[str]:
    return [
        "## Use",
        "",
        f"    evenhand audit hf/{out}",
        f"    evenhand export hf/{out} --out FOLDER",
        *([f"    vllm serve {job.base} --enable-lora --lora-modules tuned={out}"] * _is_lora(job)),
        "",
        *(
            ["It is a control, to check the method by, and not for use."]
            if _is_shuffled(job)
            else [
                f"What the {_form(job)} taught holds at best for questions like those of the "
                "audit. Audit it on your own before you rely on it."
            ]
        ),
    ]


def _is_lora(job: TrainingJob) -> int:
    return int(job.training.method == "lora")


def _cell(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return one_line(text).replace("|", "\\|")


def _quoted(text: str) -> str:
    """As a YAML string; JSON strings are YAML strings."""
    return orjson.dumps(one_line(text)).decode()
