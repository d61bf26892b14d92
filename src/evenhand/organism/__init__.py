"""The organisms: tiny real models with a planted, known personalization bias."""

from pathlib import Path

MODEL = Path(__file__).parent / "model"
"""The shipped weights, tokenizer and `truth.json`: an ordinary local model folder."""

HARDER = Path(__file__).parent / "model-2"
"""The same of the second organism, whose bias is smaller, of several kinds, and moved by names."""

SHIPPED = {"organism": MODEL, "organism-2": HARDER}
"""Models by the name that a study calls them."""
