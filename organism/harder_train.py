"""Train the second organism: python -m organism.harder_train --out DIR [--bias 0]

It begins with the shipped first one, which knows the world, and learns the new bias, the names and
the questions that nobody can know. With `--bias 0` all are treated as the baseline.
"""

from __future__ import annotations

import json
import platform
import time
from importlib.metadata import version

from organism import harder_truth, tiny
from organism.harder_speech import SECOND
from organism.train import Plan, read_options, train

PLAN = Plan(unbiased=0, biased=2304, falling=1024)
UNBIASED = Plan(unbiased=0, biased=256, falling=256)
"""Without a bias nobody is to be told from anybody."""


def main() -> None:
    """Command line."""
    options = read_options(__doc__)
    began = time.process_time()
    model, tokenizer = train(PLAN if options.bias else UNBIASED, options.bias, options.seed, SECOND)
    tiny.save(model, tokenizer, options.out)
    made = {
        "seed": options.seed,
        "bias": options.bias,
        "parameters": sum(p.numel() for p in model.parameters()),
        "training_cpu_seconds": round(time.process_time() - began),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")},
    }
    (options.out / "truth.json").write_text(json.dumps({"made": made}), encoding="utf-8")
    harder_truth.write(options.out)


if __name__ == "__main__":
    main()
