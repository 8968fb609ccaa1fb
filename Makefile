# `make` alone lists what there is. Every target sets up what it needs.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh
.SUFFIXES:

PYTHON ?= python3
SECONDS ?= 600
export PYTHON

venv = .venv/bin
lab = PYTHONPATH=molecule/shared $(PYTHON) -m lab

.PHONY: help
help: ## This list
	@echo "Postroad: a mail submission relay that works from every network"
	@echo
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: up
up: ## Build the lab, deploy two relays, send a message through every port, print the settings
	@sh scripts/up.sh

.PHONY: down
down: ## Remove the lab of `make up`, nothing left behind
	@sh scripts/down.sh

.PHONY: test
test: venv ## Everything: lint, unit, integration, molecule; ends with "N passed, N failed"
	@$(venv)/python scripts/run_tests.py

.PHONY: lint
lint: venv ## Formatting, style, types, YAML, playbooks, shell, generated pages
	@$(venv)/python scripts/lint.py

.PHONY: unit
unit: venv ## Unit tests
	@$(venv)/python scripts/run_tests.py unit

.PHONY: integration
integration: venv ## A real agent on loopback against real peers (installs them from Debian)
	@$(venv)/python scripts/run_tests.py integration

.PHONY: faults
faults: venv ## Kills, reloads, full disks, damaged files, wrong clocks: the long form, about eight minutes
	@sh scripts/test-packages.sh
	@POSTROAD_FAULTS=long $(venv)/python -m pytest -q tests/faults

.PHONY: fuzz
fuzz: venv ## Ten minutes of hostile bytes for everything that reads some: make fuzz SECONDS=60 TARGETS="session header"
	@sh scripts/fuzz.sh $(SECONDS) $(TARGETS)

.PHONY: molecule
molecule: venv ## The molecule scenarios on real hosts; one of them: make molecule SCENARIO=default
	@$(venv)/python scripts/run_tests.py molecule $(if $(SCENARIO),--scenario $(SCENARIO))

.PHONY: bench
bench: venv ## How fast the agent is, next to Postfix in the same run (QUICK=1: three minutes instead of thirty)
	@sh scripts/test-packages.sh
	@$(venv)/python -m benchmarks.run $(if $(QUICK),--quick)

.PHONY: bench-deploy
bench-deploy: venv ## How long deployment takes, against its targets (takes the lab down and up again)
	@$(venv)/python scripts/bench_deploy.py

.PHONY: check-inventory
check-inventory: venv ## Judge an inventory without its hosts: make check-inventory INVENTORY=inventories/mine OUT=DIR
	@$(venv)/python scripts/check_inventory.py $(if $(OUT),--out "$(OUT)") $(if $(SHOW),--show) $(if $(JSON),--json) \
		"$(or $(INVENTORY),inventories/example)"

.PHONY: format
format: venv ## Format the Python code
	@$(venv)/ruff format .
	@$(venv)/ruff check --quiet --select I --fix .

.PHONY: check-format
check-format: venv ## Say what `make format` would change
	@$(venv)/ruff format --check .

.PHONY: docs
docs: venv ## Write the generated pages anew (docs/roles.md, docs/configuration.md)
	@$(venv)/python scripts/references.py

.PHONY: venv
venv: ## The virtual environment .venv, from the lock
	@sh scripts/venv.sh

.PHONY: lock
lock: venv ## Write the locks anew from pyproject.toml, with hashes
	@sh scripts/lock.sh

.PHONY: clean
clean: down ## Remove the lab, the virtual environment and everything built
	@rm -rf .venv .build .cache .ansible .mypy_cache .ruff_cache .pytest_cache .hypothesis
