"""Bringing the bias down: defence prompts, preference tuning, and both, each on held-out data."""
