# Everything a fresh machine with Python and make needs: the environment is made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
RAY = ray or cluster
SLOW = slow or browser or $(RAY)
INSTALLED = $(VENV)/.installed

.PHONY: help install demo test test-fast lint types format dashboard wheel clean

help:            ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*##/\t/' | expand -t 18

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	touch $(INSTALLED)

install: $(INSTALLED)   ## the environment in .venv, with every pin of constraints.txt

demo: $(INSTALLED)      ## phantom scans -> preparation -> sweep -> leaderboard and pictures, in demo/ (minutes, two cores)
	$(BIN)/mrisynth demo --out demo

test: lint types        ## style, types and every test (browser tests are skipped without Chromium); Ray takes both cores
	$(BIN)/python -m pytest tests -n 2 -m 'not ($(RAY))'
	$(BIN)/python -m pytest tests -m '$(RAY)'

test-fast: $(INSTALLED) ## the tests that take seconds
	$(BIN)/python -m pytest tests -n 2 -m 'not ($(SLOW))'

lint: $(INSTALLED)      ## ruff, as in pre-commit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)     ## mypy, strict on mrisynth/
	$(BIN)/mypy

format: $(INSTALLED)    ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dashboard: $(INSTALLED) ## browse the demo's results
	$(BIN)/mrisynth dashboard demo/results

wheel: $(INSTALLED)     ## dist/mrisynth-*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps -w dist .

clean:           ## remove the environment and what was built
	rm -rf $(VENV) dist build
