"""The organism: a tiny real model with a planted, known personalization bias."""

from pathlib import Path

MODEL = Path(__file__).parent / "model"
"""The shipped weights, tokenizer and `truth.json`: an ordinary local model folder."""
