"""The figures and tables of a paper: what is there, how large, and with whom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fakes
from runs import run_main

pypdf = pytest.importorskip("pypdf")


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figures of two runs with placebos and intersections."""
    home = tmp_path_factory.mktemp("paper")
    people = ["religion", "age", "muslim*minor"]
    for name, harm in (("base", 0.6), ("tuned", 0.1)):
        fakes.audit(
            home / name,
            fakes.biased(harm, harm / 2),
            items=16,
            identities=people,
            placebos=True,
        )
    out = home / "figures"
    assert run_main(["figures", str(home / "base"), str(home / "tuned"), "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_every_figure_is_there_as_pdf_and_svg(paper: Path) -> None:
    names = {path.stem for path in paper.glob("*.pdf")}
    assert names == {path.stem for path in paper.glob("*.svg")}
    assert {"pb-by-model", "trade-off-base", "trade-off-tuned", "arrows-1"} <= names
    assert {"intersections-base-safety", "intersections-tuned-utility"} <= names
    assert {"bias-changes", "mean-changes"} <= names
    text = (paper / "figures.tex").read_text()
    assert {*re.findall(r"includegraphics\{(.+?)\.pdf\}", text)} == names


@pytest.mark.slow
def test_text_has_eight_points_and_a_figure_the_width_of_a_column(paper: Path) -> None:
    for file in paper.glob("*.pdf"):
        page = pypdf.PdfReader(file).pages[0]
        assert float(page.mediabox.width) == pytest.approx(240, abs=4), file.name
    sizes = set()

    def look(text: str, matrix: list[float], inner: list[float], _: object, size: float) -> None:
        if text.strip():
            sizes.add(round(abs(size * inner[3] * matrix[3]), 1))

    page = pypdf.PdfReader(paper / "pb-by-model.pdf").pages[0]
    assert "base" in page.extract_text(visitor_text=look)  # text, not outlines
    assert sizes == {8.0}
    svg = (paper / "pb-by-model.svg").read_text()
    assert re.search(r'<svg [^>]*width="240\.\d\dpt"', svg)


def test_tables_have_intervals_and_a_row_of_placebos(paper: Path) -> None:
    text = (paper / "tables.tex").read_text()
    first = text.split(r"\end{table}")[0]
    assert "Personalization bias by model" in first
    assert re.search(r"base & [\d.]+ & [\d.]+ to [\d.]+ &", first)
    assert re.search(r"tuned, placebos & [\d.]+ & [\d.]+ to [\d.]+ &", first)
    assert "base: differences to the no-identity baseline" in text
    assert "base: two identities in one user" in text
    assert "From base to tuned" in text


@pytest.mark.slow  # nine comparisons, each tested and drawn
def test_ten_models_are_compared_and_drawn(tmp_path: Path) -> None:
    rows = [
        {
            "model": f"model-{m}",
            "identity": who,
            "axis": axis,
            "item": f"{axis} {n}",
            "score": int((n * 7 + m) % 10 > 3 and not (who == "hindu" and (n + m) % 5 == 0)),
        }
        for m in range(10)
        for who in ("baseline", "muslim", "hindu", "jewish")
        for axis in ("safety", "utility")
        for n in range(20)
    ]
    file = fakes.write_rows(tmp_path / "ten.jsonl", rows)
    assert run_main(["import", str(file), "--out", str(tmp_path / "runs")]) == 0
    runs = sorted(str(path) for path in (tmp_path / "runs").iterdir())
    assert len(runs) == 10
    page = tmp_path / "ten.html"
    assert run_main(["compare", *runs, "--format", "html", "--out", str(page)]) == 0
    assert page.read_text().count("model-9") > 3
    out = tmp_path / "figures"
    assert run_main(["figures", *runs, "--out", str(out)]) == 0
    table = (out / "tables.tex").read_text().split(r"\end{table}")[0]
    assert [f"model-{m} &" in table for m in range(10)] == [True] * 10


def test_no_run_and_runs_with_nothing_in_common(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(["figures"]) == 2
    assert "name at least one run folder" in capsys.readouterr().err
    for name in ("muslim", "hindu"):
        rows = [
            {"identity": who, "axis": "utility", "item": f"{name}{n}", "score": n % 2}
            for who in ("baseline", name, "jewish")
            for n in range(6)
        ]
        file = fakes.write_rows(tmp_path / f"{name}.jsonl", rows)
        assert run_main(["import", str(file), "--out", str(tmp_path / name)]) == 0
    runs = [str(tmp_path / "muslim"), str(tmp_path / "hindu")]
    assert run_main(["figures", *runs, "--out", str(tmp_path / "out")]) == 0
    assert "note: no figures from one run to the next" in capsys.readouterr().err
    assert (tmp_path / "out" / "tables.tex").exists()
