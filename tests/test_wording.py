"""The words of the field: no sentence that we replaced comes back, and one spelling everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

REPLACED = (
    r"it tells no noise",
    r"often too hopeful",
    r"these items will do",
    r"whichever look is the last",
    r"p-values are of one look",
    r"not told from none",
    r"does not bear its interval out",
    r"held up within",
    r"Saying who one is",
    r"of whom nothing is said",
    r"the answers do not suffice to tell",
    r"Who loses safety tends",
    r"apart from the mean, (?:safety|utility|over)",
    r"is not known to this report",
    r"with a perfect judge",
    r"drawn by lot",
    r"before all had their turn",
    r"got answers that fared differently",
    r"other ways of telling",
    r"wanted personali[sz]ation",
    r"where it rightly matters who asks",
    r"\b(?:un)?seen people",
    r"is no URL",
    r"has a meaning of its own; rename",
    r"the command that runs it told",
    r"\bAs of audit\.",
    r"(?:^|[\"'(] *)Of (?:the list|an answer)\.",
    r"Run one program as those of a model are run",
    r"[Hh]old a judge against",
    r"[Hh]eld against (?:answers|people)",
    r"who the user can say to be",
    r"The same command goes on",
    r"[Bb]ring (?:the|its) bias down",
    r"and prove it",
    r"asks nothing of any network",
)
"""From the first column of the project's table of words, as patterns."""

BRITISH = (
    r"\b\w*[a-z]{2}(?:al|er|im|ar|at|ic|ys|or|ot|om|og|ol|on|an|ut|ph|eg)is(?:e[drs]?|ing|ation|ations)\b",
    r"\b\w*(?:defence|offence|pretence|licence|colour|behaviour|neighbour|favour|honour|labour|harbour|rumour)\w*",
    r"\b\w*(?:labelled|labelling|modelled|modelling|cancelling|travelled|signalled|totalled|centred|centring)\b",
    r"\b(?:centre|metre|fibre|theatre|grey|judgement|artefact|catalogue|cheque|whilst|amongst|practise)\w*",
    r"\b\w*analys(?:e[drs]?|ing)\b",
)

AMERICAN = re.compile(
    r"(?:otherwise|precise|imprecise|concise|promise\w*|premise\w*|compromise\w*|exercise\w*|"
    r"surprise\w*|advertise\w*|supervise\w*|enterprise|likewise|raise\w*|praise\w*|noise|poise|"
    r"analyses|expertise|franchise|paradise|treatise|demise|disguise|improvise|televise|arise\w*|"
    r"pairwise|clockwise|elementwise|stepwise|pointwise|piecewise|wise|rise|\w*wise|"
    r"apologise|recognise|labelledby|causal_judgement|cancelling|surprising|promising|raising|arising|"
    r"comprise\w*|merchandise|devise\w*|revise\w*|advise\w*|despise\w*|excise\w*)",
    re.IGNORECASE,
)
"""Words that only look British, what a scorer must read in both spellings, and names of files."""

QUOTED = (
    "src/evenhand/data/demo/",
    "src/evenhand/data/relevance.jsonl",
    "src/evenhand/organism/",
    "src/evenhand/scorers/refusal",
    "src/evenhand/store/database.py",
)
"""Words of others: what a model reads or wrote, the word lists that recognize it, and the names of
version 0.1 that are still read."""

BOTH = re.compile(r"spelling", re.IGNORECASE)
"""A line that says so may name the other spelling: the old names that are still read."""


def _lines() -> Iterator[tuple[str, str]]:
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile"]
    for folder, kinds in (
        ("src", (".py", ".yaml", ".json", ".md", ".j2", ".js", ".css")),
        ("docs", (".md", ".py")),
    ):
        files += [f for f in sorted((ROOT / folder).rglob("*")) if f.suffix in kinds]
    for file in files:
        name = file.relative_to(ROOT).as_posix()
        if name.startswith(QUOTED) or "/generated-" in name:
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            yield f"{name}:{number}", line


def test_no_replaced_sentence_comes_back() -> None:
    replaced = re.compile("|".join(REPLACED), re.MULTILINE)
    found = [f"{where}: {line.strip()}" for where, line in _lines() if replaced.search(line)]
    assert not found, "\n".join(found)


def test_one_spelling() -> None:
    british = re.compile("|".join(f"(?:{one})" for one in BRITISH), re.IGNORECASE)
    found = [
        f"{where}: {match[0]}"
        for where, line in _lines()
        if not BOTH.search(line)
        for match in british.finditer(line)
        if not AMERICAN.fullmatch(match[0])
    ]
    assert not found, "\n".join(found)


def test_the_percent_sign_follows_its_number() -> None:
    found = [
        f"{where}: {line.strip()}"
        for where, line in _lines()
        if not where.startswith("src/evenhand/report/latex") and re.search(r"\d %(?!\w|[(}])", line)
        if not re.search(r"\d % \w+|\{\d %", line) or where.endswith(".md")
    ]
    assert not found, "\n".join(found)


def test_the_patterns_find_what_they_should() -> None:
    british = re.compile("|".join(f"(?:{one})" for one in BRITISH), re.IGNORECASE)
    for word in ("personalised", "defences", "analyse", "labelled", "normalise", "optimisation"):
        assert british.search(word), word
    for word in ("personalized", "otherwise", "precise", "noise", "defense", "analyses"):
        match = british.search(word)
        assert match is None or AMERICAN.fullmatch(match[0]), word
