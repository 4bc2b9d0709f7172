# One virtual environment in .venv, and the few commands that everything starts from.
#   make demo                     install, train a small study, write its report
#   make test                     install what the tests need, run the everyday suite
#   make venv EXTRAS=cuda12       an environment for NVIDIA GPUs; PYTHON=python3.12 chooses the interpreter

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help venv dev demo test lint slurm-demo bench cuda-compiler kernels lock clean

PYTHON ?=
EXTRAS ?=
# Two processes, a file's tests in one of them: compiled functions are shared within a file.
PYTEST ?= -n 2 --dist loadfile
BIN := .venv/bin
comma := ,
INSTALLED := .venv/.installed$(if $(EXTRAS),-$(EXTRAS))
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet -c constraints.txt

help:
	@echo "make demo         train a small study on this machine and write report/"
	@echo "make test         run the everyday tests"
	@echo "make lint         ruff, pyright, import-linter"
	@echo "make slurm-demo   the demo's Catch runs through a real one-machine Slurm (Debian/Ubuntu, root)"
	@echo "make bench        time the agent, launch and status, and the loading of 10 000 run folders, as JSON"
	@echo "make cuda-compiler   install what compiles for NVIDIA GPUs, which needs none"
	@echo "make kernels      count an update's GPU kernels, compiled for an H100 without one"
	@echo "make venv         only the environment in .venv (EXTRAS=cuda12|cuda13|dmc|crafter or a list of them, PYTHON=python3.12)"
	@echo "make dev          the same with the development tools"
	@echo "make lock         resolve constraints.txt anew"
	@echo "make clean        remove .venv and caches; runs/ and report/ stay"

# What make finds in .venv counts only if its interpreter still starts, has pip (its creation was not cut short), and is of
# the version that PYTHON asks for. Otherwise .venv is made anew.
ifneq ($(wildcard .venv/.made),)
VERSION := 'import sys; print(*sys.version_info[:2])'
FOUND := $(shell .venv/bin/python -c 'import pip' 2>/dev/null && .venv/bin/python -c $(VERSION))
ASKED := $(if $(PYTHON),$(shell "$(PYTHON)" -c $(VERSION) 2>/dev/null),$(FOUND))
ifneq ($(ASKED),$(or $(FOUND),unusable))
$(shell rm -f .venv/.made .venv/.installed*)
endif
endif

.venv/.made:
	@found=""; reason="$(if $(PYTHON),$(PYTHON) does not start,no Python 3.11$(comma) 3.12 or 3.13 found)"; \
	for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	  version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  case $$version in 3.11|3.12|3.13) ;; *) reason="$$python is Python $$version, not 3.11, 3.12 or 3.13"; continue ;; esac; \
	  "$$python" -c 'import ensurepip, venv' 2>/dev/null || { reason="$$python has no venv module"; continue; }; \
	  found=$$python; break; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "make: $$reason; run 'apt-get install -y python3 python3-venv' (as root) or 'make $(MAKECMDGOALS) PYTHON=/path/to/python3'" >&2; \
	  exit 2; \
	fi; \
	echo "creating .venv with $$found"; "$$found" -m venv --clear .venv; touch .venv/.made

$(INSTALLED): pyproject.toml constraints.txt | .venv/.made
	@echo "installing the pinned dependencies$(if $(EXTRAS), with $(EXTRAS)) (a few minutes the first time)"
	@$(PIP) -e '.$(if $(EXTRAS),[$(EXTRAS)])'
	@touch $@

.venv/.installed-dev: pyproject.toml constraints.txt | .venv/.made
	@echo "installing the pinned dependencies and the development tools (a few minutes the first time)"
	@$(PIP) -e '.[dev]'
	@touch $@ .venv/.installed

venv: $(INSTALLED)

dev: .venv/.installed-dev

demo: venv
	@launched=0; $(BIN)/python -m harness.launch grid=demo || launched=$$?; \
	$(BIN)/python -m analysis.report grid=demo; exit $$launched

# The cluster stays up afterwards; `eval "$(slurm/testcluster env)"` points a shell at it.
slurm-demo: venv
	@for program in sbatch slurmctld slurmd slurmdbd munged mariadbd; do \
	  command -v $$program >/dev/null || { slurm/testcluster install; break; }; \
	done
	@slurm/testcluster start >/dev/null; eval "$$(slurm/testcluster env)"; \
	$(BIN)/python -m harness.launch grid=catch study=slurm-demo cluster=test agent.run.steps=1000; \
	watched=0; $(BIN)/python -m harness.status study=slurm-demo --watch || watched=$$?; \
	$(BIN)/python -m analysis.report study=slurm-demo || watched=$$?; \
	echo "the cluster is still up; stop it with: slurm/testcluster stop"; exit $$watched

test: dev
	$(BIN)/python -m pytest $(PYTEST)

lint: dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: dev
	@$(BIN)/python -m tests.benchmarks
	@$(BIN)/python -m tests.benchmarks.bench_load
	@$(BIN)/python -m tests.benchmarks.bench_harness

# XLA's compiler for NVIDIA GPUs, of the version of JAX in .venv but not among its packages: there is no GPU to run on.
.venv/.installed-cuda-compiler: constraints.txt | .venv/.installed-dev
	@echo "installing XLA's CUDA compiler (220 MB)"
	@rm -rf .venv/cuda-compiler-*; version=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("jax"))'); \
	$(PIP) --no-deps --target .venv/cuda-compiler-$$version \
	  jax-cuda12-plugin==$$version jax-cuda12-pjrt==$$version nvidia-cuda-nvcc-cu12
	@touch $@

cuda-compiler: .venv/.installed-cuda-compiler

kernels: cuda-compiler
	@$(BIN)/python -m tests.benchmarks.kernels

lock: dev
	@$(BIN)/python -m venv .venv/lock
	@.venv/lock/bin/python -m pip install --quiet uv
	@.venv/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header --no-annotate pyproject.toml --output-file .venv/constraints
	@{ head -1 constraints.txt; cat .venv/constraints; } > .venv/constraints.new && mv .venv/constraints.new constraints.txt

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
