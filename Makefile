# The verbs of this project; `make help` lists them. Everything they need, they install.
PY := .venv/bin/python
SHELL := /bin/bash

.PHONY: help setup check test world breaks demo bench format lock clean

help: ## list the verbs
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

setup: .venv/.ready ## install Debian packages (when root) and the locked Python packages

.venv/.ready: requirements.lock pyproject.toml tools/setup.py
	python3 tools/setup.py
	@touch $@

check: setup ## formatting, lint, types
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

format: setup ## rewrite the layout of the code
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

test: setup ## the whole test suite, the real lab included (ARGS=… goes to pytest)
	$(PY) tools/test.py $(ARGS)

world: setup ## the simulated cloud: SEEDS=200 of them (from FIRST=0 on), or SEED=n to replay one, each of STEPS=600; GRID=1: of several regions and their grid manager
	$(PY) -m arable.sim.run $(if $(GRID),--grid) $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),200) --first $(or $(FIRST),0)) $(if $(STEPS),--steps $(STEPS))

breaks: setup ## every workflow, broken between any two of its steps (STORY="stop" and AT=n replay one)
	$(PY) -m arable.sim.run_breaks $(if $(STORY),--story "$(STORY)") $(if $(AT),--at $(AT))

demo: setup ## bring up a cloud and do the main job, then show a farm under load (ONCE=1 leaves after the machine, with FARM=1 after the farm)
	$(PY) -m arable.processes.demo $(if $(ONCE),--once) $(if $(FARM),--farm)

bench: setup ## run a benchmark: NAME=start-overhead | deploy-rate | list-latency | idle-cost | dataplane | failover | backup | scale | farms | global
	$(PY) -m bench $(NAME) $(ARGS)

lock: ## resolve the dependencies anew
	.venv/bin/uv -q pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements.lock

clean: ## remove what the build made
	rm -rf .venv .cache
