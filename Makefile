# Verbs of the project; `make` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash

VENV := .venv/bin
SPEC ?= pipelines/specs/tiny.yaml
OUT ?= out/demo
DATA ?=
GOLDEN = $(shell grep -rl golden tests --include='test_*.py')

.PHONY: help setup demo test test-long lint golden golden-check lock clean

help: ## Lists the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: ## Makes the environment in .venv; does nothing where it is ready
	@bash images/local/setup.sh

demo: setup ## Runs the whole pipeline here; DATA=folder adds your own data, OUT=folder moves the outputs
	@$(VENV)/fundus-r1 run --spec $(SPEC) $(if $(DATA),--data "$(DATA)") --out "$(OUT)"

test: setup lint ## Runs the tests, three at a time; many of them wait for processes and clocks
	@OMP_NUM_THREADS=1 $(VENV)/python -m pytest -m "not long" -n 3 --no-loadscope-reorder

test-long: setup ## Runs the tests that kill trainings and whole runs again and again
	@$(VENV)/python -m pytest -m long

lint: setup ## Checks style, types and the layer rule
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(VENV)/lint-imports --no-logo

golden: setup ## Renews the golden files after a change that is meant; look at the difference
	@$(VENV)/python -m pytest $(GOLDEN) -k golden --golden

golden-check: setup ## Fails where a golden file is not what the code makes now, such as a compiled pipeline
	@$(VENV)/python -m pytest $(GOLDEN) -k golden

lock: setup ## Renews the lock from images/local/requirements.in (needs uv on the PATH)
	@bash images/local/lock.sh

clean: ## Removes the outputs of the demo, not the environment
	@rm -rf out
