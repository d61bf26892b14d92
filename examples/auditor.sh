#!/usr/bin/env bash
# An auditor who holds nothing but the bundle of a run.
#
#   examples/auditor.sh audit.zip
set -euo pipefail
BUNDLE=$1
RUN=${RUN:-runs/audited}

# Hashes and counts; scores and figures made anew. Ends with exit code 4 if something does not hold.
evenhand verify "$BUNDLE"

# The study again on an own folder: its answers are taken, nothing is asked, the figures are compared.
evenhand rerun "$BUNDLE" --out "$RUN"

# Every answer with its scores, and a sample to label by hand, blind to the judge's verdicts.
evenhand report "$RUN" --format jsonl --out "$RUN/answers.jsonl"
evenhand label "$RUN" --number 40 --by auditor --html "$RUN/label.html"
