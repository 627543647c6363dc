# make demo | test | check | learning | bench | cartridge | test-upstream | test-cluster | clean
VENV ?= .venv
PYTHON := $(firstword $(foreach p,python3.11 python3.10 python3 python,$(shell $(p) -c 'import sys; assert (3, 10) <= sys.version_info[:2] < (3, 12); print("$(p)")' 2>/dev/null)))
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UPSTREAM_PYTHON ?= $(BIN)/python

.PHONY: demo test check learning bench cartridge test-upstream test-cluster clean help

help:
	@echo "make demo       train HierQ on the practice cartridge for a few minutes and show what it learned"
	@echo "make test       run the tests"
	@echo "make check      formatter, linter, type checker"
	@echo "make learning   only the tests that train on tiny tasks"
	@echo "make bench      speed of environment, replay and learner"
	@echo "make cartridge  rebuild the practice cartridge (needs Debian's sdcc 4.2.0)"
	@echo "make test-upstream  the tests against pokemonred_puffer: UPSTREAM_PYTHON=<a Python it runs in> PYTHONPATH=<its checkout>:."
	@echo "make test-cluster   the job files on a real Slurm, started here (Debian's slurm-wlm and munge), for minutes"

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.10 or 3.11 is needed: install it, or make python3.11 reachable in PATH"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip -c constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt --build-constraint constraints.txt -e '.[dev,wandb,sweep]'
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m daddy_puffer.demo

test: $(STAMP)
	$(BIN)/python -m pytest -q

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

learning: $(STAMP)
	$(BIN)/python -m pytest -q -m learning

bench: $(STAMP)
	$(BIN)/python benchmarks/env_sps.py
	$(BIN)/python benchmarks/replay_speed.py
	$(BIN)/python benchmarks/learner_speed.py

cartridge: $(STAMP)
	$(BIN)/python cartridge/build.py --world daddy_puffer/data/practice_world.json --out daddy_puffer/data/practice.gb
	$(BIN)/python -m daddy_puffer.envs.start_state

test-upstream: $(if $(filter $(BIN)/python,$(UPSTREAM_PYTHON)),$(STAMP))
	$(UPSTREAM_PYTHON) -m pytest -q -m upstream tests/upstream

test-cluster: $(STAMP)
	$(BIN)/python -m pytest -q -m cluster tests/cluster

clean:
	rm -rf $(VENV) cartridge/build .pytest_cache .mypy_cache .ruff_cache .hypothesis
