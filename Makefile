# Two commands matter: `make demo` and `make test`. Each sets up everything it needs on a fresh Debian machine.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
PY := .venv/bin/python

.PHONY: help setup demo test lint fmt bench diagrams clean bootstraps node-clients java-clients go-clients rust-clients extension-clients examples vm

help: ## what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: ## system packages (as root), .venv, compiled bootstraps
	scripts/setup.sh

bootstraps: setup
	scripts/build-bootstraps.sh

node-clients: setup
	scripts/setup-node-clients.sh

java-clients: setup
	scripts/setup-java-clients.sh

go-clients: setup
	scripts/setup-go-clients.sh

rust-clients: setup
	scripts/setup-rust-clients.sh

extension-clients: setup
	scripts/setup-extension-clients.sh

examples: setup
	scripts/setup-examples.sh

demo: setup bootstraps ## functions in several languages: cold, warm, failing, timing out
	.venv/bin/lambent demo

vm: setup
	scripts/setup-vm.sh

test: setup bootstraps node-clients java-clients go-clients rust-clients extension-clients examples vm ## the whole suite
	$(PY) -m pytest $(ARGS)

lint: setup ## style, types, layering
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/pyright --pythonpath $(PY)

fmt: setup ## format
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: setup bootstraps ## throughput and latency against the floor, cold starts, scheduler, peers
	scripts/setup-peers.sh || true # without them the peers are left out, and the report says so
	$(PY) -m benchmarks $(ARGS)

diagrams: setup ## the state diagrams in ARCHITECTURE.md, from the tables
	PYTHONPATH=. $(PY) scripts/diagrams.py

clean: ## everything that was made here
	rm -rf .venv .tools .mypy_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
