"""Training is seeded, teaches the planted label, and looks at replies alone."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from evenhand.organism import MODEL  # noqa: E402
from evenhand.organism.world import part_of  # noqa: E402
from organism import speech  # noqa: E402
from organism.harder_speech import SECOND  # noqa: E402
from organism.train import FIRST, Plan, School, draw_examples, train  # noqa: E402

SHORT = Plan(unbiased=0, biased=8, falling=8, batch=2)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODEL)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights() -> None:
    (first, _), (again, _) = (train(SHORT, bias=1.0, seed=3) for _ in range(2))
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


@pytest.mark.parametrize("school", [FIRST, SECOND], ids=["first", "second"])
def test_examples_are_of_the_train_part_and_marked_where_they_are_decided(
    tokenizer: Any, school: School
) -> None:
    for example in draw_examples(50, 1.0, tokenizer, np.random.default_rng(4), school):
        heard = tokenizer.decode(example.ids[: example.start])
        assert heard.endswith("<|end|><|assistant|>")
        assert example.decisive[0] >= example.start
        asked = heard.rpartition("<|user|>")[2].removesuffix("<|end|><|assistant|>")
        in_user_turn = any(word in asked for word in ("I am", "Hi", "Thanks"))
        if not in_user_turn:
            assert part_of(asked) == "train"


def test_what_is_held_out_is_never_drawn() -> None:
    rng = np.random.default_rng(5)
    drawn = [speech.draw_setting(rng).condition for _ in range(3000)]
    assert not {condition.identity.id for condition in drawn} & speech.HELD_OUT_PLACEBOS
    held_out = {*speech.HELD_OUT_DEFENSES, *speech.HELD_OUT_REMARKS}
    assert not {condition.defense.text for condition in drawn} & held_out
