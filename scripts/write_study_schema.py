"""Write the JSON Schema of a study file: python scripts/write_study_schema.py."""

from pathlib import Path

import orjson

from evenhand.study.study import Study

SCHEMA = Path(__file__).parents[1] / "src" / "evenhand" / "data" / "study.schema.json"

if __name__ == "__main__":
    SCHEMA.write_bytes(orjson.dumps(Study.model_json_schema(), option=orjson.OPT_INDENT_2) + b"\n")
