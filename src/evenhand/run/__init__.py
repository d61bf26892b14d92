"""Asking: every cell of a plan that is not on disk yet, once."""
