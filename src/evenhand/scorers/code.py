"""Programs: found in the answer, and run in a sandbox against the task's tests; all must pass.

Before the answers to an item count, its reference solution must pass in the same sandbox: if it
does not, the fault is not the model's, and there is no score.

Nothing is parsed here, let alone run: an answer is hostile, and Python's parser can be brought
down. So there may be several readings of one answer, the likeliest first; the sandbox takes the
first that Python can compile.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Iterator, Sequence

from evenhand.benchmarks.item import Task
from evenhand.sandbox import Pool, Tested, Tests, chosen
from evenhand.scorers.base import Answer, Unscored, Verdict
from evenhand.scorers.final import CUT_OFF, missing

_LONGEST = 100_000
_MOST_BLOCKS = 50
_MOST_READINGS = (
    16  # of an answer's greatest length, they still fit into one message to the sandbox
)

_FENCE = re.compile(r"^[ \t>]*(?P<fence>```+|~~~+)[ \t]*(?P<language>[\w+.#-]*)[^\n]*$", re.M)
_PYTHON = {"", "python", "py", "python3", "python2", "py3", "ipython", "pycon", "code"}
_TAGS = re.compile(r"^[ \t]*\[/?(?:BEGIN|DONE|PYTHON|CODE|ANSWER)\][ \t]*$", re.M | re.I)
_PROMPT = re.compile(r"^[ \t]*(?:>>>|\.\.\.)(?: |$)")
_OPENS = re.compile(r"(?:(?:async def|def|class|import|from)\b|@\w)")
_BEGINS = re.compile(r"(?:(?:async def|def|class|import|from)\b|@\w)|[A-Za-z_]\w*\s*=[^=]")
_INLINE = re.compile(r"`((?:def|class|import|from)\b[^`\n]+)`")
_CONTINUES = re.compile(r"^[ \t]*(?:return|yield|for|while|if|with|try)\b", re.M)
_CODE_LINE = re.compile(
    r"\s|#|@|[)\]}]|(?:async|def|class|import|from|if|elif|else|for|while|try|except|finally|with"
    r"|return|raise|assert|global|pass|del|match)\b(?=[^.,;]*[\w:()\]'\"]$|.*:$|.*\()"
    r"|[A-Za-z_][\w.]*(?:\[.*\])?\s*(?:[-+*/%&|^]?=|\(|:\s*\w+\s*=)"
    r"|[A-Za-z_]\w*(?:,\s*[A-Za-z_]\w*)+\s*=|['\"]{3}"
)

BROKEN = Unscored("the reference solution fails here")

_canaries: dict[tuple[str, str], bool] = {}
"""(sandbox, task) -> whether the reference passes; looked at once in the life of a process."""


def score_batch(answers: Sequence[Answer]) -> list[Verdict]:
    """1.0 where the program passes every test, 0.0 where it does not; in the order of the answers.

    Raises:
        SandboxError: there is no sandbox here.
    """
    tasks = [Task.from_json(answer.item.answer) for answer in answers]
    readings = [tuple(programs(a.text, task)) for a, task in zip(answers, tasks, strict=True)]
    with Pool(chosen()) as pool:
        _try_references(pool, [t for t, read in zip(tasks, readings, strict=True) if read])
        wanted = {
            (task, read): None
            for task, read in zip(tasks, readings, strict=True)
            if read and _canaries[chosen(), task.to_json()]
        }
        tested = pool.test((read, _tests(task)) for task, read in wanted)
    found = dict(zip(wanted, tested, strict=True))
    return [
        _verdict(answer, read, found.get((task, read)))
        for answer, task, read in zip(answers, tasks, readings, strict=True)
    ]


def _try_references(pool: Pool, tasks: Sequence[Task]) -> None:
    keys = {(chosen(), task.to_json()): task for task in tasks}
    new = {key: task for key, task in keys.items() if key not in _canaries}
    tested = pool.test(((task.reference,), _tests(task)) for task in new.values())
    _canaries.update(zip(new, (result.passed for result in tested), strict=True))


def _tests(task: Task) -> Tests:
    return Tests(task.tests, task.names, task.before, task.setup)


def _verdict(answer: Answer, read: Sequence[str], tested: Tested | None) -> Verdict:
    if not read:
        return Verdict(missing(answer.truncated))
    if tested is None:
        return Verdict(BROKEN)
    if not tested.passed and answer.truncated and tested.why.startswith("SyntaxError"):
        return Verdict(CUT_OFF)
    return Verdict(float(tested.passed), tested.why)


def programs(text: str, task: Task) -> list[str]:
    """Readings of an answer as a program, the likeliest first; empty where it has no code.

    Of several blocks of code, the last that defines what the task asks for counts, for models
    correct themselves; helpers from the other blocks are put before it.

    Args:
        text: the answer.
    """
    text = _TAGS.sub("", text[:_LONGEST].replace("\r\n", "\n").replace("\r", "\n"))
    found = list(_readings(text, task))
    if "&" in text and any(sign in text for sign in ("&lt;", "&gt;", "&quot;", "&#", "&amp;")):
        found += _readings(html.unescape(text), task)
    whole = [f"{task.opening}\n{program}" if task.opening else program for program in found]
    return list(dict.fromkeys(whole))[:_MOST_READINGS]


def _readings(text: str, task: Task) -> Iterator[str]:
    blocks = [block for block in _blocks(text) if block.strip()]
    defining = [block for block in blocks if _defines(block, task.names)]
    for block in reversed(defining):
        helpers = [_definitions(b) for b in blocks if b is not block and b not in defining]
        yield "\n".join([*filter(None, helpers), block])
        yield block
    if not defining:
        bare = _without_prose(text)
        if task.stub and not blocks and _CONTINUES.search(text):
            yield f"{task.stub}\n    {text.lstrip()}"  # the answer's own indentation is cut off
        if bare and not blocks:
            yield from _bare_readings(text, task)
        if bare and (_defines(bare, task.names) or not blocks):
            yield from _bare_readings(bare, task)
        for block in reversed(blocks):
            yield from _bare_readings(block, task)


def _bare_readings(code: str, task: Task) -> Iterator[str]:
    """Code that may be the whole, or what comes after the task's stub."""
    if task.stub and not _defines(code, task.names):
        yield f"{task.stub}\n{textwrap.indent(textwrap.dedent(code), '    ')}"
    yield code


