"""Check every call that evenhand makes of vLLM against a release of it, without installing it.

    pip download --no-deps vllm==0.33.0
    python scripts/check_vllm_calls.py vllm-0.33.0-*.whl

Reads signatures from the package's source by `ast`, and runs the engine on a stub that raises
where a call does not fit them. Needs transformers. It says nothing of what vLLM answers: for that
there must be a GPU.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import sys
import tempfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from evenhand.engines import EngineOptions, make_engine, vllm
from evenhand.engines.engine import Response
from evenhand.study.cue import Message
from evenhand.study.decoding import PRESETS, Decoding
from evenhand.study.plan import Request
from vllm_stub import stub

MODEL = Path(vllm.__file__).parents[1] / "organism" / "model"


class Package:
    """The source of a wheel."""

    def __init__(self, wheel: Path) -> None:
        self._files = zipfile.ZipFile(wheel)

    def text(self, path: str) -> str:
        return self._files.read(f"vllm/{path}").decode()

    def body(self, path: str, name: str) -> list[ast.stmt]:
        """What stands in a class."""
        for node in ast.walk(ast.parse(self.text(path))):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node.body
        raise SystemExit(f"vllm/{path} has no class {name}")

    def fields(self, path: str, name: str) -> dict[str, bool]:
        """Fields of a class and whether they must be given."""
        return {
            node.target.id: node.value is None and "NotRequired" not in ast.unparse(node.annotation)
            for node in self.body(path, name)
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and not node.target.id.startswith("_")
            and "ClassVar" not in ast.unparse(node.annotation)
        }

    def method(self, path: str, name: str, method: str) -> dict[str, bool]:
        """Parameters of a method without its first, and whether they must be given."""
        for node in self.body(path, name):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == method:
                taken = node.args
                names = [each.arg for each in (*taken.posonlyargs, *taken.args)][1:]
                optional = names[len(names) - len(taken.defaults) :] if taken.defaults else []
                found = {each: each not in optional for each in names}
                pairs = zip(taken.kwonlyargs, taken.kw_defaults, strict=True)
                return found | {each.arg: default is None for each, default in pairs}
        raise SystemExit(f"vllm/{path}: {name} has no method {method}")

    def names(self, path: str, name: str) -> set[str]:
        """All that a class has: fields, methods, and what it sets of itself."""
        tree = ast.Module(self.body(path, name), [])
        found = set(self.fields(path, name))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                found.add(node.attr)
            elif isinstance(node, ast.Assign):
                found |= {each.id for each in node.targets if isinstance(each, ast.Name)}
        return found


def exercise(model: str, decoding: Decoding, options: EngineOptions | None = None) -> None:
    """All that an audit does with an engine."""
    engine = make_engine(model, decoding, options)
    messages: list[Message] = [{"role": "user", "content": "Hello"}]
    requests = (Request(bytes([n] * 8), 0, n, 0, messages) for n in range(20))
    found: list[Response] = []

    async def ask() -> None:
        engine.rendered(messages)
        await engine.answer(requests, found.append)
        await engine.close()

    asyncio.run(ask())
    if len(found) != 20 or not all(response.text for response in found):
        raise SystemExit(f"{model}: {len(found)} answers, {found[:1]}")


def main() -> None:
    """Print what was checked; exit 1 where something does not fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    package = Package(parser.parse_args().wheel)
    engine = "v1/engine/async_llm.py"
    arguments = package.fields("engine/arg_utils.py", "EngineArgs")
    signatures = {
        "AsyncEngineArgs": arguments | package.fields("engine/arg_utils.py", "AsyncEngineArgs"),
        "SamplingParams": package.fields("sampling_params.py", "SamplingParams"),
        "TokensPrompt": package.fields("inputs/llm.py", "TokensPrompt"),
        "LoRARequest": package.fields("lora/request.py", "LoRARequest"),
        **{
            f"AsyncLLM.{name}": package.method(engine, "AsyncLLM", name)
            for name in ("from_engine_args", "generate", "get_tokenizer", "shutdown")
        },
    }
    read = {
        ("v1/engine/async_llm.py", "AsyncLLM"): {"model_config"},
        ("config/model.py", "ModelConfig"): {
            *("max_model_len", "hf_config", "get_diff_sampling_param"),
        },
        ("outputs.py", "RequestOutput"): {"outputs"},
        ("outputs.py", "CompletionOutput"): {"token_ids", "finish_reason"},
        ("sampling_params.py", "RequestOutputKind"): {"FINAL_ONLY"},
    }
    absent = [
        f"{name}.{each}"
        for (path, name), wanted in read.items()
        for each in sorted(wanted - package.names(path, name))
    ]
    ranks = literal(package.text("config/lora.py"), "MaxLoRARanks")
    if ranks != vllm.RANKS:
        absent.append(f"ranks of adapters: {ranks}")
    absent += [name for name in ("VLLM_NO_USAGE_STATS",) if name not in package.text("envs.py")]
    if absent:
        sys.exit(f"vLLM has changed: {', '.join(absent)}")
    with stub(signatures, lambda _: "Yes.") as calls, tempfile.TemporaryDirectory() as folder:
        adapter = {"base_model_name_or_path": str(MODEL), "r": 16}
        (Path(folder) / "adapter_config.json").write_text(json.dumps(adapter))
        exercise(f"vllm/{MODEL}", Decoding())
        exercise(f"vllm/{MODEL}", PRESETS["paper"])
        exercise(f"vllm/{MODEL}", Decoding(temperature=None, seed=1, stop=("END",)))
        exercise(
            f"vllm/{MODEL}", Decoding(extra={"min_p": 0.1}), EngineOptions(gpus_per_worker=0.5)
        )
        exercise(f"vllm/{folder}", Decoding())
    for name in signatures:
        print(f"{sum(called == name for called, *_ in calls):5} calls of {name} fit")
    print(f"{sum(map(len, read.values()))} attributes and the ranks of adapters are there")


def literal(text: str, name: str) -> tuple[int, ...]:
    """The values of `NAME = Literal[...]`."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return tuple(ast.literal_eval(ast.unparse(node.value).removeprefix("Literal")))
    raise SystemExit(f"there is no {name}")


if __name__ == "__main__":
    main()
