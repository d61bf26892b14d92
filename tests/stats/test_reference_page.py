"""What the statistics reference says of its tables is what these hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from simulate_stats import figures_of, put_table

PAGE = Path(__file__).parents[2] / "docs" / "statistics-reference.md"
TEXT = PAGE.read_text("utf-8")
SAID = re.findall(r"<!-- (figures|misses) ([\w-]+) --> ?(.*?) ?<!-- -->", TEXT)


@pytest.mark.parametrize(
    ("what", "name", "said"), SAID, ids=[f"{what}-{name}" for what, name, _ in SAID]
)
def test_what_is_said_of_a_table_is_in_it(what: str, name: str, said: str) -> None:
    after = TEXT.split(f"(`{name}`)", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", after, flags=re.MULTILINE)
    assert table is not None
    assert said
    assert said == figures_of(table.group().splitlines())[what == "misses"]


def test_tables_and_figures_are_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "It covers <!-- figures one --> <!-- -->.\n\n(`one`) A table.\n\n| a |\n|---|\n| 1 |\n\n"
        "End: <!-- misses one --> old <!-- -->.\n"
    )
    lines = ["| K | true PB | coverage % | p <= 0.05 % |", "|---|---|---|---|"]
    put_table(page, "one", [*lines, "| 4 | 0.0 | 95.0 | 7.1 |", "| 4 | 2.0 | 92.0 | 80.0 |"])
    text = page.read_text()
    assert "covers <!-- figures one --> coverage 92.0 to 95.0%; p <= 0.05 7.1% <!-- -->." in text
    assert "\n\n| K | true PB | coverage % | p <= 0.05% |\n|---|---|---|---|\n| 4 | 0.0 |" in text
    assert "| 1 |" not in text
    assert (
        "2 of 3 figures are outside: K 4, true PB 0.0, p <= 0.05: 7.1%; "
        "K 4, true PB 2.0, coverage: 92.0%"
    ) in text
