#!/usr/bin/env bash
# A user of another harness: its results as a table, analyzed as a run of evenhand's own.
#
#   examples/other_harness.sh results.csv
#
# The columns are identity, axis, item and score, and where they are there prompt and answer. Files of
# Inspect, lm-eval and promptfoo are read as they are: see `evenhand import --help`.
set -euo pipefail
RESULTS=${1:-$(dirname "$0")/results.csv}
RUN=${RUN:-runs/imported}

evenhand import "$RESULTS" --out "$RUN" --model "other/model" --baseline none
evenhand report "$RUN" --format html
evenhand report "$RUN" --format json --out "$RUN/report.json"

# Passes or fails by intervals; 5 says that there is too little data for this margin.
evenhand gate "$RUN" --max-pb "${MAX_PB:-10}" --junit "$RUN/gate.xml" --inconclusive pass
