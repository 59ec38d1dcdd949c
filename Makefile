# The two commands of the README are `make lab` and `make test`. Everything installs into .venv; what Debian must bring is said before it is installed.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

BIN := .venv/bin
STAGES := lint test-unit test-integration test-molecule test-e2e
LAB ?= linda
HOSTS ?=

.PHONY: help setup lab lab-status lab-clean test $(STAGES) bench drill-mongodb docs requirements

help: ## Show this help
	@awk -F':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## Install the Python tools into .venv (every other target does it by itself)

.venv/.ready: requirements/dev.txt scripts/setup.sh pyproject.toml
	@scripts/setup.sh

lab: setup ## Start the fleet, run site.yml on it, validate it, show where to look (HOSTS="api mongodb" starts a part)
	@$(BIN)/lab up --name $(LAB) $(HOSTS)
	$(BIN)/lab playbook --name $(LAB) site.yml
	$(BIN)/lab status --name $(LAB)
	scripts/where_to_look.sh $(LAB)

lab-status: setup ## Show the hosts of the lab
	@$(BIN)/lab status --name $(LAB)

lab-clean: setup ## Remove the lab and its secrets (downloads stay cached)
	@$(BIN)/lab down --name $(LAB) --purge

test: ## Everything CI runs, with the time of each stage
	@scripts/stages.sh $(STAGES)

lint: setup ## ansible-lint, yamllint, ruff, mypy, ansible-test sanity
	@scripts/lint.sh

test-unit: setup ## Pure code: planners, filters, parsers
	@$(BIN)/python -m pytest -q -n 2 tests/unit lab/app/tests

test-integration: setup ## Plugins and modules against real daemons on loopback
	@scripts/debian_packages.sh requirements/debian-test.txt
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests/integration

test-molecule: setup ## Each role on fresh machines: check, converge, idempotence, check, verify from outside
	@scripts/molecule.sh $(SCENARIO)

test-e2e: setup ## The whole fleet, and faults in it
	@scripts/debian_packages.sh requirements/debian-test.txt
	$(BIN)/python -m pytest -v -x tests/e2e

bench: setup ## Print times and remote module runs
	@$(BIN)/python -m tests.bench

drill-mongodb: setup ## Break a replica set in every way there is while a client writes (an hour or more; the short form is part of test)
	@$(BIN)/python -m tests.drills.mongodb $(DRILL)

docs: setup ## Write the variable tables of the roles' READMEs from their argument specs
	@$(BIN)/python scripts/docs.py

requirements: setup ## Resolve requirements/*.in anew into hashed, address-free lock files
	@for name in controller dev; do
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    requirements/$$name.in -o requirements/$$name.txt
	done
