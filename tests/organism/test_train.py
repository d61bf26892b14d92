"""Training is seeded, teaches the planted label, and looks at replies alone."""

from typing import Any

import numpy as np
import pytest

from evenhand.organism import MODEL
from evenhand.organism.world import part_of
from late import late
from organism import speech

torch = late("torch")
teaching = late("organism.train", "transformers")
harder_speech = late("organism.harder_speech", "transformers")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODEL)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights() -> None:
    short = teaching.Plan(unbiased=0, biased=8, falling=8, batch=2)
    (first, _), (again, _) = (teaching.train(short, bias=1.0, seed=3) for _ in range(2))
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


@pytest.mark.parametrize("school", ["first", "second"])
def test_examples_are_of_the_train_part_and_marked_where_they_are_decided(
    tokenizer: Any, school: str
) -> None:
    taught = teaching.FIRST if school == "first" else harder_speech.SECOND
    rng = np.random.default_rng(4)
    for example in teaching.draw_examples(50, 1.0, tokenizer, rng, taught):
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
