"""Write the JSON Schema of a study file: python scripts/write_study_schema.py."""

from inspect import cleandoc
from itertools import chain
from pathlib import Path
from typing import Any

import orjson
from docstring_parser import parse_from_object

from evenhand.study.decoding import Decoding
from evenhand.study.entry import Entry
from evenhand.study.study import Study

SCHEMA = Path(__file__).parents[1] / "src" / "evenhand" / "data" / "study.schema.json"


def study_schema() -> dict[str, Any]:
    """The schema, in which every field is described by its docstring.

    pydantic could read these docstrings, too, but would at every start of every command.
    """
    schema = Study.model_json_schema()
    _describe(schema, Study)
    _describe(schema["$defs"]["Decoding"], Decoding)
    return schema


def _describe(schema: dict[str, Any], model: type[Entry]) -> None:
    bases = [each for each in reversed(model.__mro__) if issubclass(each, Entry)]
    for field in chain.from_iterable(parse_from_object(each).params for each in bases):
        if field.arg_name in schema["properties"]:
            described = cleandoc(field.description or "")
            schema["properties"][field.arg_name]["description"] = described


if __name__ == "__main__":
    SCHEMA.write_bytes(orjson.dumps(study_schema(), option=orjson.OPT_INDENT_2) + b"\n")
