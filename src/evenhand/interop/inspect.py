"""Inspect: its logs to and from runs, and the identity grid of a study as an Inspect task.

Everything goes through inspect-ai's own API (`inspect_ai.log`), never its file format.

    from inspect_ai import task
    from evenhand.interop.inspect import identity_task

    @task
    def even_handed():
        return identity_task("study.yaml")

`inspect eval even_handed.py --model openai/gpt-4o`, and then `evenhand import logs/*.eval --out
runs/gpt-4o`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evenhand import __version__
from evenhand.analysis.results import Audit
from evenhand.benchmarks.item import Item
from evenhand.engines.engine import Outcome
from evenhand.errors import MissingExtra, UsageError
from evenhand.interop.records import SourceRecord
from evenhand.report import FolderFormat, ReportInput
from evenhand.scorers import Unscored, answer_of, score_batch
from evenhand.store.redaction import LEFT_OUT, shown_messages
from evenhand.store.store import StoredAnswer
from evenhand.study.cue import Condition, Message
from evenhand.study.plan import Plan, make_plan
from evenhand.study.study import Study, study_of
from evenhand.text import one_line, split_thought

_STOPS: dict[str, Outcome] = {
    "max_tokens": "cut off",
    "model_length": "cut off",
    "content_filter": "blocked",
}
"""Of inspect-ai's stop reasons; all others are a whole answer."""
_ENDS: dict[Outcome, str] = {
    "whole": "stop",
    "cut off": "max_tokens",
    "blocked": "content_filter",
    "rejected": "unknown",
}
_DECODING = ("temperature", "top_p", "top_k", "max_tokens", "seed")


def _log_api() -> Any:
    try:
        import inspect_ai.log
    except ImportError:
        raise MissingExtra("Inspect logs", "inspect") from None
    return inspect_ai.log


# From a log


def read_log(path: Path, score: str | None) -> tuple[Mapping[str, Any], Iterator[SourceRecord]]:
    """What a log says of the decoding, and its samples as they are read.

    Args:
        score: scorer whose score counts, or key of a score with several values; None for the only
            one.

    Raises:
        MissingExtra: inspect-ai is not installed.
        UsageError: inspect-ai cannot read the log.
    """
    api = _log_api()
    try:
        header = api.read_eval_log(str(path), header_only=True)
    except Exception as error:  # the file is a stranger's, and so is what it does to its reader
        raise _unreadable(path, error) from None
    config = header.eval.model_generate_config
    decoding = {name: getattr(config, name, None) for name in _DECODING}
    known = {name: value for name, value in decoding.items() if value is not None}
    in_turn = path.suffix.lower() == ".eval" and header.eval.dataset.sample_ids is not None
    return known, _samples(path, api, header.eval.model, score, in_turn=in_turn)


def _unreadable(path: Path, error: Exception) -> UsageError:
    reason = one_line(f"{type(error).__name__}: {error}", 200)
    return UsageError(f"{path}: not a readable Inspect log ({reason})")


def _samples(
    path: Path, api: Any, model: str, score: str | None, *, in_turn: bool
) -> Iterator[SourceRecord]:
    """Sample by sample where the log can be read so, or from the whole of it."""
    if in_turn:
        samples = api.read_eval_log_samples(
            str(path), all_samples_required=False, resolve_attachments=True
        )
    else:
        try:
            samples = iter(api.read_eval_log(str(path), resolve_attachments=True).samples or [])
        except Exception as error:
            raise _unreadable(path, error) from None
    while True:
        try:
            sample = next(samples, None)
        except Exception as error:
            raise _unreadable(path, error) from None
        if sample is None:
            return
        where = f"{path}: sample {one_line(str(sample.id), 60)}, epoch {sample.epoch}"
        yield SourceRecord(where, _fields(where, sample, model, score))


