# `make run` demonstrates the gateway; `make test` runs all checks. Both make an environment of their own. Unless
# REQUIRE_INTEROP=1 is set, live tests whose server is not installed are skipped, with its name. So are those on newer
# servers if the root of a newer Debian is missing (.ci/newer makes it), or if the user is not root.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# No part may run for ever. It is interrupted, not killed, so that the live tests still stop their servers.
BOUND := timeout --foreground --signal=INT --kill-after=30
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
TRIAL := $(BIN)/python -m twisted.trial
SPHINX := $(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going
# Tests start many processes, which load compiled modules in two thirds of the time.
unexport PYTHONDONTWRITEBYTECODE
# Those that build and install distributions, and the documentation.
INSTALLS := $(addprefix tests/test_,packaging.py examples.py site.py)
# All others except the live tests: the packages of tests, each with an __init__.py, and the test modules. Two parts that
# take about the same time, and the stores.
UNIT := $(filter-out tests/live $(INSTALLS),$(patsubst %/__init__.py,%,$(wildcard tests/*/__init__.py)) \
	$(wildcard tests/test_*.py))
UNIT_FIRST := $(addprefix tests/,fmuc muc stream)
UNIT_STORES := tests/state
# The tests flush small files thousands of times: in memory, if the system has a folder for that, and 1 GB of space in it.
# Nothing of it stays; tests that are run by hand leave their files in _trial_temp.
MEMORY := $(shell free=$$(df --output=avail /dev/shm 2>&1 | tail -n 1); [ "$$free" -gt 1000000 ] 2>&- && echo /dev/shm || echo /tmp)
UNIT_RUN = @folder=$$(mktemp -d -p $(MEMORY)) && trap "chmod -R u+w $$folder; rm -rf $$folder" EXIT INT TERM && \
	$(BOUND) 600 $(TRIAL) --temp-directory=$$folder/trial $(1)
# The live tests that compare times run alone; the others in two halves. Tests of one module share servers.
ALONE := $(addprefix tests.live.test_,embedded_hostile hostile_user outage roster_lock)
# Minutes of work without servers of ours: beside the two halves, which mostly wait.
PACKAGES := tests.live.test_debian
OTHERS := $(filter-out $(ALONE) $(PACKAGES),$(subst /,.,$(basename $(sort $(wildcard tests/live/test_*.py)))))
FIRST := $(wordlist 1,25,$(OTHERS))
# Compares the stubs with wokkel, which can only be imported after the gateway package.
STUBTEST := import gateway, sys; from mypy import stubtest; sys.exit(stubtest.main())

.PHONY: run tour test unit unit-first unit-second unit-stores installs unit-newest \
	live live-first live-second live-packages live-alone live-again live-record soak-rooms soak-fmuc soak-database \
	soak-standby soak-chain soak fuzz packages lint types docs docs-links mutants mutants-all clean

# The property tests try all of their examples here, and a fifth of them in `make unit` alone (tests/profiles.py).
test: export EXAMPLES = long
test: lint types unit installs live

# Processes of trial: with its option --jobs, the messages between its processes take a fifth of the time. That of the
# stores mostly waits for PostgreSQL. The output of each comes at its end.
unit: $(VENV)/made
	@$(MAKE) --jobs=3 --output-sync=target unit-first unit-second unit-stores

unit-first: $(VENV)/made
	$(call UNIT_RUN,$(UNIT_FIRST))

unit-second: $(VENV)/made
	$(call UNIT_RUN,$(filter-out $(UNIT_FIRST) $(UNIT_STORES),$(UNIT)))

unit-stores: $(VENV)/made
	$(call UNIT_RUN,$(UNIT_STORES))

# The source and binary distributions and the example packages, each installed in an environment of its own.
installs: $(VENV)/made
	$(BOUND) 300 $(TRIAL) $(INSTALLS)

# Both with Debian's newest Python: in the root that .ci/newer makes, with an environment of its own. The mount ends with
# the command.
unit-newest:
	.ci/newer sh -c 'mount -t tmpfs tmpfs /dev/shm && exec $(MAKE) unit installs VENV=.venv-newest PYTHON=python3'

# On the servers of this machine, the newer ones and the embedded host. The output of each part comes at its end.
# RECORD=1 makes docs/compatibility.md from the results.
live: $(VENV)/made
	@.ci/live $(MAKE)

live-record: $(VENV)/made
	$(BIN)/python -m docs.results $(OUTPUT)

live-first: $(VENV)/made
	$(BOUND) 2000 $(TRIAL) $(FIRST)

live-second: $(VENV)/made
	$(BOUND) 2000 $(TRIAL) $(filter-out $(FIRST),$(OTHERS))

live-packages: $(VENV)/made
	$(BOUND) 2500 nice -n 19 $(TRIAL) $(PACKAGES)

live-alone: $(VENV)/made
	$(BOUND) 900 $(TRIAL) $(ALONE)

live-again: $(VENV)/made
	$(BOUND) 900 $(TRIAL) $(AGAIN)

# The long fault run of rooms, which is not part of `make test`: about five minutes for each server, with a report.
soak-rooms: $(VENV)/made
	$(BOUND) 3600 $(TRIAL) tests.live.soak_rooms

# The same of mirrors, while the link between two servers fails: about ten minutes for each of eight runs.
soak-fmuc: $(VENV)/made
	$(BOUND) 7200 $(TRIAL) tests.live.soak_fmuc

# The load of services while PostgreSQL is restarted, and away for 30 seconds: two minutes, with the table of
# docs/postgresql.md.
soak-database: $(VENV)/made
	$(BOUND) 600 $(TRIAL) tests.live.soak_database

# Three gateways that stand by for each other, of which one is killed every 20 seconds: four minutes for each server,
# with the table of docs/scaling.md.
soak-standby: $(VENV)/made
	$(BOUND) 1800 $(TRIAL) tests.live.soak_standby

# All services beside two servers, while everything around the gateways fails: ten minutes, with a report.
# SECONDS=60 is shorter, SEED=7 repeats the faults, and REPORT=1 writes docs/soak.md anew.
soak: $(VENV)/made
	$(BOUND) 7200 $(TRIAL) tests.live.soak_all

# Chains of nodes with losses: 100,000 examples, in about two hours. COUNT=1000 tries fewer, SEED=7 repeats a run.
soak-chain: $(VENV)/made
	$(BOUND) 28800 $(TRIAL) tests.fmuc.soak_chain

# Any bytes for what reads input from outside, guided by what they reach (atheris): a million inputs for each target of
# tests/fuzz/targets.py, in some hours. COUNT=10000 tries fewer, TARGET=http one of them. The input of a fault stays, as
# fuzz-crash-....
fuzz: $(VENV)/made
	$(INSTALL) atheris
	for each in $(or $(TARGET),stream stanzas roster token configuration http); do \
	    $(BOUND) 14400 $(BIN)/python -m tests.fuzz $$each -runs=$(or $(COUNT),1000000) -max_len=4096 -timeout=10 \
	        -artifact_prefix=fuzz- || exit 1; \
	done

# The Debian package, built and tried in fresh roots of two releases, as root: some five minutes. The packages are in dist/.
packages:
	packaging/try-debian

lint: $(VENV)/made
	$(BOUND) 120 $(BIN)/ruff check
	@find gateway -name '*.py' -exec awk 'END { if (NR > 400) print FILENAME ": " NR " lines: does it hold two ideas?" }' {} \;

types: $(VENV)/made
	$(BOUND) 300 $(BIN)/mypy
	$(BOUND) 300 $(BIN)/python -W ignore -c '$(STUBTEST)' --concise --ignore-missing-stub \
		--mypy-config-file setup.cfg --allowlist stubs/allowlist.txt wokkel

# The web site of the documentation, in build/docs. Warnings are errors; links within the site are checked.
docs: $(VENV)/made
	$(BOUND) 300 $(SPHINX) -b html docs build/docs

# All links to other sites; this needs the network.
docs-links: $(VENV)/made
	$(BOUND) 900 $(SPHINX) -b linkcheck docs build/docs-links

# Not part of `make test`: both run the nearest tests for each change. `mutants` tries the chosen changes, and a test must
# fail for each. `mutants-all` tries every change of some files, about 800, and somebody must judge the result.
mutants: $(VENV)/made
	$(BIN)/python -m tests.mutants $(FILES)

mutants-all: $(VENV)/made
	$(BIN)/python -m tests.mutants --all $(FILES)

# On the embedded host, unless there is a gateway.toml here.
run: $(VENV)/ready
	@$(BIN)/twistd -n --pidfile= gateway

# In a second terminal.
tour: $(VENV)/ready
	@$(BIN)/python -m gateway.tour

# setuptools is installed first, so that everything is built with the version in the constraints.
$(VENV)/ready: setup.cfg pyproject.toml constraints.txt
	@echo 'Making an environment in $(VENV); this is done once.'
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) pip setuptools
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

# The additional requirements of the tests and of the documentation.
$(VENV)/made: $(VENV)/ready
	@$(INSTALL) --no-build-isolation --editable '.[docs,test]'
	@touch $@

clean:
	rm -rf .venv .venv-newest build dist *.egg-info .mypy_cache .ruff_cache .hypothesis _trial_temp*
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name dropin.cache -exec rm -f {} +
