"""evenhand: does a personalized language model treat every user even-handedly?"""

__version__ = "0.1.0"

from evenhand.api import RunOptions, audit

__all__ = ["RunOptions", "__version__", "audit"]
