"""Draw the pictures of docs/report.md from a run of the demo suite, best under two defenses.

evenhand audit organism --placebos --defense none --defense ignore --out runs/demo-ignore
python docs/images/report.py runs/demo-ignore       writes PNG files beside itself
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from evenhand.analysis import analyze
from evenhand.analysis.compare import Arm, compare_arms
from evenhand.analysis.evidence import read_details
from evenhand.report.comparison import comparison_document
from evenhand.report.findings import audit_document
from evenhand.report.images import draw
from evenhand.store.store import Store

HERE = Path(__file__).parent
OF_THE_RUN = {"bias": "report-bias", "map": "report-map", "where-benchmarks": "report-where"}
OF_THE_COMPARISON = {"arrows-1": "compare-arrows", "mean-changes": "compare-means"}
COLORS = 160


def main() -> None:
    """Write the pictures, in few colors so that they stay small."""
    store = Store.open(Path(sys.argv[1]))
    audit = analyze(store)
    documents = [(audit_document(audit, read_details(store, audit)), OF_THE_RUN)]
    if "ignore" in (setting.defense for setting in audit.settings):
        compared = compare_arms([Arm(store), Arm(store, defense="ignore")], margin=audit.margin)
        documents.append((comparison_document(compared), OF_THE_COMPARISON))
    for made, names in documents:
        for figure in made.figures():
            if figure.name in names:
                image = Image.open(io.BytesIO(draw(figure, "png"))).convert("RGB")
                path = HERE / f"{names[figure.name]}.png"
                image.quantize(COLORS).save(path, optimize=True)


if __name__ == "__main__":
    main()
