# make demo            audit the model that comes with evenhand
# make mitigate-demo   reduce its bias four ways, and measure the effect on held-out data
# make mitigate-methods   all methods over three seeds, into docs/mitigation.md
# make test            lint, types, all tests; CI adds COVERAGE=--cov, which takes half as long again
# make test-fast       the same without the slow tests
# make test-interop    tests with inspect-ai and lm-eval, which do not fit beside the pinned packages
# make docs            the documentation site, into build/docs
# Both need nothing but Python 3.11 or newer, pip and make.

PYTHON ?= python3
DEMO_MODEL := organism-2
BIN := .venv/bin
# Programs that tests start read compiled files, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE
# tests/conftest.py puts the files with slow tests first.
PARALLEL := --numprocesses 2 --dist loadfile --no-loadscope-reorder
# pip would compile modules one after another; COMPILE does so on all cores, and passes over the
# templates that some packages hold.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
COMPILE := $(BIN)/python -m compileall -qq -j 0 .venv/lib || true

.PHONY: demo mitigate-demo mitigate-methods test test-fast test-interop docs lint clean

demo: .venv/local.stamp
	$(BIN)/evenhand demo

# The controls must change nothing: a sentence about the weather, swapped preferences, and a random
# subspace beside the steering.
METHODS := --method prompt,dpo,consistency,steer --recipe invariance,invariance-shuffled \
	--control "The weather is mild today." --batch-size 256

mitigate-demo: .venv/train.stamp
	$(BIN)/evenhand mitigate $(DEMO_MODEL) --limit 40 $(METHODS) --test-cue memory-1 \
		--budget 8000 --out runs/mitigate-demo

# The table of docs/mitigation.md: all methods over three seeds, 80 minutes of processor time.
mitigate-methods: .venv/train.stamp
	$(BIN)/evenhand mitigate $(DEMO_MODEL) $(METHODS) --method orpo,kto,hybrid \
		--target unidentified,mixture --test-cue none --seeds 3 --budget 8000 --units items \
		--out runs/mitigate-methods
	$(BIN)/python scripts/mitigation_figures.py runs/mitigate-methods --mark methods

test: .venv/dev.stamp lint
	$(BIN)/pytest $(PARALLEL) $(COVERAGE)

test-fast: .venv/dev.stamp lint
	$(BIN)/pytest $(PARALLEL) -m "not slow"

test-interop: build/interop.stamp
	build/interop/bin/python -m pytest tests/test_interop.py

docs: .venv/docs.stamp
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache

# torch goes first and pinned: left to a dependency, pip might choose another build of it.
.venv/local.stamp: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "evenhand needs Python 3.11 or newer; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(PIP) $$(grep '^torch==' constraints.txt)
	$(PIP) --editable '.[local]'
	$(COMPILE)
	touch $@

.venv/train.stamp: .venv/local.stamp
	$(PIP) --editable '.[train]'
	$(COMPILE)
	touch $@

.venv/dev.stamp: .venv/local.stamp
	$(PIP) --editable '.[train,dev]'
	$(COMPILE)
	touch $@

build/interop.stamp: pyproject.toml
	$(PYTHON) -m venv build/interop
	build/interop/bin/pip install --quiet $$(grep '^torch==' constraints.txt)
	build/interop/bin/pip install --quiet --editable '.[local,inspect,tables]' lm-eval accelerate pytest \
		coverage jsonschema
	touch $@

.venv/docs.stamp: .venv/dev.stamp
	$(PIP) --editable '.[docs]'
	$(COMPILE)
	touch $@
