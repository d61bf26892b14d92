"""Prices of models by name, of the list that the package genai-prices keeps (extra `prices`)."""

from __future__ import annotations

import os

from evenhand.engines.services import services
from evenhand.run.recorder import Price

_PROVIDERS = {"gemini": "google", "xai": "x-ai", "moonshot": "moonshotai"}
"""Names of the list where they are not ours."""
_TOKENS = 1000
"""So few that no price for long prompts applies."""


def known_price(model: str) -> Price | None:
    """The price of a model at its service's own address; None where it is not known.

    Nothing is asked of any network: the list is as old as the installed package.
    """
    prefix, _, name = model.partition("/")
    service = services().get(prefix)
    own_address = prefix == "openai" and os.environ.get("OPENAI_BASE_URL")
    if service is None or service.own_server or own_address or not name:
        return None
    try:
        from genai_prices import Usage, calc_price
    except ImportError:
        return None
    usage = Usage(input_tokens=_TOKENS, output_tokens=_TOKENS)
    try:
        found = calc_price(usage, model_ref=name, provider_id=_PROVIDERS.get(prefix, prefix))
    except (LookupError, ValueError):
        return None
    million = 1e6 / _TOKENS
    return Price(float(found.input_price) * million, float(found.output_price) * million)
