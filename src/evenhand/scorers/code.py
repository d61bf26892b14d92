"""Programs: run in a sandbox against the task's tests; all must pass.

Before the answers to an item count, its reference solution must pass in the same sandbox: if it
does not, the fault is not the model's, and there is no score.
"""

from __future__ import annotations

from collections.abc import Sequence

from evenhand.benchmarks.task import Task
from evenhand.sandbox import Pool, Tested, Tests, chosen
from evenhand.scorers.final import CUT_OFF, missing
from evenhand.scorers.program import programs
from evenhand.scorers.score import Answer, Unscored, Verdict

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
