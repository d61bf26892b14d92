"""evenhand: does a personalised language model treat every user even-handedly?"""

__version__ = "0.1.0"
