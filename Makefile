# Everything a developer needs; the logic is in hack/. `make PYTHON=python3.12 …` picks an interpreter.
SHELL := bash
PY := .venv/bin/python
CONTROL_PLANE ?= embedded

.DEFAULT_GOAL := help
.PHONY: help demo test test-all oracle verify generate bench bench-truth clean lock bootstrap libvirt control-plane

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' Makefile

demo: .venv/.installed libvirt $(if $(filter real,$(CONTROL_PLANE)),control-plane) ## empty a host of real virtual machines, before your eyes (3 min); CONTROL_PLANE=real: on a real Kubernetes
	@$(PY) -m whimbrel_lab demo --control-plane $(CONTROL_PLANE)

test: .venv/.installed bootstrap ## unit, property, API and end-to-end tests, on the model, on a real Kubernetes and on real QEMU
	@$(PY) hack/tiers.py test

test-all: .venv/.installed bootstrap ## the tests that take longer
	@$(PY) hack/tiers.py test-all

oracle: .venv/.installed control-plane ## preflight against a real kube-scheduler, on 525 random clusters (5 min); SEEDS=1000:2000: on others
	@$(if $(SEEDS),WHIMBREL_ORACLE_SEEDS=$(SEEDS)) $(PY) -m pytest -q -m control_plane tests/oracle

verify: .venv/.installed ## lint, format, types, import contracts, generated files: changes nothing
	@hack/verify

generate: .venv/.installed ## CRDs from the models, into crds/ and the chart; docs/reference from the code
	@$(PY) -m crdgen
	@$(PY) -m docgen

bench: .venv/.installed control-plane ## the figures: API writes, latency, memory; on a real API server too (15 min)
	@$(PY) -m whimbrel_lab.bench

bench-truth: .venv/.installed libvirt ## forecasts and prices held against some 250 migrations of real QEMU guests (50 min)
	@$(PY) -m whimbrel_lab.truth --seeds 0:90 --refusals 30 --picture docs/images/forecast.svg

lock: ## resolve requirements.txt and requirements-dev.txt anew (UPGRADE=1: newer versions)
	@hack/lock $(if $(UPGRADE),--upgrade)

clean: ## remove the virtualenv, caches and everything built
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find operator hack tests -name __pycache__ -type d -prune -exec rm -rf {} +

bootstrap: libvirt control-plane

libvirt: ## see to libvirt and QEMU, from Debian's packages
	@hack/bootstrap-libvirt

# These two never fail: what cannot be had is left out by the tiers, in words.
control-plane: .venv/.installed ## see to a real Kubernetes: found on this machine, or built (8 min, once)
	@$(PY) hack/control-plane/build || true

.venv/.installed: requirements-dev.txt pyproject.toml
	@hack/bootstrap-venv
