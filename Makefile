# Two commands do everything on a fresh machine: `make app` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: app test test-slow faults mutants lint lock

$(VENV)/ready: requirements.txt requirements-dev.txt pyproject.toml modadd/networks/mlp/native/step.c
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r requirements-dev.txt
	touch $@

app: $(VENV)/ready
	$(BIN)/streamlit run streamlit_app.py

# The browser wants a machine of its own; everything else shares the cores.
test: $(VENV)/ready lint
	$(BIN)/python -m pytest -n auto --dist loadgroup -m "not slow and not browser"
	$(BIN)/python -m pytest -m "browser and not slow"

test-slow: $(VENV)/ready
	$(BIN)/python -m pytest -m slow

# Everything that can go wrong, tried; writes docs/faults.md.
faults: $(VENV)/ready
	$(BIN)/python scripts/faults.py

# Changes the program on purpose and lists what no test notices; hours at full length.
mutants: $(VENV)/ready
	$(BIN)/python scripts/mutants.py --named
	$(BIN)/python scripts/mutants.py

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What requirements.txt pins, and everything that brings along, each with its hashes (SECURITY.md says how to use it).
lock: $(VENV)/ready
	$(BIN)/pip install --quiet uv==0.13.9
	$(BIN)/uv pip compile --no-config --upgrade --universal \
		--python-version 3.11 --generate-hashes --no-emit-package modadd --custom-compile-command "make lock" \
		--quiet --output-file requirements.lock requirements.txt
