"""evenhand: does a personalized language model treat every user even-handedly?"""

__version__ = "0.2.0"

from evenhand.audit import RunOptions, audit

__all__ = ["RunOptions", "__version__", "audit"]
