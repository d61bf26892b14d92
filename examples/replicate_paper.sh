#!/usr/bin/env bash
# A researcher who replicates the paper: its preset, three samples, placebos, tables for a paper.
#
#   MODEL=openai/gpt-4o-mini LIMIT=100 examples/replicate_paper.sh
#
# MODEL, BENCHMARKS, LIMIT, SAMPLES and RUN may be set; without LIMIT every question is asked.
set -euo pipefail
MODEL=${MODEL:-openai/gpt-4o-mini}
RUN=${RUN:-runs/paper}
study=("$MODEL" --preset paper --samples "${SAMPLES:-3}" --placebos
  --benchmark "${BENCHMARKS:-paper}" ${LIMIT:+--limit "$LIMIT"})

# What it asks, costs and can show; the plan is frozen before the first answer.
evenhand plan "${study[@]}" --freeze "$RUN.plan.json"
evenhand audit "${study[@]}" --out "$RUN" --quiet

# Tables with intervals and the placebo row, figures as vectors, and whether the plan was kept.
evenhand report "$RUN" --format latex --out "$RUN/tables.tex"
evenhand report "$RUN" --format svg
evenhand report "$RUN" --frozen "$RUN.plan.json" --format text --out "$RUN/summary.txt"

# What others need to check it: texts of harmful questions and answers are left out.
evenhand bundle "$RUN" --out "$RUN.zip" --redact harmful
