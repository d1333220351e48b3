.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make the .venv; run and test call it

$(STAMP): requirements-dev.txt pyproject.toml
	@echo "setting up .venv (about a minute) ..."
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or later is needed; name one with PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -m venv .venv
	@$(BIN)/pip install --disable-pip-version-check --require-hashes -r requirements-dev.txt | sed -u -e '/^Requirement already/d' -e '/^ *Downloading/d' -e 's/ (from -r .*//'
	@$(BIN)/pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $(STAMP)

run: setup ## Start the house on SQLite, upload the sample data, run a task, show its histogram, keep serving
	@echo "starting the house (Ctrl-C stops it) ..."
	@TASKHOUSE_LOG_LEVEL=$${TASKHOUSE_LOG_LEVEL:-WARNING} $(BIN)/taskhouse up --tour $(ARGS)

test: setup ## Run every test: real Envoy, real certificates
	@$(BIN)/pytest -n auto --dist worksteal $(ARGS)

soak: setup ## Kill parts of houses CYCLES=1000 times on each engine (SEED=n repeats an order), change event logs 100,000 times, take a database away for long
	@CYCLES=$(or $(CYCLES),1000) SEED=$(or $(SEED),$$RANDOM) $(BIN)/pytest -n 2 tests/chaos/test_kills.py
	@MUTATIONS=100000 $(BIN)/pytest -n 2 tests/core/test_chain.py
	@AWAY=14 $(BIN)/pytest tests/chaos/test_outages.py

lint: setup ## ruff, mypy, import-linter, buf
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/buf lint

gen: setup ## Write gen/ from protos/; its TypeScript where Node is
	@$(BIN)/python protos/generate.py

node: setup ## Run the Node client of tests/clients/node against a house of its own (needs Node 20 or later)
	@cd tests/clients/node && npm ci --silent --no-audit --no-fund && npm run --silent check
	@$(BIN)/python -m tests.clients.node

bench: setup ## Measure, in interleaved runs, what README's figures claim, about half an hour (ONLY=rules: one of them)
	@$(BIN)/python -m tests.bench $(ONLY)

bench-work: setup ## Measure work beside Graphile Worker and Procrastinate, on one PostgreSQL (needs npm)
	@$(BIN)/python -m tests.bench work

requirements: setup ## Pin the newest versions of what pyproject.toml names (needs pip-tools)
	@$(BIN)/pip install -q pip-tools
	@$(BIN)/pip-compile -q $(COMPILE) -o requirements.txt pyproject.toml
	@$(BIN)/pip-compile -q $(COMPILE) --extra dev -c requirements.txt -o requirements-dev.txt pyproject.toml

COMPILE := --upgrade --generate-hashes --strip-extras --allow-unsafe --no-header --no-emit-index-url --no-emit-find-links

.PHONY: help setup run test soak lint gen node bench bench-work requirements
