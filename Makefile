# DSGo. `make` shows the commands. Needs Python 3.11 to 3.13, make and git, nothing else.
.DEFAULT_GOAL := help
SHELL := /bin/sh

# 3.11 first: the projects' own environments ask for it, so one interpreter does for both.
PYTHONS = python3.11 python3.12 python3.13 python3
PYTHON =
COLLECTION = wind_solar
DATA =
LEVEL = PROD
TO =
FROM =
JOB =
ARGS =
BIN = .venv/bin
DSGO = $(BIN)/python -m dsgo
HAVE = $(DSGO) --help >/dev/null 2>&1
NONE = No server runs: there is no environment yet to run one.

# Recipes read these from the environment: a file name with spaces or quotes needs no escaping.
export DATA COLLECTION LEVEL TO FROM JOB

.PHONY: help run predict monitor refresh explain tune test up down status restart serve dashboard report rollback ledger predictions backup restore env lint lock bench clean

help: ## show this list
	@echo "make <command> [NAME=value …]"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { gsub(/[$$]+/, "$$"); printf "  %-10s %s\n", $$1, $$2 }' Makefile

run: .venv/made ## run all jobs, then report, dashboard and REST endpoint; DATA=sample | file.csv | address, LEVEL=PROD | DEV, COLLECTION=wind_solar
	@$(DSGO) run --collection "$$COLLECTION" --data "$$DATA" --level "$$LEVEL"

predict: .venv/made ## forecast what lies ahead with what is in Production
	@$(DSGO) predict --collection "$$COLLECTION" --data "$$DATA"

monitor: .venv/made ## watch over the data and over the version in Production
	@$(DSGO) monitor --collection "$$COLLECTION" --data "$$DATA"

refresh: .venv/made ## predict, watch, and learn anew if that is due; ARGS=--go-on after a question to a person
	@$(DSGO) refresh --collection "$$COLLECTION" --data "$$DATA" $(ARGS)

explain: .venv/made ## show for each step why `make run` with the same DATA and COLLECTION would run or reuse it; JOB=production
	@$(DSGO) explain --collection "$$COLLECTION" --data "$$DATA" --level "$$LEVEL" --job "$$JOB"

tune: .venv/made ## search for better settings on the newest dataset; ARGS="--step random_forest --trials 20"
	@$(DSGO) tune --collection "$$COLLECTION" $(ARGS)

test: .venv/made ## run all tests; ARGS="-k promote" goes to pytest
	@$(BIN)/python -m pytest -n 3 --max-worker-restart 0 $(ARGS)

up: .venv/made ## start the FTP and tracking servers; ARGS="serve dashboard orchestrator" starts those
	@$(DSGO) up $(ARGS)

down: ## stop all servers
	@if $(HAVE); then $(DSGO) down; else echo "$(NONE)"; fi

status: ## show the servers; fails unless all are up
	@if $(HAVE); then $(DSGO) status; else echo "$(NONE)"; exit 1; fi

restart: .venv/made ## restart one server; ARGS=tracking
	@$(DSGO) restart $(ARGS)

serve: .venv/made ## serve the Production model of COLLECTION over REST
	@$(DSGO) serve --collection "$$COLLECTION"

dashboard: .venv/made ## start the dashboard
	@$(DSGO) dashboard

report: .venv/made ## write the weekly report; ARGS go to report/create_report.py
	@$(DSGO) report $(ARGS)

rollback: .venv/made ## put the version before back in Production; ARGS="--to 3 --reason 'too high in June'"
	@$(DSGO) rollback --collection "$$COLLECTION" $(ARGS)

ledger: .venv/made ## show what was promoted, refused, rolled back and repaired, of all or one COLLECTION; ARGS=--json
	@$(DSGO) ledger $(if $(filter command,$(firstword $(origin COLLECTION))),--collection "$$COLLECTION") $(ARGS)

predictions: .venv/made ## print the newest forecast of each hour of COLLECTION as CSV, with version, source and time of issue
	@$(DSGO) predictions --collection "$$COLLECTION"

backup: .venv/made ## write all artifacts and databases into one file while everything runs; TO=file or folder
	@$(DSGO) backup --to "$$TO"

restore: .venv/made ## replace all artifacts and databases by those of a backup, FROM=file; keeps the present ones aside
	@$(DSGO) restore "$$FROM"

env: .venv/made ## print what plain mlflow commands need: eval "$$(make -s env)"
	@$(DSGO) env

lint: .venv/made ## check style and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

lock: .venv/made ## write requirements.txt anew from pyproject.toml; ARGS=--upgrade takes newer versions
	@$(BIN)/python bootstrap.py lock $(ARGS)

bench: .venv/made ## measure the pipeline against the starting notebooks
	@$(BIN)/python bench/pipeline.py $(ARGS)

clean: ## remove caches and build results; keeps .venv and the servers' state
	@rm -rf build dist dsgo.egg-info .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

# Everything that the set-up prints goes to stderr: `make -s env` has only its own lines on stdout.
.venv/made: requirements.txt pyproject.toml bootstrap.py
	@python=; \
	for candidate in $(if $(PYTHON),'$(PYTHON)',$(PYTHONS)); do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
	  then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "error: no Python 3.11, 3.12 or 3.13 with the venv module found (tried: $(or $(PYTHON),$(PYTHONS)))." \
	    "Install one (on Debian with python3-venv) or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	"$$python" bootstrap.py >&2
