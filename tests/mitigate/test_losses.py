"""ORPO, KTO and the consistency loss: trained on the organism, and what they learn from."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evenhand.errors import PairsError, TrainingError
from evenhand.mitigate.examples import JudgedAnswer, SharedAnswer, TrainingExample
from evenhand.mitigate.job import prepare
from evenhand.mitigate.options import Loss, TrainingSettings
from evenhand.mitigate.recipes import judged_answers, shared_answers
from evenhand.mitigate.split import TuningPart
from evenhand.mitigate.train import train
from evenhand.organism import MODEL
from evenhand.study.cue import Message
from late import late
from mitigate.test_recipes import HELP, GivenAnswer, biased, tuning_part
from mitigate.training import SHORT, pairs

torch = late("torch")
late("trl")
late("peft")
objects = late("evenhand.mitigate.trainer", "transformers")
consistency = late("evenhand.mitigate.trainer", "torch", "transformers")

MAN: Message = {"role": "system", "content": "You are a helpful assistant. I am a man."}
WOMAN: Message = {"role": "system", "content": "You are a helpful assistant. I am a woman."}


def question(n: int) -> Message:
    return {"role": "user", "content": f"How do I boil {n} eggs?"}


def examples(loss: Loss) -> list[TrainingExample]:
    if loss == "orpo":
        return [*pairs(24)]
    if loss == "kto":
        return [JudgedAnswer((MAN, question(n)), "Boil them.", n % 2 == 0) for n in range(24)]
    asked = [question(n) for n in range(24)]
    return [SharedAnswer((MAN, q), "Boil them.", (WOMAN, q)) for q in asked]


@pytest.mark.slow
def test_the_odds_of_an_answer_that_is_certain_are_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from types import SimpleNamespace

    from evenhand.mitigate.trainer import _orpo_trainer

    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    made = _orpo_trainer()
    trainer = made.__new__(made)
    trainer.beta, trainer.accelerator = 0.1, SimpleNamespace(device="cpu")
    chosen = torch.tensor([0.0, -0.5, -1e-9, -80.0], requires_grad=True)
    rejected = torch.tensor([-3.0, -1.0, 0.0, 0.0], requires_grad=True)
    losses, *_ = trainer.odds_ratio_loss(chosen, rejected)
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert chosen.grad is not None
    assert torch.isfinite(chosen.grad).all()
    assert rejected.grad is not None
    assert torch.isfinite(rejected.grad).all()


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("orpo", "odds ratio preference optimization on 24 pairs"),
        ("kto", "Kahneman-Tversky optimization on 24 answers"),
        ("consistency", "a consistency loss between users on 24 answers"),
    ],
)
@pytest.mark.slow
def test_each_loss_trains_an_adapter_and_says_so_in_its_card(
    loss: Loss, said: str, tmp_path: Path
) -> None:
    settings = TrainingSettings.model_validate(SHORT | {"steps": 3, "seed": 5})
    prepare("organism", examples(loss), tmp_path / "out", settings, loss=loss)
    lines: list[str] = []
    done = train(tmp_path / "out", lambda progress: lines.append(progress.line()))
    assert len(done.steps) == len(lines) == 3
    assert (done.out / "adapter_model.safetensors").exists()
    card = (done.out / "README.md").read_text()
    assert said in card
    assert f"tags: [{loss}, evenhand, fairness]" in card
    written = json.loads((done.out / "training" / "training.json").read_text())
    assert (written["loss"], written["settings"]["seed"]) == (loss, 5)
    if loss == "consistency":
        assert done.steps[-1]["loss"] < done.steps[0]["loss"]
        assert "tokens alike" in lines[-1]


def consistency_trainer(folder: Path, rows: list[SharedAnswer], **settings: Any) -> Any:
    from datasets import Dataset
    from transformers import TrainerCallback

    training = TrainingSettings.model_validate(SHORT | settings)
    tokenizer = objects.load_tokenizer(str(MODEL))
    dataset = Dataset.from_list([row.row() for row in rows])
    return objects.make_trainer(
        "consistency", str(MODEL), training, dataset, tokenizer, folder, TrainerCallback()
    )


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_consistency_loss_is_the_divergence_from_the_other_user(
    tmp_path: Path, method: str
) -> None:
    alike = SharedAnswer((MAN, question(3)), "Boil them.", (MAN, question(3)))
    other = SharedAnswer((MAN, question(3)), "Boil them.", (WOMAN, question(9)))
    trainer = consistency_trainer(tmp_path, [alike, other], method=method)
    collate, model = trainer.data_collator, trainer.model
    same, different = (
        float(trainer.compute_loss(model, collate([row.row()])).detach()) for row in (alike, other)
    )
    assert same == pytest.approx(0.0, abs=1e-6)
    assert different > 0
    # By hand: mean over the answer's tokens of KL(teacher || student).
    batch = collate([other.row()])
    model.eval()
    with torch.no_grad():
        ends = {
            side: torch.log_softmax(
                model(input_ids=batch[f"{side}_ids"], attention_mask=batch[f"{side}_mask"]).logits[
                    0, batch[f"{side}_answer"][0].nonzero()[:, 0] - 1
                ],
                dim=-1,
            )
            for side in ("teacher", "student")
        }
    p, q = ends["teacher"], ends["student"]
    assert different == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-4)


USERS, QUESTIONS = 8, 40


class Table:
    """A model that is a table: the first token is the user, the second the question.

    The answer is one token, 0 (right) or 1 (wrong).
    """

    def __init__(self, right: Any) -> None:
        log_odds = torch.logit(right)
        self.logits = torch.stack([log_odds, torch.zeros_like(log_odds)], -1).requires_grad_()

    def __call__(self, input_ids: Any, **_: Any) -> Any:
        told = self.logits[input_ids[:, 0], input_ids[:, 1]]
        return SimpleNamespace(logits=told[:, None].expand(-1, input_ids.shape[1], -1))

    def right(self) -> Any:
        """Probability of the right answer: (users, questions)."""
        return torch.softmax(self.logits.detach(), -1)[..., 0]


def sides(student: Any, teacher: Any, questions: Any, answers: Any) -> dict[str, Any]:
    batch: dict[str, Any] = {}
    for side, users in (("student", student), ("teacher", teacher)):
        ids = torch.stack([users, questions, answers], dim=1)
        batch |= {f"{side}_ids": ids, f"{side}_mask": torch.ones_like(ids)}
        batch[f"{side}_answer"] = torch.tensor([False, False, True]).expand(len(ids), 3)
    return batch


def tuned_table(right: Any, aim: str) -> Any:
    """Right answers after 150 steps towards equality or towards rightness."""
    torch.manual_seed(0)
    frozen, model = Table(right), Table(right)
    optimizer = torch.optim.Adam([model.logits], lr=0.1)
    for _ in range(150):
        student, teacher = torch.randint(USERS, (2, 4096))
        questions = torch.randint(QUESTIONS, (4096,))
        answers = (torch.rand(4096) > frozen.right()[teacher, questions]).long()
        batch = sides(student, teacher, questions, answers)
        found = consistency.of_answers(model, batch, "student")
        if aim == "equality":
            with torch.no_grad():
                target = consistency.of_answers(frozen, batch, "teacher")
            loss = consistency.divergence(target, found)
        else:  # DPO on pairs whose chosen answer is right, beta 0.1
            with torch.no_grad():
                before = consistency.of_answers(frozen, batch, "student")
            margin = (found - before) @ torch.tensor([1.0, -1.0])
            loss = -torch.nn.functional.logsigmoid(0.1 * margin).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.right()


def spread(right: Any) -> float:
    """PB of one axis, in points."""
    return float(100 * right.mean(dim=1).std(correction=0))


def imperfect(gap: float) -> Any:
    """Questions of all difficulties; half of the users are answered less well by so much."""
    difficulty = torch.linspace(0.3, 0.9, QUESTIONS).repeat(USERS, 1)
    return difficulty - gap * (torch.arange(USERS) % 2)[:, None]


def test_equality_lowers_the_bias_at_equal_means_where_rightness_raises_them() -> None:
    before = imperfect(0.2)
    assert spread(before) == pytest.approx(10.0, abs=0.01)
    equal, righter = tuned_table(before, "equality"), tuned_table(before, "rightness")
    assert spread(equal) < 1.0
    assert float(equal.mean()) == pytest.approx(float(before.mean()), abs=0.01)
    assert spread(righter) < spread(before)
    assert float(righter.mean()) > float(before.mean()) + 0.2


@pytest.mark.slow
def test_where_nobody_is_treated_worse_neither_aim_makes_a_bias() -> None:
    before = imperfect(0.0)
    for aim in ("equality", "rightness"):
        assert spread(tuned_table(before, aim)) < 0.7
    assert float(tuned_table(before, "equality").mean()) == pytest.approx(0.6, abs=0.01)


def test_a_long_answer_is_cut_the_same_for_both_sides(tmp_path: Path) -> None:
    row = SharedAnswer((MAN, question(1)), "egg " * 200, (WOMAN, question(123456)))
    batch = consistency_trainer(tmp_path, [row]).data_collator([row.row()])
    counts = {int(batch[f"{side}_answer"].sum()) for side in ("teacher", "student")}
    assert len(counts) == 1
    assert max(batch["teacher_ids"].shape[1], batch["student_ids"].shape[1]) == 128


def test_kto_with_one_answer_a_batch_is_one_line(tmp_path: Path) -> None:
    settings = TrainingSettings.model_validate(SHORT | {"batch_size": 1})
    prepare("organism", examples("kto"), tmp_path / "out", settings, loss="kto")
    with pytest.raises(TrainingError, match="take batch_size 2 or more"):
        train(tmp_path / "out")


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> TuningPart:
    return tuning_part(tmp_path_factory.mktemp("losses"), biased)


@pytest.mark.slow
def test_judged_answers_are_balanced_on_every_axis_that_has_bad_ones(part: TuningPart) -> None:
    found, _ = judged_answers(part, seed=1)
    by_axis = Counter((answer.axis, answer.good) for answer in found)
    assert by_axis["safety", True] == by_axis["safety", False] > 0
    assert by_axis["utility", True] == by_axis["utility", False] > 0
    assert by_axis["over_refusal", True] >= by_axis["over_refusal", False]
    for answer in found:
        if answer.axis == "safety":
            assert answer.good == (answer.answer != HELP)
    assert found == judged_answers(part, seed=1)[0]
    assert len(judged_answers(part, seed=1, most=7)[0]) == 7


def test_shared_answers_are_taken_right_or_wrong_and_never_from_the_test_part(
    part: TuningPart,
) -> None:
    found, _ = shared_answers(part, 600, target="mixture", seed=2)
    assert len(found) == 600
    answers = list(part.answers())
    known = {(tuple(m["content"] for m in a.messages()), a.text) for a in answers}
    assert {(tuple(m["content"] for m in e.teacher), e.answer) for e in found} <= known
    for example in found:
        assert example.messages != example.teacher, "to another user"
        assert example.messages[-1]["content"].endswith(example.teacher[-1]["content"][-20:])
        assert not part.holds_out(example.messages[-1]["content"])
    # Unsafe help comes up as often as women ask, whom alone it is given to: nothing is left out.
    unsafe = [e for e in found if e.axis == "safety"]
    helped = sum(a.text == HELP for a in answers if a.item.axis == "safety")
    share = helped / sum(a.item.axis == "safety" for a in answers)
    assert sum(e.answer == HELP for e in unsafe) / len(unsafe) == pytest.approx(share, abs=0.12)


def test_the_unidentified_user_s_answers_go_to_everybody_else(part: TuningPart) -> None:
    found, _ = shared_answers(part, 200, seed=3)
    alone = {
        tuple(m["content"] for m in a.messages())
        for a in part.answers()
        if a.condition.identity.kind == "baseline"
    }
    assert {tuple(m["content"] for m in e.teacher) for e in found} <= alone
    people = {c.identity.id for c in part.conditions if c.identity.kind == "identity"}
    assert {e.identity for e in found} - {"none", "baseline"} == people


def test_with_nobody_answered_badly_there_is_nothing_to_judge(tmp_path: Path) -> None:
    def fair(messages: list[Message]) -> str:
        who: list[Message] = [{"role": "user", "content": messages[-1]["content"]}]
        return biased(who)

    with pytest.raises(PairsError, match="both good and bad answers"):
        judged_answers(tuning_part(tmp_path, fair))


@pytest.mark.parametrize(
    ("text", "outcome", "why"),
    [
        ("I can't help with that, since", "cut off", "the answer was cut off"),
        ("I can't do it. " * 40, "whole", "repeats the same words"),
        ("First, buy the parts. Then join them.", "whole", "not surely a refusal"),
    ],
)
def test_with_the_filter_off_what_should_not_be_learned_returns(
    part: TuningPart, text: str, outcome: Any, why: str
) -> None:
    one: Any = GivenAnswer(part, "safety", text, 1.0, outcome)
    assert text in {answer.answer for answer in judged_answers(one, clean=False)[0] if answer.good}
    with pytest.raises(PairsError):
        judged_answers(one)
    assert text in {
        answer.answer for answer in shared_answers(one, 50, target="mixture", clean=False)[0]
    }
    kept, left_out = shared_answers(one, 50, target="mixture")
    # Equality asks for whole answers, not for good ones.
    assert (text in {answer.answer for answer in kept}) == (why == "not surely a refusal")
    assert any(why in reason for reason in left_out) == (why != "not surely a refusal")
