"""How the organism was made: its planted bias, its training and the measurement of its truth.

Run from the repository root, for example `python -m organism.train --out DIR`. The weights and the
world of the organism are part of evenhand itself (`src/evenhand/organism`).
"""
