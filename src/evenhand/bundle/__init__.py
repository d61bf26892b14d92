"""Bundles: a run as one file that an auditor can hold, check and run again."""
