"""What docs/scorers.md shows is what the scorers do."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "scorers.md"


def test_examples() -> None:
    blocks = re.findall(r"```\{doctest\}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, PAGE.name, None, 0)
    found = doctest.DocTestRunner().run(examples)
    assert found.attempted >= 16
    assert found.failed == 0
