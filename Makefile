# Everything runs from .venv, which `make setup` makes. See CONTRIBUTING.md.

# Where torch comes from when .venv is made: any = what pip's own set-up offers (a CUDA build of
# several GB on Linux unless a CPU build lies at hand); cpu, cu129, ... = PyTorch's index of that name.
TORCH ?= any
# The interpreter to build .venv on; empty = the newest of python3.14 ... python3.11 that runs.
PYTHON ?=
# Which of benchmarks/*.py to run, and with what.
BENCH ?= speed
ARGS ?=

BIN := .venv/bin
# One thread per process: two test workers on two cores, not eight threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup quickstart check test test-long bench bench-peers wheel clean clean-venv FORCE

help:  ## print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | awk -F@ '{ printf "%-20s %s\n", $$1, $$2 }'

setup: .venv/.ready  ## make or complete .venv (TORCH=any|cpu|cu129, PYTHON=...); nothing when up to date

ifneq ($(TORCH),any)
ifneq ($(TORCH),$(shell cat .venv/.torch 2>/dev/null))
.venv/.ready: FORCE
endif
endif

.venv/.ready: pyproject.toml constraints.txt scripts/setup.sh src/medmeta/version.py
	@TORCH="$(TORCH)" PYTHON="$(PYTHON)" scripts/setup.sh

quickstart: setup  ## learn a small task from start to report, into quickstart/
	$(BIN)/medmeta quickstart --out quickstart

check: setup  ## style, types, import rules and the snippets of the documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -n 2 tests/docs

test: check  ## check, then all tests but the long ones
	$(PYTEST) -n 2 -m "not long" --ignore=tests/docs

test-long: setup  ## the tests that take minutes
	$(PYTEST) -m long

bench: setup  ## one of benchmarks/*.py (BENCH=speed|growth|omniglot|real_sources, ARGS="...")
	$(BIN)/python benchmarks/$(BENCH).py $(ARGS)

bench-peers: setup  ## install the libraries that BENCH=speed compares with, into .peers
	$(BIN)/python benchmarks/install_peers.py

wheel: setup  ## build dist/medmeta-*.whl
	$(BIN)/python -m build --wheel --no-isolation

clean:  ## remove what the other targets made, but .venv
	rm -rf build dist quickstart .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks examples scripts -name __pycache__ -type d -prune -exec rm -rf {} +

clean-venv:  ## remove .venv and .peers, for another Python or another build of torch
	rm -rf .venv .venv.making .peers
