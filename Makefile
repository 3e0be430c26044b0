# The verbs of this repository. `make help` lists them; CI runs the same ones.
# Needs Python 3.11 or later, pip and make. PYTHON=/path/to/python3.13 picks another interpreter for a new environment.

PYTHON ?= python3
ARGS   ?=
VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/stamps
# One file of tests stays in one process: what they share is started once.
# Files in the order of their names: by number of tests, the longest single tests would come last and alone.
PYTEST  = $(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder
DEEP    = -o norecursedirs='.* __pycache__' tests/faults/rows tests/fuzz/deep tests/receipts/deep
INSTALL = $(PYTHON) requirements/install.py $(VENV)
# pip compiles the libraries it installs; our own source stays in place and some machines forbid writing bytecode at run time.
COMPILE = env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q src

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install install-dev up test check faults deep format test-vllm test-openwebui test-browser bench fuzz soak wheel lock clean

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 24

install: $(STAMPS)/project ## make .venv with the hash-pinned requirements and penstock itself

install-dev: $(STAMPS)/project $(STAMPS)/dev ## the same, and what checking and testing need

up: install ## start the embedded engine and the gateway, ask two questions, keep serving (ARGS=--once to stop then)
	@$(BIN)/penstock up $(ARGS)

test: install-dev ## the fast suite, on all processors (ARGS='-k name' to choose)
	@$(PYTEST) $(ARGS)

check: install-dev ## format, lint, types, imports, tests
	@echo '· format' && $(BIN)/ruff format --quiet --check .
	@echo '· lint' && $(BIN)/ruff check --quiet .
	@echo '· types' && $(BIN)/mypy --no-error-summary
	@echo '· imports' && $(BIN)/lint-imports --no-logo
	@echo '· tests' && $(PYTEST) $(ARGS)

faults: install ## every fault of the catalogue set upon the gateway, and the table (ARGS='--row 3' to choose)
	@$(BIN)/penstock faults $(ARGS)

deep: install-dev ## the same scenarios as tests
	@$(BIN)/python -m pytest -q -n 4 --dist load -m 'not alone' $(DEEP) $(ARGS)
	@$(BIN)/python -m pytest -q -m alone $(DEEP) $(ARGS)

format: install-dev ## put the files into the form that check asks for
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

test-vllm: install-dev ## a real vLLM on the CPU, in its own environment
	@PYTHON=$(PYTHON) sh tests/engines/run $(ARGS)

test-openwebui: install-dev ## a real Open WebUI in a browser against the gateway (not part of CI)
	@PYTHON=$(PYTHON) sh tests/openwebui/run $(ARGS)

test-browser: install-dev ## our own pages in a headless Chromium (not part of CI)
	@sh tests/browser/run $(ARGS)

bench: install-dev ## measure the gateway beside its peers
	@$(BIN)/python -m bench $(ARGS)

fuzz: install-dev $(STAMPS)/fuzz ## every parser under a fuzzer for 10 minutes (ARGS='--seconds 60 --only sse'; not part of CI)
	@$(BIN)/python -m tests.fuzz $(ARGS)

soak: install-dev ## the gateway at 70 % of a core for 20 minutes, with random faults (ARGS='--minutes 5'; not part of CI)
	@$(BIN)/python -m bench.soak $(ARGS)

wheel: $(STAMPS)/project ## build dist/penstock-*.whl
	@$(BIN)/python -m build --wheel --no-isolation --outdir dist >/dev/null && ls dist/*.whl

lock: ## write requirements/*.txt again (ARGS=--upgrade for the newest releases)
	@PYTHON=$(PYTHON) requirements/lock $(ARGS)

clean: ## remove the environments and everything built
	@rm -rf .venv .venv-* build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMPS)/requirements: requirements/main.txt requirements/build.txt
	@echo '· installing what penstock runs on, every file checked against its hash'
	@$(INSTALL) --require-hashes -r requirements/main.txt -r requirements/build.txt
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/project: pyproject.toml src/penstock/__init__.py $(STAMPS)/requirements
	@echo '· installing penstock'
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@$(COMPILE)
	@touch $@

$(STAMPS)/fuzz: requirements/fuzz.txt $(STAMPS)/dev
	@echo '· installing the fuzzer, every file checked against its hash'
	@$(INSTALL) --require-hashes -r requirements/fuzz.txt
	@touch $@

$(STAMPS)/dev: requirements/dev.txt $(STAMPS)/requirements
	@echo '· installing what checking and testing need, every file checked against its hash'
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@
