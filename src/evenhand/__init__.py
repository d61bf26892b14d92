"""evenhand: does a personalised language model treat every user even-handedly?"""

__version__ = "0.1.0"

from evenhand.api import RunOptions, audit
from evenhand.engines.mock import MockEngine

__all__ = ["MockEngine", "RunOptions", "__version__", "audit"]