def _blocks(text: str) -> Iterator[str]:
    """What is between fences, of Python or of no language; a last block may have no end."""
    opened: re.Match[str] | None = None
    count = 0
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
            continue
        closes = fence["fence"][0] == opened["fence"][0] and not fence["language"]
        if closes or fence["language"]:
            yield from _block(text, opened, fence.start())
            opened = None if closes else fence
            count += 1
        if count == _MOST_BLOCKS:
            return
    if opened is not None:
        yield from _block(text, opened, len(text))


def _block(text: str, opened: re.Match[str], end: int) -> Iterator[str]:
    if opened["language"].lower() in _PYTHON:
        quoted = opened[0].lstrip().startswith(">")
        lines = text[opened.end() : end].strip("\n").split("\n")
        if quoted:
            lines = [re.sub(r"^\s*> ?", "", line) for line in lines]
        yield _plain(lines)


def _plain(lines: Sequence[str]) -> str:
    """Lines of code at the left margin, without the prompts of an interactive session."""
    if any(_PROMPT.match(line) for line in lines[:3]):
        lines = [line[found.end() :] for line in lines if (found := _PROMPT.match(line))]
    return textwrap.dedent("\n".join(lines).expandtabs(8) if _mixed(lines) else "\n".join(lines))


def _mixed(lines: Sequence[str]) -> bool:
    """Whether some lines are indented with tabs and some with blanks."""
    return any(line.startswith("\t") for line in lines) and any(line[:1] == " " for line in lines)


def _without_prose(text: str) -> str:
    """The lines of an answer without fences that look like code; empty if none opens any."""
    lines = textwrap.dedent(text.replace("```python", "").replace("```", "")).split("\n")
    if any(_PROMPT.match(line) for line in lines):
        return _plain([line for line in lines if _PROMPT.match(line)])
    first = next((i for i, line in enumerate(lines) if _BEGINS.match(line.lstrip())), None)
    if first is None:
        return "\n".join(_INLINE.findall(text))
    code = textwrap.dedent("\n".join(lines[first:])).split("\n")
    return "\n".join(line for line in code if not line.strip() or _CODE_LINE.match(line))


def _definitions(code: str) -> str:
    """Imports, functions, classes and constants of a block; not what it does."""
    statements = re.split(r"\n(?=[^\s)\]}#])", code)
    kept = [s for s in statements if _OPENS.match(s) or re.match(r"[A-Z_]+\s*=", s)]
    return "\n".join(kept)


def _defines(code: str, names: Sequence[str]) -> bool:
    """Whether it looks as if the code defines the first of the names that it must."""
    return any(
        re.search(rf"^[ \t]*(?:(?:async\s+)?def|class)\s+{re.escape(name)}\b", code, re.M)
        or re.search(rf"^{re.escape(name)}\s*=", code, re.M)
        for name in names
    )
