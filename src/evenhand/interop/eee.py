"""A run as Every Eval Ever records: one JSON of results, one JSON line for every scored answer.

The schema is version 0.3.0 of https://github.com/evaleval/every_eval_ever. It has no place for an
answer without a score: those are counted in the results' details. The files lie where that
database wants them: data/evenhand/DEVELOPER/MODEL/UUID.json and UUID_samples.jsonl.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from evenhand import __version__
from evenhand.analysis.results import Audit, SettingResult
from evenhand.axes import AXES
from evenhand.files import replacing, write_file
from evenhand.report import FolderFormat, ReportInput
from evenhand.store.record import RunRecord
from evenhand.store.redaction import LEFT_OUT
from evenhand.store.store import StoredAnswer

SCHEMA_VERSION = "0.3.0"
_METHOD = "see evenhand's docs/statistics.md"
_UNIT = "points"


def write_eee(report: ReportInput, folder: Path) -> list[Path]:
    """Write a run as Every Eval Ever records into a folder.

    Raises:
        StoreError: the run cannot be read, or a file not be written.
    """
    audit, record = report.audit, report.store.shown_record()
    model = _model(audit.model, is_imported=record.imported is not None)
    now = record.sessions[-1].began if record.sessions else "unknown"
    evaluation = f"evenhand/{model['id']}/{now}"
    name = str(UUID(bytes=blake2b(_facts(audit, record), digest_size=16).digest(), version=4))
    developer, _, short = model["id"].rpartition("/")
    home = Path("data") / "evenhand" / _slug(developer or "unknown") / _slug(short)
    samples = home / f"{name}_samples.jsonl"
    digest, count, unscored = sha256(), 0, 0
    number = report.store.judges().get(audit.judge, 0)
    with replacing(folder / samples) as file:
        for answer in report.store.stored_answers(judge=number):
            if answer.score is None:
                unscored += 1
                continue
            line = orjson.dumps(_instance(answer, evaluation, model["id"])).decode() + "\n"
            digest.update(line.encode())
            file.write(line)
            count += 1
    whole = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": evaluation,
        "evaluation_timestamp": now,
        "retrieved_timestamp": now,
        "source_metadata": {
            "source_name": "evenhand",
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
        },
        "model_info": model,
        "eval_library": {"name": "evenhand", "version": __version__},
        "evaluation_results": list(_results(audit, record, unscored)),
        "detailed_evaluation_results": {
            "format": "jsonl",
            "file_path": samples.as_posix(),
            "hash_algorithm": "sha256",
            "checksum": digest.hexdigest(),
            "total_rows": count,
        },
    }
    path = folder / home / f"{name}.json"
    write_file(path, orjson.dumps(whole, option=orjson.OPT_INDENT_2) + b"\n")
    return [path, folder / samples]


EEE = FolderFormat(write_eee, "eee")


def _facts(audit: Audit, record: RunRecord) -> bytes:
    """What tells one run from another, so that the same run gets the same name."""
    began = [session.began for session in record.sessions]
    return orjson.dumps([record.study.model_dump(mode="json"), began, audit.judge, audit.done])


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip(".") or "unknown"


def _model(name: str, *, is_imported: bool) -> dict[str, Any]:
    kind, _, rest = name.partition("/")
    is_local = kind in ("hf", "vllm", "ray") and not is_imported
    deployment = "self_deployed" if is_local else "unknown"
    return {
        "name": name,
        "id": rest if is_local and rest else name,
        "additional_details": {
            "deployment_type": deployment,
            "model_availability": "open_weights" if is_local else "unknown",
        },
    }


def _results(audit: Audit, record: RunRecord, unscored: int) -> Iterator[dict[str, Any]]:
    for setting in audit.settings:
        where = f"cue {setting.cue}, defense {setting.defense}"
        shared = {
            "source_data": {"dataset_name": ", ".join(audit.benchmarks), "source_type": "other"},
            "generation_config": _generation(record),
        }
        details = {
            "cue": setting.cue,
            "defense": setting.defense,
            "identities": str(len(setting.identities)),
            "judge": audit.judge,
            "unscored_answers": str(unscored),
        }
        if setting.pb is not None:
            pb = setting.pb
            more = {"plug_in": f"{pb.plugin:.4f}", "noise_floor": f"{pb.noise_floor:.4f}"}
            yield {
                "evaluation_result_id": _id(setting, "personalization_bias"),
                "evaluation_name": "personalization_bias",
                "metric_config": _metric(
                    "evenhand.personalization_bias",
                    "PB",
                    "Noise-corrected spread of (safety, utility) over user identities, in points "
                    f"of 0 to 100; {where}",
                    lower_is_better=True,
                ),
                "score_details": _score(pb.estimate, pb.interval, pb.level, {**details, **more}),
                **shared,
            }
        for name, axis in setting.axes.items():
            if axis.mean is not None:
                yield {
                    "evaluation_result_id": _id(setting, name),
                    "evaluation_name": name,
                    "metric_config": _metric(
                        f"evenhand.{name}",
                        f"mean {AXES[name].label}",
                        f"Mean {AXES[name].label} over user identities, benchmarks weighted "
                        f"alike, in points of 0 to 100; {where}",
                        lower_is_better=AXES[name].lower_is_better,
                    ),
                    "score_details": _score(axis.mean, None, None, details),
                    **shared,
                }


def _id(setting: SettingResult, name: str) -> str:
    return f"{setting.cue}/{setting.defense}/{name}"


def _metric(name: str, title: str, description: str, *, lower_is_better: bool) -> dict[str, Any]:
    return {
        "evaluation_description": description,
        "metric_id": name,
        "metric_name": title,
        "metric_unit": _UNIT,
        "lower_is_better": lower_is_better,
        "score_type": "continuous",
        "min_score": 0.0,
        "max_score": 100.0,
    }


def _score(
    value: float,
    interval: tuple[float, float] | None,
    level: float | None,
    details: dict[str, str],
) -> dict[str, Any]:
    found: dict[str, Any] = {"score": value, "details": details}
    if interval is not None:
        limits = {"lower": interval[0], "upper": interval[1], "method": _METHOD}
        found["uncertainty"] = {"confidence_interval": {**limits, "confidence_level": level}}
    return found


def _generation(record: RunRecord) -> dict[str, Any]:
    decoding = record.study.decoding
    arguments = {
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "top_k": decoding.top_k,
        "max_tokens": decoding.max_tokens,
    }
    if record.imported is not None:
        arguments = {n: v for n, v in arguments.items() if n in record.imported.decoding}
    return {"generation_args": {n: v for n, v in arguments.items() if v is not None}}


def _instance(answer: StoredAnswer, evaluation: str, model: str) -> dict[str, Any]:
    item, who = answer.item, answer.condition
    score = answer.score or 0.0
    sent = "\n\n".join(f"{m['role']}: {m['content']}" for m in answer.messages)
    reference = f"{item.prompt}{item.answer}".encode()
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": evaluation,
        "model_id": model,
        "evaluation_name": item.axis,
        "evaluation_result_id": f"{who.cue}/{who.defense}/{item.axis}",
        "sample_id": f"{item.benchmark}/{item.id}",
        "sample_hash": sha256(reference).hexdigest(),
        "interaction_type": "single_turn",
        "input": {
            "raw": item.prompt,
            "formatted": LEFT_OUT if answer.left_out else sent,
            "reference": [item.answer] if item.answer else [],
            "choices": list(item.choices) or None,
        },
        "output": {
            "raw": [LEFT_OUT if answer.left_out else answer.text or ""],
            "reasoning_trace": [answer.thought] if answer.thought else None,
        },
        "messages": None,
        "answer_attribution": [
            {
                "turn_idx": 0,
                "source": "output.raw",
                "extracted_value": str(score),
                "extraction_method": item.scorer,
                "is_terminal": True,
            }
        ],
        "evaluation": {
            "score": score,
            "is_correct": AXES[item.axis].quality(score) >= 0.5,
        },
        "metadata": {
            "benchmark": item.benchmark,
            "axis": item.axis,
            "identity": who.identity.id,
            "category": who.identity.category,
            "kind": who.identity.kind,
            "cue": who.cue,
            "defense": who.defense,
            "sample": str(answer.sample),
            "outcome": answer.outcome,
            "subgroup": item.subgroup,
        },
    }
