"""Services that answer over HTTP: where they are, and which variable holds the key.

The table is `services.json`. A model is named SERVICE/MODEL: "mistral/mistral-small-latest".
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import orjson

from evenhand.errors import UsageError

JUDGE_KEY = "EVENHAND_JUDGE_API_KEY"
"""A judge's endpoint may have a key of its own, in this variable."""


@dataclass(frozen=True, slots=True)
class Service:
    """One service.

    Attributes:
        name: what a model's name begins with.
        base_url: up to and with the version; empty where each customer has another.
        key: the environment variable that holds the key.
        wire: the format that it speaks.
        base_url_variable: an environment variable that may hold another base URL.
        key_header: the header that carries the key; a bearer token in `Authorization` if empty.
        seed: its name for the seed.
        own_server: it runs on the user's own machine: it needs no key and costs nothing.
        example: a base URL to show where there is no default.
        batch_requests, batch_bytes: the most that one batch may hold; 0 where the service has no
            batch API in a format that is known here.
    """

    name: str
    base_url: str
    key: str
    wire: Literal["openai", "anthropic", "gemini"] = "openai"
    base_url_variable: str = ""
    key_header: str = ""
    seed: str = "seed"
    own_server: bool = False
    example: str = "http://127.0.0.1:8000/v1"
    batch_requests: int = 0
    batch_bytes: int = 0

    def base_urls(self) -> list[str]:
        """The base URL where the user names none.

        Raises:
            UsageError: there is none.
        """
        variable = self.base_url_variable
        url = (variable and os.environ.get(variable, "").strip()) or self.base_url
        if not url:
            raise UsageError(f"no base URL for {self.name}: give --base-url {self.example}")
        if self.name == "azure" and "/openai" not in url:  # the variable holds the bare resource
            url = f"{url.rstrip('/')}/openai/v1"
        return [url]


@cache
def services() -> dict[str, Service]:
    """All services by name."""
    table = orjson.loads(files(__package__).joinpath("services.json").read_bytes())
    return {name: Service(name, **entry) for name, entry in table.items()}


def known_keys() -> list[str]:
    """All keys of services that are in the environment: none of them may be stored."""
    names = {JUDGE_KEY, *(service.key for service in services().values())}
    return [value for name in names if (value := os.environ.get(name, "").strip())]
