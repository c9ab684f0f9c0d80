# `make run` shows what this is, `make test` is the whole check; in an environment of their own. Unless REQUIRE_INTEROP=1
# is set, the live tests of a server that is not installed are skipped by name.

PYTHON ?= python3
BIN := .venv/bin
# No part may run for ever. An interrupt, not a kill: the live tests then still take their servers down.
BOUND := timeout --foreground --signal=INT --kill-after=30
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
TRIAL := $(BIN)/python -m twisted.trial
# All but the live tests: the test modules, and the packages of tests, each of which has an __init__.py.
UNIT := $(wildcard tests/test_*.py) $(filter-out tests/live,$(patsubst %/__init__.py,%,$(wildcard tests/*/__init__.py)))
# Compares the stubs with wokkel itself, which imports only once our package has seen to it.
STUBTEST := import gateway, sys; from mypy import stubtest; sys.exit(stubtest.main())

.PHONY: run tour test unit live lint types mutants clean

test: lint types unit live

unit: .venv/made
	$(BOUND) 300 $(TRIAL) -j2 $(UNIT)

# One at a time: they share servers, and the machine.
live: .venv/made
	$(BOUND) 900 $(TRIAL) tests/live

lint: .venv/made
	$(BOUND) 120 $(BIN)/ruff check

types: .venv/made
	$(BOUND) 300 $(BIN)/mypy
	$(BOUND) 300 $(BIN)/python -W ignore -c '$(STUBTEST)' --concise --ignore-missing-stub \
		--mypy-config-file setup.cfg --allowlist stubs/allowlist.txt wokkel

# Not part of the whole check: it runs the nearest tests for each of some 800 breaks, and people judge what it lists.
mutants: .venv/made
	$(BIN)/python -m tests.mutants $(FILES)

# On the embedded host, unless there is a gateway.toml here.
run: .venv/ready
	@$(BIN)/twistd -n --pidfile= gateway

# In a second terminal.
tour: .venv/ready
	@$(BIN)/python -m gateway.tour

# setuptools comes first, so that nothing is built with another one than the constraints name.
.venv/ready: setup.cfg pyproject.toml constraints.txt
	@echo 'Making an environment in .venv; this is done once.'
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(INSTALL) pip setuptools
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

# What the tests need beside that.
.venv/made: .venv/ready
	@$(INSTALL) --no-build-isolation --editable '.[test]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .hypothesis _trial_temp*
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name dropin.cache -exec rm -f {} +
