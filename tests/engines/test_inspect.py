"""The engine through inspect-ai, against a stand-in with inspect-ai's own names and shapes."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from evenhand.engines import EngineOptions, engine_type, make_engine
from evenhand.engines.engine import Response
from evenhand.errors import EngineError, MissingExtra
from evenhand.study.decoding import Decoding
from evenhand.study.plan import Request

KEY = "sk-0123456789abcdef"


@dataclass
class StandIn:
    """What inspect-ai was asked, and what it answers."""

    content: Any = "Sure."
    stop_reason: str = "stop"
    error: Exception | None = None
    no_choice: bool = False
    asked: list[tuple[list[Any], dict[str, Any]]] = field(default_factory=list)
    closed: bool = False

    async def generate(self, messages: list[Any], config: dict[str, Any]) -> Any:
        self.asked.append((messages, config))
        if self.error:
            raise self.error
        choice = SimpleNamespace(
            message=SimpleNamespace(content=self.content), stop_reason=self.stop_reason
        )
        usage = SimpleNamespace(input_tokens=20, output_tokens=7)
        choices = [] if self.no_choice else [choice]
        return SimpleNamespace(choices=choices, model="served-1", usage=usage, time=0.5, error=None)

    @property
    def api(self) -> Any:
        async def aclose() -> None:
            self.closed = True

        return SimpleNamespace(aclose=aclose)


@pytest.fixture
def inspect_ai(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()

    def get_model(name: str, *, memoize: bool) -> StandIn:
        assert (name, memoize) == ("bedrock/some.model", False)
        return stand_in

    module = ModuleType("inspect_ai.model")
    parts = {"get_model": get_model, "GenerateConfig": dict}
    for role in ("System", "User", "Assistant"):
        parts[f"ChatMessage{role}"] = lambda content, role=role: (role, content)
    vars(module).update(parts)
    monkeypatch.setitem(sys.modules, "inspect_ai", ModuleType("inspect_ai"))
    monkeypatch.setitem(sys.modules, "inspect_ai.model", module)
    return stand_in


def ask(decoding: Decoding | None = None, count: int = 3) -> list[Response]:
    engine = make_engine(
        "inspect/bedrock/some.model", decoding or Decoding(), EngineOptions(max_connections=2)
    )
    found: list[Response] = []
    conversation: Any = [
        {"role": "system", "content": "I am a man."},
        {"role": "user", "content": "Question?"},
    ]
    requests = [Request(bytes([n]), 0, n, n, conversation) for n in range(count)]

    async def run() -> None:
        await engine.answer(iter(requests), found.append)
        await engine.close()

    asyncio.run(run())
    return found


def test_an_answer(inspect_ai: StandIn) -> None:
    found = ask(Decoding(temperature=1, top_k=10, seed=4, stop=("END",)))
    assert [(r.text, r.outcome, r.served, r.prompt_tokens) for r in found] == [
        ("Sure.", "whole", "served-1", 20)
    ] * 3
    messages, config = inspect_ai.asked[0]
    assert messages == [("System", "I am a man."), ("User", "Question?")]
    assert config["temperature"] == 1
    assert config["top_k"] == 10
    assert config["stop_seqs"] == ["END"]
    assert sorted(config["seed"] for _, config in inspect_ai.asked) == [4, 5, 6]
    assert inspect_ai.closed


@pytest.mark.parametrize(
    ("stop_reason", "outcome"),
    [("stop", "whole"), ("max_tokens", "cut off"), ("model_length", "cut off"),
     ("content_filter", "blocked"), ("tool_calls", "whole"), ("unknown", "whole")],
)  # fmt: skip
def test_stop_reasons(inspect_ai: StandIn, stop_reason: str, outcome: str) -> None:
    inspect_ai.stop_reason = stop_reason
    assert {(r.outcome, r.finish) for r in ask()} == {(outcome, stop_reason)}


def test_a_block_without_text(inspect_ai: StandIn) -> None:
    inspect_ai.stop_reason, inspect_ai.content = "content_filter", ""
    assert {r.text for r in ask()} == {None}


def test_reasoning_is_no_answer(inspect_ai: StandIn) -> None:
    reasoning = SimpleNamespace(type="reasoning", reasoning="Hm.")
    inspect_ai.content = [reasoning, SimpleNamespace(type="text", text="Sure.")]
    assert {(r.text, r.thought) for r in ask()} == {("Sure.", "Hm.")}


def test_an_error_ends_it_in_one_line_without_keys(
    inspect_ai: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    inspect_ai.error = RuntimeError(f"bad\nkey {KEY}")
    with pytest.raises(EngineError, match=r"does not answer \(bad key \[key\]\)"):
        ask()


def test_no_choice_is_blocked(inspect_ai: StandIn) -> None:
    inspect_ai.no_choice = True
    assert {(r.text, r.outcome) for r in ask()} == {(None, "blocked")}


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai.model", None)
    with pytest.raises(MissingExtra, match=r"pip install 'evenhand\[inspect\]'"):
        make_engine("inspect/openai/m", Decoding())


def test_what_engines_say_of_themselves() -> None:
    said = {
        name: (kind.is_local, kind.is_paid, kind.default_suite)
        for name in (
            *("openai/m", "gemini/m", "ollama/m", "hf/m", "organism", "organism-2", "inspect/a/m"),
        )
        for kind in [engine_type(name)]
    }
    assert said == {
        "openai/m": (False, True, "paper"),
        "gemini/m": (False, True, "paper"),
        "ollama/m": (False, False, "paper"),
        "hf/m": (True, False, "paper"),
        "organism": (True, False, "demo"),
        "organism-2": (True, False, "demo2"),
        "inspect/a/m": (False, True, "paper"),
    }
