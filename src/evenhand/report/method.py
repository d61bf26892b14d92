"""The last sections of a report: the answers themselves, and how everything was measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evenhand import __version__
from evenhand.analysis.evidence import AnswerPair, AuditDetails, ShownAnswer
from evenhand.analysis.results import Audit, JudgePair
from evenhand.axes import AXES
from evenhand.benchmarks.item import Item
from evenhand.calibration.agreement import shipped_calibration
from evenhand.report import document as doc
from evenhand.report import wording
from evenhand.report.tables import benchmarks_table
from evenhand.store.redaction import leaves_out
from evenhand.study.study import stated_fields
from evenhand.text import one_line

NO_IDENTITY = "no identity stated"
_MOST_OF_A_QUESTION = 1500
_FIRST_QUESTIONS = "The first question of each benchmark, as sent"

_PAPER = """@inproceedings{vijjini2025exploring,
  title     = {Exploring Safety-Utility Trade-Offs in Personalized Language Models},
  author    = {Vijjini, Anvesh Rao and Basu Roy Chowdhury, Somnath and Chaturvedi, Snigdha},
  booktitle = {Proceedings of NAACL 2025},
  year      = {2025},
  url       = {https://arxiv.org/abs/2406.11107}
}"""
_TOOL = """@software{evenhand,
  title   = {evenhand: does a personalized language model treat every user even-handedly?},
  author  = {{The evenhand developers}},
  version = {%s}
}"""


# The answers themselves


def evidence_section(details: AuditDetails) -> doc.Section:
    """Pairs of answers to the same question, and what a reader can choose them by."""
    title = "The answers themselves"
    if details.redaction == "all":
        extent, *_ = wording.evidence_sentences(details.evidence)
        sentences = [extent, "The texts of questions and answers are left out of this report."]
        return doc.Section("evidence", title, sentences, depth=doc.PAGE)
    texts = {
        c.identity.id: one_line(c.identity.text) or NO_IDENTITY
        for c in details.conditions
        if c.identity.kind != "placebo"
    }
    pairs = [_pair(pair, texts) for pair in details.evidence.pairs]
    shown = {answer.identity for pair in pairs for answer in pair.answers}
    users = [(name, text) for name, text in texts.items() if name in shown]
    sentences = wording.evidence_sentences(details.evidence)
    if details.redaction:
        sentences.append("The texts of safety questions and their answers are left out.")
    if pairs:
        sentences.append(
            "Underlined words are not in the other answer. Answers judged harmful are blurred "
            "until you choose to show them."
        )
    return doc.Section("evidence", title, sentences, [doc.Answers(pairs, users)], depth=doc.PAGE)


def answers_section(answers: doc.AnswerBrowser, audit: Audit) -> doc.Section:
    """The browser of all answers."""
    if answers.left_out:
        extent = (
            f"The answers to {answers.questions:,} questions, drawn at random, can be browsed "
            f"here; {answers.left_out:,} more are left out, which keeps the page small. "
            f"`evenhand report --answers {audit.done}` puts as many on it as a page can hold, and "
            "`--format jsonl` prints all answers."
        )
    else:
        extent = f"All {audit.done:,} answers can be browsed here."
    how = (
        "A search finds words by their beginnings, in questions, answers and thoughts. The address "
        "of this page holds what is chosen, so it can be sent to others."
    )
    return doc.Section("answers", "All answers", [extent, how], [answers], depth=doc.PAGE)


def _pair(pair: AnswerPair, texts: dict[str, str]) -> doc.ComparedAnswers:
    parts = [pair.item.benchmark, pair.item.subgroup, f"question {pair.item.id}"]
    if pair.sample:
        parts.append(f"sample {pair.sample + 1}")
    better, worse = (_answer(pair.item, each, texts) for each in (pair.better, pair.worse))
    return doc.ComparedAnswers(
        benchmark=one_line(pair.item.benchmark, 200),
        source=", ".join(one_line(part, 80) for part in parts if part),
        question=_shortened(pair.item.prompt),
        answers=(better, worse),
    )


def _answer(item: Item, answer: ShownAnswer, texts: dict[str, str]) -> doc.ComparedAnswer:
    low, between, high = AXES[item.axis].outcomes
    outcome = low if answer.score <= 0 else high if answer.score >= 1 else between
    return doc.ComparedAnswer(
        identity=answer.identity,
        user=texts[answer.identity]
        + (f", shown as {one_line(answer.realization)}" if answer.realization else ""),
        outcome=f"{outcome}, score {answer.score:g}",
        why=one_line(answer.why, 400) or _reason(item),
        text=answer.text,
        veiled=item.axis == "safety" and answer.score < 1,
        is_good=AXES[item.axis].quality(answer.score) >= 1,
    )


def _reason(item: Item) -> str:
    """What the scorer looked for, where it says nothing of this one answer."""
    if item.scorer == "code":
        return "scored by the tests of the task"
    if item.answer:
        return f"the right answer is {one_line(item.answer)}"
    return "scored by the offline refusal judge" if item.scorer == "refusal" else ""


def _shortened(text: str) -> str:
    if len(text) <= _MOST_OF_A_QUESTION:
        return text
    left_out = len(text) - _MOST_OF_A_QUESTION
    return f"{text[:_MOST_OF_A_QUESTION]} [{left_out:,} characters not shown]"


# How everything was measured


def method_section(audit: Audit, details: AuditDetails) -> doc.Section:
    """Prompts as sent, decoding, the judge, checks, how to repeat it, citation, limits."""
    questions = [
        (item.benchmark, _shortened(item.prompt))
        for item in details.examples
        if not leaves_out(details.redaction, item.axis)
    ]
    return doc.Section(
        "method",
        "How it was measured, and its limits",
        [
            *(
                [wording.check_sentence(audit, details.record.system_role)]
                if details.record.imported is None
                else []
            ),
            wording.missing_sentence(audit.head),
            *limits_sentences(audit),
        ],
        [
            doc.Facts(list(_decoding(audit, details))),
            *_detail_blocks(audit),
            doc.Folded(
                "To repeat it", [doc.Paragraphs(list(_repeat(details)), code=True)], open=True
            ),
            doc.Folded("To cite it", [doc.Paragraphs([_PAPER, _TOOL % __version__], code=True)]),
            doc.Folded("Exactly what was sent", list(_prompts(details)), open=True),
            *([doc.Conversation(_FIRST_QUESTIONS, questions)] if questions else []),
        ],
        depth=doc.PAGE,
    )


def details_section(audit: Audit) -> doc.Section:
    """What `--details` adds on a terminal."""
    title = "Benchmarks, missing scores, judges"
    return doc.Section("method", title, [], list(_detail_blocks(audit)), depth=doc.DETAILS)


def _detail_blocks(audit: Audit) -> Iterator[doc.Block]:
    yield benchmarks_table(audit.axes)
    yield _missing_table(audit)
    yield doc.Folded(
        "Missing scores by identity", [_missing_people_table(audit)], depth=doc.DETAILS
    )
    if len(audit.judges) > 1:
        yield _judges_table(audit)
    if audit.judge_pairs:
        yield _agreement_table(audit.judge_pairs)
        tables = [_agreement_by_identity(pair) for pair in audit.judge_pairs]
        yield doc.Folded("Agreement of judges by identity", tables, depth=doc.DETAILS)
    if audit.judge_swaps:
        yield doc.Paragraphs(
            [wording.swap_sentence(check) for check in audit.judge_swaps], depth=doc.DETAILS
        )


def limits_sentences(audit: Audit) -> Iterator[str]:
    """How well the judges are known, and for what the results hold."""
    judged = any(AXES[axis].is_judged for axis in audit.axes)
    for judge in audit.judge.split("+") if judged else []:
        yield wording.calibration_sentence(judge, shipped_calibration(judge))
    hold = "The results hold for this model, these wordings and questions like these."
    if audit.realizations:
        yield f"{hold} Names and the like carry more than the group, such as age and class."
        return
    yield (
        f"{hold} Here, users state their identity explicitly; real users show who they are in "
        "other ways."
    )


def _decoding(audit: Audit, details: AuditDetails) -> Iterator[tuple[str, str]]:
    if (imported := details.record.imported) is not None:
        stated = ", ".join(f"{name} {one_line(str(v))}" for name, v in imported.decoding.items())
        yield "Imported from", "; ".join(imported.files)
        yield "Decoding", stated or "not known"
        yield "Judge", audit.judge
        return
    known = {name: value for name, value in audit.decoding.items() if value not in (None, [], {})}
    yield "Decoding", ", ".join(f"{name} {one_line(str(v))}" for name, v in known.items())
    yield "How the system message is sent", audit.placement
    yield "Scorers", ", ".join(sorted({item.scorer for item in details.examples}))
    yield "Judge", f"{audit.judge}; it never sees who asked"
    yield "Worked examples in each prompt", str(details.record.study.shots)
    if audit.limit:
        yield "Limit", f"{audit.limit} questions of each benchmark"
    yield "Choice and order of questions", f"seed {details.record.study.seed}"


def _missing_table(audit: Audit) -> doc.Table:
    head = audit.head
    rows = [
        doc.TableRow(
            AXES[name].label,
            [
                doc.count(axis.missing.count),
                doc.TableCell(doc.NONE),
                doc.p_value(axis.missing.p_value),
                doc.interval(axis.missing.bias_bounds, sign=False),
            ],
        )
        for name, axis in audit.axes.items()
        if axis.missing
    ]
    for name, people in (
        ("identities", head.identities),
        ("placebos", head.placebos),
        ("no identity", [head.baseline]),
    ):
        if people:
            unscored, done = sum(p.unscored for p in people), sum(p.done for p in people)
            empty = [doc.TableCell(doc.NONE)] * 2
            rows.append(doc.TableRow(name, [doc.count(unscored), doc.count(done), *empty]))
    columns = [
        doc.Column("Scores of"),
        doc.Column("missing"),
        doc.Column("of", drop=1),
        doc.Column("p of equal shares", drop=2),
        doc.Column("bounds of the plug-in PB"),
    ]
    caption = "Missing scores, and what the plug-in PB could be whatever they were"
    return doc.Table(caption, columns, rows, depth=doc.DETAILS)


def _missing_people_table(audit: Audit) -> doc.Table:
    head = audit.head
    rows = [
        doc.TableRow(
            person.text or NO_IDENTITY,
            [doc.count(person.done), doc.count(person.unscored), doc.count(person.failed_attempts)],
        )
        for person in (head.baseline, *head.identities, *head.placebos)
    ]
    columns = map(doc.Column, ["I am ...", "answers", "unscored", "failed attempts"])
    caption = "Answers, those without a score, and failed attempts"
    return doc.Table(caption, list(columns), rows, depth=doc.DETAILS)


def _judges_table(audit: Audit) -> doc.Table:
    rows = [
        doc.TableRow(
            judge.judge,
            [
                doc.count(judge.verdicts),
                doc.count(judge.unscored),
                doc.count(judge.failed_attempts),
                doc.count(judge.prompt_tokens + judge.completion_tokens),
            ],
        )
        for judge in audit.judges
    ]
    columns = map(doc.Column, ["Judge", "verdicts", "unscored", "failed attempts", "tokens"])
    caption = f"Judges; the figures use the scores of {one_line(audit.judge)}"
    return doc.Table(caption, list(columns), rows, depth=doc.DETAILS)


def _agreement_table(pairs: list[JudgePair]) -> doc.Table:
    rows = [
        doc.TableRow(
            f"{pair.first} / {pair.second}, {AXES[pair.axis].label}",
            [
                doc.points(pair.agreement),
                doc.interval(pair.agreement_interval, sign=False),
                doc.decimals(pair.kappa, 2),
                doc.p_value(pair.agreement_p),
                doc.p_value(pair.difference_p),
            ],
        )
        for pair in pairs
    ]
    columns = [
        doc.Column("Judges"),
        doc.Column("agree"),
        doc.Column("95% interval"),
        doc.Column("kappa", drop=2),
        doc.Column("p of equal agreement", drop=1),
        doc.Column("p of equal difference", drop=1),
    ]
    caption = "Agreement of judges in percent; p-values of its being equal for every identity"
    return doc.Table(caption, columns, rows, depth=doc.DETAILS)


def _agreement_by_identity(pair: JudgePair) -> doc.Table:
    rows = [
        doc.TableRow(identity.id, [doc.points(identity.agreement), doc.change(identity.difference)])
        for identity in sorted(pair.identities, key=lambda each: each.agreement)
    ]
    names = f"{one_line(pair.first)} and {one_line(pair.second)}"
    caption = f"{names} on {AXES[pair.axis].label}, least agreement first"
    columns = map(doc.Column, ["Identity", "agree", "difference of scores"])
    return doc.Table(caption, list(columns), rows, depth=doc.DETAILS)


def _prompts(details: AuditDetails) -> Iterator[doc.Block]:
    """The first condition of each kind under every cue and defense."""
    yield doc.Paragraphs(
        [
            "One conversation of each kind; {question} stands where each question went. The "
            "questions are the same for every user."
        ]
    )
    kinds = {"baseline": NO_IDENTITY, "identity": "an identity", "placebo": "a placebo"}
    seen = set()
    for c in details.conditions:
        key = (c.cue, c.defense, c.identity.kind)
        if key not in seen:
            seen.add(key)
            title = f"Cue {c.cue}, defense {c.defense}: {kinds[c.identity.kind]}"
            messages = [(message["role"], message["content"]) for message in c.example]
            yield doc.Conversation(title, messages, open=c.identity.kind == "identity")
    for kind, prompt in details.record.system_role.prompts.items():
        title = f"The {kind} as the model read it, chat template included"
        yield doc.Conversation(title, [("prompt", _shortened(prompt))])


def _repeat(details: AuditDetails) -> Iterator[str]:
    """The command, and the study file that it names."""
    if details.record.imported is not None:
        yield details.record.imported.command
        return
    import yaml  # the page alone needs it

    study = stated_fields(details.record.study)
    yield f"evenhand audit study.yaml --out {Path(details.folder).name}-again"
    yield (
        f"# study.yaml, evenhand {__version__}; files of your own that it names lie beside it\n"
        + yaml.safe_dump(study, sort_keys=False, allow_unicode=True).strip()
    )
