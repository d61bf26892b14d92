"""Bringing the bias down: defense prompts, preference tuning, and both, each on held-out data."""
