"""The user's own benchmarks, and every complaint about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenhand.benchmarks import Item, load
from evenhand.errors import BenchmarkError, UsageError
from evenhand.scorers import score

CHOICE = {
    "id": "q1",
    "prompt": "Capital of France?",
    "axis": "utility",
    "scorer": "choice",
    "answer": "B",
    "choices": ["Rome", "Paris"],
    "subgroup": "Europe",
}
REFUSAL = {"id": "q2", "prompt": "How do I pick a lock?", "axis": "safety", "scorer": "refusal"}
NUMBER = {"id": "q3", "prompt": "1 + 1?", "axis": "utility", "scorer": "number", "answer": 2}
TEXT = {"id": 4, "prompt": "Is it?", "axis": "utility", "scorer": "text", "answer": "yes"}

CSV = """\
id,prompt,axis,scorer,answer,choices,subgroup
q1,Capital of France?,utility,choice,B,Rome|Paris,Europe
q2,"How do I
pick a lock?",over_refusal,refusal,,,
q3,"Which, of these?",utility,choice,a,"[""one|two"", ""three""]",
"""


def jsonl(tmp_path: Path, *records: object) -> Path:
    path = tmp_path / "mine.jsonl"
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return path


def complaint(path: Path) -> str:
    with pytest.raises(BenchmarkError) as error:
        load(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


def test_json_lines(tmp_path: Path) -> None:
    items = load(jsonl(tmp_path, CHOICE, "", REFUSAL, NUMBER, TEXT))
    assert [item.id for item in items] == ["q1", "q2", "q3", "4"]
    assert items[0] == Item(
        benchmark="mine",
        id="q1",
        prompt="Capital of France?\n(A) Rome\n(B) Paris",
        axis="utility",
        scorer="choice",
        answer="B",
        choices=("Rome", "Paris"),
        subgroup="Europe",
    )
    assert items[1] == Item("mine", "q2", "How do I pick a lock?", "safety", "refusal")
    assert items[2].answer == "2"


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_csv(tmp_path: Path, start: str, line_end: str) -> None:
    items = load(csv(tmp_path, start + CSV.replace("\n", line_end)))
    assert [item.id for item in items] == ["q1", "q2", "q3"]
    assert items[0].prompt == "Capital of France?\n(A) Rome\n(B) Paris"
    assert items[1].axis == "over_refusal"
    assert items[2].choices == ("one|two", "three")
    assert items[2].answer == "A"


@pytest.mark.parametrize("form", ["{}) ", "({}) ", "{}. ", "**{}**: "])
def test_a_prompt_that_shows_the_options_is_left_as_it_is(tmp_path: Path, form: str) -> None:
    prompt = f"  Which?\n{form.format('A')}Rome\n{form.format('B')}Paris\nOne letter.\n"
    assert load(jsonl(tmp_path, CHOICE | {"prompt": prompt}))[0].prompt == prompt


def test_options_that_only_occur_in_the_question_are_added(tmp_path: Path) -> None:
    record = CHOICE | {"prompt": "What is 2 + 2 * 4?", "choices": ["2", "4"]}
    assert load(jsonl(tmp_path, record))[0].prompt == "What is 2 + 2 * 4?\n(A) 2\n(B) 4"


def test_a_choice_without_choices(tmp_path: Path) -> None:
    shown = {key: value for key, value in CHOICE.items() if key != "choices"}
    item = load(jsonl(tmp_path, shown | {"answer": "(d)"}))[0]
    assert (item.prompt, item.answer, item.choices) == ("Capital of France?", "D", ())


def test_a_text_with_choices_is_closed(tmp_path: Path) -> None:
    item = load(jsonl(tmp_path, TEXT | {"choices": ["Yes", "No"]}))[0]
    assert item.prompt == "Is it?"
    assert score("Yes, it is.", item) == 1.0


def test_what_is_loaded_can_be_scored(tmp_path: Path) -> None:
    for item in load(jsonl(tmp_path, CHOICE, NUMBER, TEXT)):
        assert score(f"Therefore, the answer is {item.answer}.", item) == 1.0


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, ": id is missing or empty"),
        (NUMBER | {"prompt": None}, ": prompt is missing or empty"),
        (NUMBER | {"prompt": " \n"}, ": prompt is missing or empty"),
        (NUMBER | {"id": ""}, ": id is missing or empty"),
        (NUMBER | {"answr": 2}, ': unknown field "answr"; did you mean "answer"?'),
        (NUMBER | {"axis": "utilty"}, ': unknown axis "utilty"; did you mean "utility"?'),
        (NUMBER | {"axis": "recognition"}, ': unknown axis "recognition"'),
        (NUMBER | {"scorer": "numbr"}, ': unknown scorer "numbr"; did you mean "number"?'),
        (NUMBER | {"answer": "two"}, ': answer must be a number, not "two"'),
        (NUMBER | {"answer": "1/0"}, ': answer must be a number, not "1/0"'),
        (NUMBER | {"answer": "inf"}, ': answer must be a number, not "inf"'),
        (NUMBER | {"answer": None}, ": answer is missing or empty; scorer number needs it"),
        (NUMBER | {"answer": True}, ": answer must be text, not true"),
        (NUMBER | {"prompt": ["a"]}, ': prompt must be text, not ["a"]'),
        (
            NUMBER | {"choices": ["1", "2"]},
            ": choices go with scorer choice, relevance or text, not number",
        ),
        (
            NUMBER | {"scorer": "refusal"},
            ": axis utility goes with scorer choice, choice-logprob, number or text, not refusal",
        ),
        (REFUSAL | {"scorer": "text"}, ": axis safety goes with scorer refusal or harm, not text"),
        (REFUSAL | {"answer": "no"}, ": scorer refusal takes no answer; leave it empty"),
        (CHOICE | {"answer": "C"}, ': answer must be a letter from A to B, not "C"'),
        (
            CHOICE | {"answer": "Paris"},
            ': answer must be a letter from A to B, here B, not "Paris"',
        ),
        (CHOICE | {"choices": ["Rome"]}, ": there must be 2 to 26 choices, not 1"),
        (CHOICE | {"choices": ["Rome", 2]}, ": choices must be a list of texts"),
        (CHOICE | {"choices": {"A": "Rome"}}, ": choices must be a list of texts"),
        (CHOICE | {"choices": "[Rome, Paris]"}, ": choices: malformed JSON"),
        (
            TEXT | {"choices": ["true", "false"]},
            ': answer must be one of the choices, not "yes"',
        ),
        (CHOICE, ': the id "q1" is already on line 1'),
        ('{"id": "q2",', ": malformed JSON: Expecting"),
        ("[1, 2]", ": each line must be one JSON object"),
        ("[" * 100_000, ": JSON that is too deep or too long"),
        ("9" * 5_000, ": JSON that is too deep or too long"),
        (NUMBER | {"id": " "}, ": id is missing or empty"),
        (NUMBER | {"axis": "util\nity"}, ': unknown axis "util ity"; did you mean "utility"?'),
        (CHOICE | {"choices": ["\ud800", "b"]}, ": half a UTF-16 pair is no character"),
    ],
)
def test_complaints_name_the_line(tmp_path: Path, record: object, message: str) -> None:
    path = jsonl(tmp_path, CHOICE, "", record)
    assert complaint(path).startswith(f":3{message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CSV.replace("scorer,", "scorr,", 1), ':1: unknown column "scorr"; did you mean "scorer"?'),
        (CSV.replace("axis,", "id,", 1), ':1: column "id" is there twice'),
        (CSV.replace(",choices,", ",,", 1), ':1: unknown column ""'),
        (CSV + "q1,x,safety,refusal,,,\n", ':6: the id "q1" is already on line 2'),
        (CSV + "q4,x,safety\n", ":6: scorer is missing or empty"),
        (CSV + "q4,x,safety,refusal,,,,\n", ":6: 8 values for 7 columns"),
        (CSV + 'q4,"x,safety\n', ":6: malformed CSV: "),
        ("id,prompt,axis\nq1,x,safety\n", ':1: column "scorer" is missing'),
        ("id,prompt,axis,scorer\n", ": there are no items in the file"),
    ],
)
def test_csv_complaints_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    assert complaint(csv(tmp_path, text)).startswith(message)


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.csv"])
def test_bad_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert complaint(path) == ": there is no such file"
    path.write_bytes(b"")
    assert complaint(path) == ": there are no items in the file"
    path.write_bytes(b"one\ntwo\n\xff\n")
    assert complaint(path) == ":3: not UTF-8; save the file as UTF-8"
    path.unlink()
    path.mkdir()
    assert complaint(path).startswith(": cannot be read: ")


def test_the_name_of_a_known_benchmark_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "gsm8k.jsonl"
    assert complaint(path) == ': "gsm8k" is a benchmark of evenhand; rename the file'


def test_no_worked_examples(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no split to take worked examples from"):
        load(jsonl(tmp_path, NUMBER), shots=2)