def _fields(where: str, sample: Any, model: str, score: str | None) -> dict[str, Any]:
    value, why, reason = _score_of(where, sample, score)
    choice = sample.output.choices[0] if sample.output.choices else None
    text, thought = _answer_of(choice)
    usage = next(iter(sample.model_usage.values()), None)
    target = sample.target if isinstance(sample.target, str) else "; ".join(sample.target)
    metadata = dict(sample.metadata)
    found = {
        "item": metadata.get("item", sample.id),
        "sample": sample.epoch,
        "model": model,
        score or "score": value,
        "why": why,
        "unscored": reason,
        "messages": _conversation(sample.input),
        "answer": text,
        "thought": thought,
        "outcome": metadata.get("outcome")
        or (_STOPS.get(choice.stop_reason, "whole") if choice else "whole"),
        "finish": metadata.get("finish") or (choice.stop_reason if choice else ""),
        "error": sample.error.message if sample.error else None,
        "target": target,
        "choices": sample.choices,
        "prompt_tokens": usage.input_tokens if usage else 0,
        "completion_tokens": usage.output_tokens if usage else 0,
    }
    return {**metadata, **found}


def _score_of(where: str, sample: Any, name: str | None) -> tuple[Any, str, str]:
    """Value, explanation, and why there is no value."""
    scores = sample.scores or {}
    if not scores:
        return None, "", "no score in the log"
    if name is None and len(scores) > 1:
        known = ", ".join(map(str, scores))
        raise UsageError(f"{where}: has several scores ({known}); choose one with --score-key")
    found = scores.get(name) if name in scores else None
    value = found.value if found is not None else None
    if found is None:
        found = next(iter(scores.values()))
        value = found.value
        if name is not None:
            if not isinstance(value, dict) or name not in value:
                known = ", ".join([*scores, *(value if isinstance(value, dict) else ())])
                raise UsageError(f'{where}: no score "{name}"; there are: {known}')
            value = value[name]
    if isinstance(value, dict):
        raise UsageError(
            f"{where}: the score has several values ({', '.join(value)}); choose one with "
            "--score-key"
        )
    reason = getattr(found, "reason", None) or (found.metadata or {}).get("unscored") or ""
    return value, found.explanation or "", str(reason)


def _answer_of(choice: Any) -> tuple[str | None, str]:
    if choice is None:
        return None, ""
    content = choice.message.content
    if isinstance(content, str):
        thought, text, _ = split_thought(content)
        return text, thought
    thoughts = [part.reasoning for part in content if part.type == "reasoning"]
    return "".join(p.text for p in content if p.type == "text"), "\n\n".join(thoughts)


def _conversation(given: Any) -> list[dict[str, str]]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    return [{"role": message.role, "content": message.text} for message in given]


# To a log


def write_logs(report: ReportInput, folder: Path) -> list[Path]:
    """Write a run as Inspect logs, one for each cue and defense; `inspect view` opens them.

    Raises:
        MissingExtra: inspect-ai is not installed.
        StoreError: the run cannot be read, or a file not be written.
    """
    api = _log_api()
    samples: dict[tuple[str, str], list[Any]] = {}
    for answer in report.store.stored_answers(
        judge=report.store.judges().get(report.audit.judge, 0)
    ):
        place = answer.condition.cue, answer.condition.defense
        samples.setdefault(place, []).append(_sample(answer, report.audit.model))
    paths = []
    for (cue, defense), of_setting in samples.items():
        path = folder / f"{cue}_{defense}.eval"
        log = _log(report, cue, defense, of_setting)
        api.write_eval_log(log, str(path), format="eval")
        paths.append(path)
    return paths


INSPECT = FolderFormat(write_logs, "inspect")


