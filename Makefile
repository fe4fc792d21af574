# Verbs of the project; `make` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash

VENV := .venv/bin
SPEC ?= pipelines/specs/tiny.yaml
OUT ?= out/demo
DATA ?=

.PHONY: help setup demo test lint golden lock clean

help: ## Lists the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: ## Makes the environment in .venv; does nothing where it is ready
	@bash images/local/setup.sh

demo: setup ## Runs the whole pipeline here; DATA=folder adds your own data, OUT=folder moves the outputs
	@$(VENV)/fundus-r1 run --spec $(SPEC) $(if $(DATA),--data "$(DATA)") --out "$(OUT)"

test: setup lint ## Runs all tests
	@$(VENV)/python -m pytest

lint: setup ## Checks style, types and the layer rule
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(VENV)/mypy
	@$(VENV)/lint-imports --no-logo

golden: setup ## Renews the golden files after a change that is meant; look at the difference
	@$(VENV)/python -m pytest tests -k golden --golden

lock: setup ## Renews the lock from images/local/requirements.in (needs uv on the PATH)
	@bash images/local/lock.sh

clean: ## Removes the outputs of the demo, not the environment
	@rm -rf out
