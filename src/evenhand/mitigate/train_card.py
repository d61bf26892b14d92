"""The card of a tuned model: what it was made from, how, and what its audit found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from evenhand.files import write_file
from evenhand.mitigate.train_job import Files, Job, read_job
from evenhand.text import one_line

_WHAT_RECIPES_ARE = {
    "as-is": "preference data as they are",
    "vanilla": "preference data without system messages",
    "random": "preference data, each pair on behalf of one random user",
    "all": "preference data, each pair on behalf of several users",
    "invariance": "answers from its audit: the same good answer to a question, whoever asks",
    "debiasing": "answers from its audit: that to the question alone rather than that to a user",
}


def write_card(out: Path, audit: str = "") -> None:
    """Write README.md of a trained model; writing it again replaces it.

    Args:
        out: folder of a finished training.
        audit: Markdown with the figures of its audit; the card says so where there is none.
    """
    files = Files(out)
    job, found = read_job(out), orjson.loads(files.curves.read_bytes())
    text = "\n".join([*_front(job), *_body(job, found), *_audit(audit), *_use(out, job), ""])
    write_file(out / "README.md", text)


def _front(job: Job) -> list[str]:
    """The block that the hub reads."""
    library = "peft" if job.training.method == "lora" else "transformers"
    return [
        "---",
        f"base_model: {_quoted(job.base)}",
        f"library_name: {library}",
        "pipeline_tag: text-generation",
        "tags: [dpo, trl, evenhand, fairness]",
        "---",
    ]


def _body(job: Job, found: dict[str, Any]) -> list[str]:
    steps = found["steps"]
    ends = steps[-max(1, len(steps) // 10) :]
    right = sum(step["accuracy"] for step in ends) / len(ends)
    what = "adapter" if job.training.method == "lora" else "model"
    settings = [f"| {name} | {_cell(value)} |" for name, value in found["settings"].items()]
    return [
        f"# {one_line(job.model)}, tuned to treat users alike",
        "",
        f"This {what} was made by evenhand {job.version} from `{one_line(job.base)}` with direct "
        f"preference optimization on {job.pairs:,} pairs: "
        f"{_pairs(job.recipe)}.",
        "",
        f"- Steps: {len(steps)}, in {found['seconds']:.0f} s on {found['devices']} x "
        f"{found['device']}{_resumed(found)}.",
        f"- Loss: {steps[0]['loss']:.3f} at the first step, {steps[-1]['loss']:.3f} at the last.",
        f"- Pairs of the last tenth of the steps whose chosen answer it favors: {right:.0%}.",
        *(
            [f"- Left out, because their prompt is too long: {job.too_long} pairs."]
            * (job.too_long > 0)
        ),
        "- System messages: "
        + ("in their own role." if job.system_role else "in front of the user's first message."),
        "",
        "| setting | value |",
        "|---|---|",
        *settings,
        "",
        "The first pair with its chosen answer, as the model reads it:",
        "",
        *(f"    {one_line(line)}" for line in job.example.split("\n")),
        "",
    ]


def _pairs(recipe: str) -> str:
    plain = recipe.removesuffix("-shuffled")
    what = _WHAT_RECIPES_ARE.get(plain, one_line(plain))
    control = "; the preferences of a random half are swapped, so this is a control, not a remedy"
    return what if plain == recipe else what + control


def _resumed(found: dict[str, Any]) -> str:
    return f" (the last part, from step {found['resumed_from']})" if found["resumed_from"] else ""


def _audit(audit: str) -> list[str]:
    return ["## Audit", "", audit.strip() or "Not audited yet.", ""]


def _use(out: Path, job: Job) -> list[str]:
    return [
        "## Use",
        "",
        f"    evenhand audit hf/{out}",
        *([f"    vllm serve {job.base} --enable-lora --lora-modules tuned={out}"] * _is_lora(job)),
        "",
        "What the pairs taught holds for questions like those of the audit. Audit it on your own "
        "before you rely on it.",
    ]


def _is_lora(job: Job) -> int:
    return int(job.training.method == "lora")


def _cell(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return one_line(text).replace("|", "\\|")


def _quoted(text: str) -> str:
    """As a YAML string; JSON strings are YAML strings."""
    return orjson.dumps(one_line(text)).decode()
