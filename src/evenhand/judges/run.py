"""Have a judge score the answers of a run; what it has judged is on disk, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from evenhand.judges import check_judge, is_paid, make_judge
from evenhand.judges.judge import Judge, Judgment
from evenhand.judges.rubric import MAX_TOKENS, QUESTION_CHARACTERS
from evenhand.run.loop import CHARACTERS_PER_TOKEN
from evenhand.run.options import JudgeOptions
from evenhand.run.recorder import Arrival, Price, Progress, Recorder
from evenhand.run.scoring import score_run
from evenhand.scorers import Answer, Unscored, Verdict
from evenhand.store.rows import verdict_changes
from evenhand.store.store import Store
from evenhand.store.tallies import condition_tallies
from evenhand.store.verdicts import ToJudge, Verdicts, count_answers
from evenhand.study.plan import Plan
from evenhand.study.study import Study


def judge_cost(plan: Plan, judge: str, options: JudgeOptions) -> dict[str, Any]:
    """The most that a judge will be asked about the answers of a plan, as plain data.

    Answers to one item that say the same are judged once, and few are as long as they may be, so
    that it will be less. A reply that cannot be read is asked for again, which is not counted.

    Raises:
        UsageError: the judge cannot be had.
    """
    check_judge(judge, options)
    prompts = [len(item.prompt) for item in plan.items if item.is_judged]
    each = len(plan.conditions) * plan.study.samples
    verdicts = each * len(prompts)
    found: dict[str, Any] = {
        "judge": judge,
        "verdicts": verdicts,
        "prompt_tokens": None,
        "completion_tokens": None,
        "cost": None,
    }
    if is_paid(judge):
        characters = each * sum(prompts) + verdicts * QUESTION_CHARACTERS
        answers = verdicts * plan.study.decoding.max_tokens
        found["prompt_tokens"] = characters // CHARACTERS_PER_TOKEN + answers
        found["completion_tokens"] = verdicts * (options.max_tokens or MAX_TOKENS)
        if options.price:
            tokens = found["prompt_tokens"], found["completion_tokens"]
            found["cost"] = options.price.cost(*tokens)
    return found


class JudgePanel:
    """The judges of a study, at work after its answers have come.

    Attributes:
        progress: of each judge that has been at work.
    """

    def __init__(
        self,
        judges: Sequence[Judge],
        price: Price | None,
        max_cost: float | None,
        on_progress: Callable[[str, Progress], None],
    ) -> None:
        self._judges = judges
        self._price = price
        self._max_cost = max_cost
        self._on_progress = on_progress
        self._spent = 0.0
        self.progress: dict[str, Progress] = {}

    @classmethod
    def of(
        cls,
        study: Study,
        options: JudgeOptions,
        judges: Sequence[Judge] | None,
        max_cost: float | None,
        on_progress: Callable[[str, Progress], None],
    ) -> JudgePanel:
        """The judges that a study names, or others in their place.

        Raises:
            UsageError, EngineError: one of them cannot be had.
        """
        if judges is None:
            judges = [make_judge(name, options) for name in study.judges]
        return cls(judges, options.price, max_cost, on_progress)

    @property
    def stopped(self) -> bool:
        """Whether the cost limit has stopped one of them."""
        return any(progress.stopped for progress in self.progress.values())

    async def start(self, store: Store, cells: int) -> None:
        """See that every judge answers, unless all cells have been asked already.

        Raises:
            EngineError: one of them does not.
        """
        if sum(tally.responses for tally in condition_tallies(store).values()) < cells:
            for judge in self._judges:
                await judge.start()

    async def score(self, store: Store, asking_cost: float) -> None:
        """Score all that has been answered: by the items' own scorers, then by each judge.

        Args:
            asking_cost: dollars that the answers have cost; the cost limit covers both.
        """
        score_run(store)
        for judge in self._judges:
            left = None
            if self._max_cost is not None and self._price is not None:
                left = max(0.0, self._max_cost - asking_cost - self._spent)
            progress = await judge_run(
                store,
                judge,
                price=self._price,
                max_cost=left,
                on_progress=partial(self._on_progress, judge.name),
            )
            self._spent += progress.cost
            self.progress[judge.name] = progress

    async def close(self) -> None:
        """Release what the judges hold."""
        for judge in self._judges:
            await judge.close()


async def judge_run(
    store: Store,
    judge: Judge,
    *,
    again: bool = False,
    price: Price | None = None,
    max_cost: float | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Judge the answers of the study last asked for that this judge has not judged yet.

    Answers to one item that say the same are judged once, and all get the one verdict: it costs
    less, and a judge that wavers cannot treat two users differently for the same words. What was
    judged before is never asked again. All other items get their own scorer's scores.

    Args:
        again: forget the judge's verdicts first, and judge all anew.
        price: of the judge's tokens; None if they cost nothing. Where an endpoint counts no
            tokens they are estimated from the length of the text.
        max_cost: dollars of this call after which nothing more is sent.
        on_progress: called after every write, with counts of answers that have a verdict.

    Returns:
        What was done. Its `cells` are all answers that a judge can judge.

    Raises:
        RunFolderError: there are verdicts by this judge under another wording or other labels,
            or another process is at work in the folder.
        EngineError: the judge cannot be reached or will not answer.
    """
    with store.only_process():
        is_own = judge.name == store.own_judge()
        scored = score_run(store, again=again and is_own)
        if is_own:  # it is what scores the run anyway
            answers = count_answers(store)
            return Progress(answers, done=answers, sent=min(scored, answers))
        verdicts = Verdicts(store, judge.name, judge.facts, again=again)
        if verdicts.left:
            await judge.start()
        recorder = Recorder(
            store,
            Progress(verdicts.answers, done=verdicts.answers - verdicts.left),
            price=price,
            max_cost=max_cost,
            on_progress=on_progress,
            limit="the judge's cost limit",
        )
        judging = _Judging(verdicts, recorder)
        await recorder.record(judge.judge(judging.answers(), judging.settle))
    return recorder.progress


class _Judging:
    """The answers that have no verdict yet, and the verdicts that come."""

    def __init__(self, verdicts: Verdicts, recorder: Recorder) -> None:
        self._verdicts = verdicts
        self._recorder = recorder
        self._under_way: dict[int, ToJudge] = {}

    def answers(self) -> Iterator[Answer]:
        """What the judge must see itself; the rest is settled in passing."""
        place = 0
        for each in self._verdicts.to_judge():
            if isinstance(each.answer, Unscored):
                self._recorder.add(self._arrival(each, Judgment(Verdict(each.answer))))
            elif each.verdict is not None:
                self._recorder.add(self._arrival(each, Judgment(each.verdict)))
            elif not self._recorder.may_ask():
                return
            else:
                self._under_way[place] = each
                place += 1
                yield each.answer

    def settle(self, place: int, judgment: Judgment) -> None:
        self._recorder.settle(self._arrival(self._under_way.pop(place), judgment))

    def _arrival(self, judged: ToJudge, judgment: Judgment) -> Arrival:
        tokens = judgment.prompt_tokens, judgment.completion_tokens
        changes = verdict_changes(
            self._verdicts.id, judged.responses, judgment.verdict, judgment.failures, tokens
        )
        done = 0 if judgment.verdict is None else len(judged.responses)
        return Arrival(changes, done, len(judgment.failures), *tokens)