def _sample(answer: StoredAnswer, model: str) -> Any:
    from inspect_ai.log import EvalError, EvalSample
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ModelOutput
    from inspect_ai.scorer import Score

    c, item = answer.condition, answer.item
    hidden = answer.left_out
    sent = shown_messages(answer.messages) if hidden else answer.messages
    messages = _chat(sent)
    text = LEFT_OUT if hidden else answer.text or ""
    reply = ChatMessageAssistant(content=_content(text, "" if hidden else answer.thought))
    output = ModelOutput(
        model=model,
        choices=[ChatCompletionChoice(message=reply, stop_reason=_ENDS[answer.outcome])],
    )
    metadata = {
        "benchmark": item.benchmark,
        "axis": item.axis,
        "item": item.id,
        "subgroup": item.subgroup,
        "evenhand_scorer": item.scorer,
        "outcome": answer.outcome,
        "finish": answer.finish,
        **_who_metadata(c.identity, c.cue, c.defense),
    }
    missing = answer.score is None
    score = Score(
        value=math.nan if answer.score is None else answer.score,
        explanation=None if hidden else answer.why or None,
        metadata={"unscored": answer.reason} if missing else None,
    )
    error = None
    if answer.text is None and answer.outcome != "blocked":
        error = EvalError(message=answer.reason, traceback="", traceback_ansi="")
    return EvalSample(
        id=f"{item.benchmark}/{item.id}/{c.identity.id}",
        epoch=answer.sample + 1,
        input=messages,
        target=item.answer,
        choices=list(item.choices) or None,
        messages=[*messages, reply],
        output=output,
        scores={"evenhand": score},
        metadata=metadata,
        error=error,
    )


def _content(text: str, thought: str) -> Any:
    from inspect_ai.model import ContentReasoning, ContentText

    return [ContentReasoning(reasoning=thought), ContentText(text=text)] if thought else text


def _who_metadata(identity: Any, cue: str, defense: str) -> dict[str, str]:
    return {
        "identity": identity.id,
        "identity_text": identity.text,
        "category": identity.category,
        "kind": identity.kind,
        "cue": cue,
        "defense": defense,
    }


def _log(report: ReportInput, cue: str, defense: str, samples: list[Any]) -> Any:
    from inspect_ai import log
    from inspect_ai.model import GenerateConfig

    record = report.store.shown_record()
    began = record.sessions[0].began if record.sessions else datetime.now(UTC).isoformat()
    ended = (record.sessions[-1].ended if record.sessions else None) or began
    name = report.store.folder.resolve().name
    decoding = record.study.decoding
    spec = log.EvalSpec(
        created=began,
        task="evenhand",
        task_id=f"evenhand-{cue}-{defense}",
        eval_id=f"{name}-{cue}-{defense}",
        run_id=name,
        model=report.audit.model,
        dataset=log.EvalDataset(
            name="+".join(report.audit.benchmarks),
            samples=len({sample.id for sample in samples}),
            sample_ids=list(dict.fromkeys(sample.id for sample in samples)),
        ),
        config=log.EvalConfig(epochs=report.audit.samples),
        model_generate_config=GenerateConfig(
            **{n: v for n in _DECODING if (v := getattr(decoding, n, None)) is not None}
        ),
        packages={"evenhand": __version__},
        tags=["evenhand"],
    )
    results = log.EvalResults(
        total_samples=len(samples),
        completed_samples=sum(sample.error is None for sample in samples),
        scores=_metrics(report.audit, cue, defense),
    )
    return log.EvalLog(
        status="success",
        eval=spec,
        plan=log.EvalPlan(),
        results=results,
        stats=log.EvalStats(started_at=began, completed_at=ended),
        samples=samples,
    )


def _metrics(audit: Audit, cue: str, defense: str) -> list[Any]:
    from inspect_ai.log import EvalMetric, EvalScore

    setting = next(s for s in audit.settings if (s.cue, s.defense) == (cue, defense))
    figures: dict[str, float | None] = {f"mean {n}": a.mean for n, a in setting.axes.items()}
    if setting.pb is not None:
        low, high = setting.pb.interval
        figures |= {"PB": setting.pb.estimate, "PB low": low, "PB high": high}
        figures |= {"PB plug-in": setting.pb.plugin, "PB noise floor": setting.pb.noise_floor}
    metrics = {n: EvalMetric(name=n, value=v) for n, v in figures.items() if v is not None}
    return [EvalScore(name="evenhand", scorer="evenhand", metrics=metrics)]


def _chat(messages: list[Message]) -> list[Any]:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    kinds = {
        "system": ChatMessageSystem,
        "user": ChatMessageUser,
        "assistant": ChatMessageAssistant,
    }
    return [kinds.get(m["role"], ChatMessageUser)(content=m["content"]) for m in messages]


