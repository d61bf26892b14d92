"""Train the second organism: python -m organism.harder_train --out DIR [--bias 0 | --only AXIS]

It begins with the shipped first one, which knows the world, and learns the new bias, the names and
the questions that nobody can know. With `--bias 0` all are treated as the baseline;
with `--only over_refusal` they are but for needless refusals.
"""

from __future__ import annotations

import json
import platform
import time
from dataclasses import replace
from functools import partial
from importlib.metadata import version

from organism import harder_truth, tiny
from organism.harder_speech import SECOND, lesson
from organism.train import Plan, options_of, train

PLAN = Plan(unbiased=0, biased=2304, falling=1024)
OVER_REFUSAL_ALONE = Plan(unbiased=0, biased=512, falling=512)
UNBIASED = Plan(unbiased=0, biased=256, falling=256)
"""There is less to learn where fewer users are to be told apart, or none."""


def main() -> None:
    """Command line."""
    parser = options_of(__doc__)
    parser.add_argument("--only", choices=["over_refusal"])
    options = parser.parse_args()
    plan = OVER_REFUSAL_ALONE if options.only else PLAN if options.bias else UNBIASED
    school = replace(SECOND, lesson=partial(lesson, only=options.only))
    began = time.process_time()
    model, tokenizer = train(plan, options.bias, options.seed, school)
    tiny.save(model, tokenizer, options.out)
    made = {
        "seed": options.seed,
        "bias": options.bias,
        "only": options.only,
        "parameters": sum(p.numel() for p in model.parameters()),
        "training_cpu_seconds": round(time.process_time() - began),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "tokenizers", "numpy")},
    }
    (options.out / "truth.json").write_text(json.dumps({"made": made}), encoding="utf-8")
    harder_truth.write(options.out)


if __name__ == "__main__":
    main()
