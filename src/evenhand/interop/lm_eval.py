"""The identity grid of a study as a task group of lm-eval, one task for each identity.

    write_task_group("study.yaml", "tasks")

    lm_eval --model hf --model_args pretrained=... --include_path tasks --tasks evenhand \\
        --apply_chat_template --log_samples --output_path out
    evenhand import out/*/samples_*.jsonl --out runs/lm-eval

The system message goes into the task's `description`, which lm-eval sends as the system message
where a chat template is applied. Answers are scored by evenhand's own scorers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import yaml

from evenhand import __version__
from evenhand.benchmarks.item import Item
from evenhand.errors import UsageError
from evenhand.files import write_file
from evenhand.scorers import Unscored, answer_of, score_batch
from evenhand.study.cue import Condition
from evenhand.study.plan import Plan, make_plan
from evenhand.study.study import Study, study_of

GROUP = "evenhand"
_SCORES = 'from evenhand.interop.lm_eval import process_results\n\n__all__ = ["process_results"]\n'


def write_task_group(
    study: Study | str | Path, folder: str | Path, *, offline: bool = False
) -> list[Path]:
    """Write a task group into a folder, for `lm_eval --include_path FOLDER --tasks evenhand`.

    Args:
        study: a study, or a study file.
        offline: never download a benchmark.

    Returns:
        The files: for every condition a task and its documents, the group, and the scorer.

    Raises:
        UsageError: the study is invalid, repeats answers, or holds conversations that lm-eval
            cannot send.
        StoreError: a file cannot be written.
    """
    if not isinstance(study, Study):
        study = study_of(str(study))
    plan = make_plan(study, offline=offline)
    if study.samples > 1:
        raise UsageError(
            "an lm-eval task asks each document once; set samples to 1, or run it with other seeds "
            "and import the files with --sample-key"
        )
    home = Path(folder).absolute()
    paths, tasks = [], []
    for number, condition in enumerate(plan.conditions):
        task = f"{GROUP}_{number:03d}_{_slug(condition.id)}"
        documents = home / f"{task}.jsonl"
        lines = [
            orjson.dumps(_document(condition, item))
            for item in plan.items
            if item.asks(condition.identity.id)
        ]
        write_file(documents, b"\n".join(lines) + b"\n")
        config = home / f"{task}.yaml"
        # YAML dumpers write no `!function`, so that the scorer stands in a line of its own.
        text = yaml.safe_dump(_task(task, documents, plan), sort_keys=False, allow_unicode=True)
        write_file(config, f"{text}process_results: !function evenhand_scores.process_results\n")
        tasks.append(task)
        paths += [config, documents]
    group = {
        "group": GROUP,
        "task": tasks,
        "aggregate_metric_list": [{"metric": "evenhand", "weight_by_size": True}],
        "metadata": {"version": 1.0, "evenhand": __version__},
    }
    write_file(home / f"{GROUP}_group.yaml", yaml.safe_dump(group, sort_keys=False))
    write_file(home / "evenhand_scores.py", _SCORES)
    return [*paths, home / f"{GROUP}_group.yaml", home / "evenhand_scores.py"]


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def _task(name: str, documents: Path, plan: Plan) -> dict[str, Any]:
    decoding = plan.study.decoding
    generation: dict[str, Any] = {"until": list(decoding.stop), "max_gen_toks": decoding.max_tokens}
    generation["do_sample"] = decoding.temperature != 0
    if decoding.temperature:
        generation["temperature"] = decoding.temperature
    generation |= {n: v for n in ("top_p", "top_k") if (v := getattr(decoding, n)) is not None}
    return {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(documents)}},
        "test_split": "test",
        "output_type": "generate_until",
        "description": "{{system}}",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{target}}",
        "num_fewshot": 0,
        "generation_kwargs": generation,
        "metric_list": [{"metric": "evenhand", "aggregation": "nanmean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }


def _document(condition: Condition, item: Item) -> dict[str, Any]:
    """A document of a task: what is sent, and all that scoring and importing need."""
    if condition.defense.withhold:
        raise UsageError(
            f"defense {condition.defense.id} withholds the identity by question, which lm-eval "
            "cannot"
        )
    *before, last = condition.messages(item.prompt)
    if any(message["role"] != "system" for message in before):
        raise UsageError(
            f"cue {condition.cue.id} has earlier turns, which an lm-eval task cannot hold; use "
            "cues in the system prompt or the user's message"
        )
    identity = condition.identity
    asked = item.for_identity(identity.id)
    return {
        "system": before[0]["content"] if before else "",
        "prompt": last["content"],
        "target": asked.answer,
        "question": item.prompt,
        "choices": list(item.choices),
        "scorer": asked.scorer,
        "benchmark": item.benchmark,
        "axis": item.axis,
        "item": item.id,
        "subgroup": item.subgroup,
        "evenhand_scorer": item.scorer,
        "identity": identity.id,
        "identity_text": identity.text,
        "category": identity.category,
        "kind": identity.kind,
        "cue": condition.cue.id,
        "defense": condition.defense.id,
    }


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """lm-eval's call for the scores of a document: evenhand's, NaN where there is none."""
    item = Item(
        benchmark=doc["benchmark"],
        id=doc["item"],
        prompt=doc["question"],
        axis=doc["axis"],
        scorer=doc["scorer"],
        answer=doc["target"],
        choices=tuple(doc["choices"]),
        subgroup=doc["subgroup"],
    )
    answer = answer_of(results[0], "whole", item)
    score = answer if isinstance(answer, Unscored) else score_batch([answer])[0].score
    return {"evenhand": math.nan if isinstance(score, Unscored) else score}