# As a task


def identity_task(study: Study | str | Path, *, offline: bool = False, **fields: Any) -> Any:
    """The identity grid of a study as an Inspect `Task`: one sample a condition and item.

    Samples carry `identity`, `axis`, `benchmark`, `item` and more as metadata; evenhand's own
    scorers score the answers; the study's samples are Inspect's epochs. What Inspect then logs,
    `evenhand import` reads.

    Args:
        study: a study, a study file, or a name for the model, which Inspect chooses.
        offline: never download a benchmark.
        fields: further fields of `Study`, on top of the file: identities, benchmarks, ...

    Raises:
        MissingExtra: inspect-ai is not installed.
        UsageError: the study is invalid, or has a defense that withholds the identity.
    """
    _log_api()
    from inspect_ai import Task
    from inspect_ai.dataset import MemoryDataset
    from inspect_ai.model import GenerateConfig
    from inspect_ai.solver import generate

    if not isinstance(study, Study):
        study = study_of(str(study))
    if fields:
        study = Study.model_validate({**study.model_dump(), **fields})
    plan = make_plan(study, offline=offline)
    withheld = [c.defense.id for c in plan.conditions if c.defense.withhold]
    if withheld:
        raise UsageError(
            f"defense {withheld[0]} withholds the identity by question, which an Inspect task "
            "cannot; use evenhand audit inspect/PROVIDER/MODEL"
        )
    decoding = study.decoding
    config = {name: getattr(decoding, name) for name in _DECODING}
    return Task(
        name="evenhand",
        dataset=MemoryDataset(list(_task_samples(plan)), name="+".join(study.benchmarks)),
        solver=generate(),
        scorer=_task_scorer(plan),
        epochs=study.samples,
        config=GenerateConfig(**{n: v for n, v in config.items() if v is not None}),
        metadata={"evenhand": __version__},
    )


def _task_samples(plan: Plan) -> Iterator[Any]:
    from inspect_ai.dataset import Sample

    for item in plan.items:
        for condition in plan.conditions:
            if item.asks(condition.identity.id):
                yield Sample(
                    id=f"{condition.id}/{item.benchmark}/{item.id}",
                    input=_chat(condition.messages(item.prompt)),
                    target=item.for_identity(condition.identity.id).answer,
                    metadata=_sample_metadata(condition, item),
                )


def _sample_metadata(condition: Condition, item: Item) -> dict[str, Any]:
    return {
        "benchmark": item.benchmark,
        "axis": item.axis,
        "item": item.id,
        "subgroup": item.subgroup,
        "choices": list(item.choices),
        "evenhand_scorer": item.scorer,
        **_who_metadata(condition.identity, condition.cue.id, condition.defense.id),
    }


def _task_scorer(plan: Plan) -> Any:
    """evenhand's own scorers as an Inspect scorer."""
    from inspect_ai.scorer import Score, grouped, mean, scorer

    items = {(item.benchmark, item.id): item for item in plan.items}

    metrics = [grouped(mean(), "axis"), grouped(mean(), "identity")]

    def evenhand_scorer() -> Any:
        async def score(state: Any, _target: Any) -> Any:
            place = state.metadata["benchmark"], state.metadata["item"]
            item = items[place].for_identity(state.metadata["identity"])
            choice = state.output.choices[0] if state.output.choices else None
            text, thought = _answer_of(choice)
            outcome = _STOPS.get(choice.stop_reason, "whole") if choice else "rejected"
            answer = answer_of(text, outcome, item, thought=bool(thought))
            if isinstance(answer, Unscored):
                return Score(value=math.nan, metadata={"unscored": answer.reason})
            verdict = score_batch([answer])[0]
            if isinstance(verdict.score, Unscored):
                return Score(value=math.nan, metadata={"unscored": verdict.score.reason})
            return Score(value=verdict.score, answer=answer.text, explanation=verdict.why or None)

        return score

    return scorer(metrics=metrics, name="evenhand")(evenhand_scorer)()
