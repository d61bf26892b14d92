"""Write the JSON Schema of the reports: python scripts/write_report_schema.py."""

from pathlib import Path

import orjson

from evenhand.report.schema import report_schema

SCHEMA = Path(__file__).parents[1] / "src" / "evenhand" / "data" / "report.schema.json"

if __name__ == "__main__":
    SCHEMA.write_bytes(orjson.dumps(report_schema(), option=orjson.OPT_INDENT_2) + b"\n")
