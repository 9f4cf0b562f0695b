# One word for each thing one does here. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DIST   := dist

.PHONY: help install up test test-compiled lint format lock compiled bench fuzz soak routing clean

help: ## what each word does
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*##/\t/' | expand -t 12

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "tradewind needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { echo "could not make $(VENV); on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

install: $(STAMP) ## create .venv from the pinned, hashed requirements

up: $(STAMP) ## three regions and a front door on this machine (ARGS="--port 9000" passes options on)
	@exec $(BIN)/tradewind up $(ARGS)

test: $(STAMP) ## the whole test suite, about 14 minutes on two cores
	$(BIN)/python -m pytest $(ARGS)

test-compiled: $(STAMP) ## tests of the edge, and the fuzzers, against the wheel of `make compiled`
	$(BIN)/python -m pytest tests/compiled --all-against-the-wheel $(ARGS)

lint: $(STAMP) ## ruff, strict types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(STAMP) ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

compiled: $(STAMP) ## a wheel whose hot path is machine code, in dist/ (needs a C compiler and Python's headers)
	rm -f $(DIST)/tradewind-*
	$(BIN)/python -P -m hatchling build -t sdist -d $(DIST)
	HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(BIN)/python -P -m pip wheel --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation --wheel-dir $(DIST) $(DIST)/tradewind-*.tar.gz

bench: $(STAMP) ## ours beside nginx, HAProxy, Envoy and others, 25 minutes (ARGS="--quick": two); writes docs/benchmarks/
	$(BIN)/python -m tests.benchmarks.edge $(ARGS)
	$(BIN)/python -m tests.benchmarks.model_server

fuzz: $(STAMP) ## requests, answers and interleaved calls at random, five minutes; writes docs/benchmarks/fuzz.md
	$(BIN)/python -m tests.fuzz $(ARGS)

soak: $(STAMP) ## mixed load while regions fail at random, 31 minutes (ARGS="--minutes 2"); writes docs/benchmarks/soak.*
	$(BIN)/python -m tests.soak $(ARGS)

routing: $(STAMP) ## every policy in the scenarios of docs/routing/scenarios, about half an hour; writes docs/routing/study/
	for scenario in docs/routing/scenarios/*.yaml; do \
	  $(BIN)/tradewind simulate $$scenario --policy all --seeds 5 $(ARGS) \
	    --report docs/routing/study/$$(basename $$scenario .yaml) || exit; \
	done

lock: ## resolve requirements/ anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-annotate --no-header --all-extras --group dev pyproject.toml -o requirements/dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --no-annotate --no-header pyproject.toml -o requirements/core.txt

clean: ## remove the environment and caches
	rm -rf $(VENV) .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
