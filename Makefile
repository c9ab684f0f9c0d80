# `make run` shows what this is, `make test` is the whole check; in an environment of their own. Unless REQUIRE_INTEROP=1
# is set, the live tests of a server that is not installed are skipped by name; so are those of newer servers, where the
# root of a newer Debian that they run in is missing (.ci/newer makes it) or the tester is not root.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# No part may run for ever. An interrupt, not a kill: the live tests then still take their servers down.
BOUND := timeout --foreground --signal=INT --kill-after=30
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
TRIAL := $(BIN)/python -m twisted.trial
# All but the live tests: the test modules, and the packages of tests, each of which has an __init__.py.
UNIT := $(wildcard tests/test_*.py) $(filter-out tests/live,$(patsubst %/__init__.py,%,$(wildcard tests/*/__init__.py)))
# Compares the stubs with wokkel itself, which imports only once our package has seen to it.
STUBTEST := import gateway, sys; from mypy import stubtest; sys.exit(stubtest.main())

.PHONY: run tour test unit unit-newest live lint types mutants clean

test: lint types unit live

unit: $(VENV)/made
	$(BOUND) 300 $(TRIAL) -j2 $(UNIT)

# The same on the newest Python of Debian, in the root that .ci/newer makes, in an environment of its own there.
unit-newest:
	.ci/newer $(MAKE) unit VENV=.venv-newest PYTHON=python3

# On this machine's servers, the newer ones and the embedded host. One at a time: they share servers, and the machine.
live: $(VENV)/made
	$(BOUND) 2100 $(TRIAL) tests/live

lint: $(VENV)/made
	$(BOUND) 120 $(BIN)/ruff check
	@find gateway -name '*.py' -exec awk 'END { if (NR > 400) print FILENAME ": " NR " lines: does it hold two ideas?" }' {} \;

types: $(VENV)/made
	$(BOUND) 300 $(BIN)/mypy
	$(BOUND) 300 $(BIN)/python -W ignore -c '$(STUBTEST)' --concise --ignore-missing-stub \
		--mypy-config-file setup.cfg --allowlist stubs/allowlist.txt wokkel

# Not part of the whole check: it runs the nearest tests for each of some 800 breaks, and people judge what it lists.
mutants: $(VENV)/made
	$(BIN)/python -m tests.mutants $(FILES)

# On the embedded host, unless there is a gateway.toml here.
run: $(VENV)/ready
	@$(BIN)/twistd -n --pidfile= gateway

# In a second terminal.
tour: $(VENV)/ready
	@$(BIN)/python -m gateway.tour

# setuptools comes first, so that nothing is built with another one than the constraints name.
$(VENV)/ready: setup.cfg pyproject.toml constraints.txt
	@echo 'Making an environment in $(VENV); this is done once.'
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) pip setuptools
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

# What the tests need beside that.
$(VENV)/made: $(VENV)/ready
	@$(INSTALL) --no-build-isolation --editable '.[test]'
	@touch $@

clean:
	rm -rf .venv .venv-newest build dist *.egg-info .mypy_cache .ruff_cache .hypothesis _trial_temp*
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name dropin.cache -exec rm -f {} +
