"""What is asked: identities, cues, defenses, and the study as its user states it."""
