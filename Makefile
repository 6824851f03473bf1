# Every target works from a clean clone, and says what the machine lacks when it can't.
# One environment and one cargo target folder per Python, so that switching with PYTHON=... rebuilds nothing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
# For `make test-hard`: a debug build of CPython (its sys.gettotalrefcount counts every reference).
DEBUG_PYTHON ?= python3.14d
# Processes that the tests are spread over. Many tests wait rather than work, so more than there are cores.
JOBS ?= 4
# A path or any other arguments for pytest, e.g. make test TESTS="tests/loop -k sendfile".
TESTS ?= tests
BENCH_ARGS ?=
HARD_ARGS ?=
# Profile-guided: yes, no, or auto (where the machine has what that needs; it says what it lacks). `make build` is quick by
# default, `make wheel` is for others to install.
PGO ?=
WHEEL_PGO := $(or $(PGO),auto)
BUILD_PGO := $(or $(PGO),no)

IDENTITY := $(shell $(PYTHON) -c 'import sys, sysconfig; print("%d.%d%s" % (*sys.version_info[:2], sys.abiflags), sysconfig.get_config_var("EXT_SUFFIX"))' 2>/dev/null)
ID := $(or $(word 1,$(IDENTITY)),unknown)
EXTENSION := python/aioxide/_aioxide$(word 2,$(IDENTITY))
VENV := .venv/$(ID)
PY := $(VENV)/bin/python
export CARGO_TARGET_DIR := $(CURDIR)/target/$(ID)
# The crates without Python are the same for every Python: one folder serves their tests.
RUST_TESTS := CARGO_TARGET_DIR=$(CURDIR)/target/rust cargo test --quiet --package aioxide-core --package aioxide-sys
SOURCES := $(shell find crates -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock pyproject.toml

OLDEST_RUST := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
DENY_VERSION := 0.20.2
DENY := target/tools/bin/cargo-deny

# What `make test-NAME` runs: the folder of that name, or these.
POOLS := calls threads wire processes
ROOMS := task engine net tls loop $(POOLS) pools cluster entry ffi house
tests-of-net := tests/net $(wildcard tests/parity/test_parity_transport*.py) tests/parity/test_parity_servers.py
tests-of-pools := $(POOLS:%=tests/%)
# They have processes of their own: no more of them at a time than most machines have cores.
WITH_PROCESSES := $(tests-of-pools) tests/concurrent tests/cluster
# Why tests were skipped, for `make test` to say when all have run.
SKIPPED := target/skipped
tests-of = $(or $(tests-of-$(1)),tests/$(1))

.PHONY: help run test test-rust test-hard $(ROOMS:%=test-%) bench lint format wheel wheels sdist deny oldest-rust release-check build tools packages clean FORCE

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo 'PYTHON=/path/to/python3.14 selects the interpreter (3.11 or newer); it is $(PYTHON) ($(ID)) now.'

run: build ## build everything and run the guided tour on our event loop
	$(PY) -m aioxide examples/guide.py

test: build tools packages test-rust ## build everything and run all tests; installs what they need, and says what was skipped
ifeq ($(TESTS),tests)
	rm -f $(SKIPPED); first=0 second=0; \
	AIOXIDE_SKIPPED=$(SKIPPED) $(PY) -m pytest -n $(JOBS) --dist worksteal $(TESTS) $(WITH_PROCESSES:%=--ignore=%) || first=$$?; \
	AIOXIDE_SKIPPED=$(SKIPPED) $(PY) -m pytest -n 2 --dist worksteal $(WITH_PROCESSES) || second=$$?; \
	$(PY) -m tests.support.skips $(SKIPPED); \
	[ $$first -eq 0 ] || echo 'aioxide: tests of the first of these two runs failed: see above, before the second began'; \
	exit $$((first | second))
else
	$(PY) -m pytest -n $(JOBS) --dist worksteal $(TESTS)
endif

test-rust:
	$(RUST_TESTS)

# Without what takes long (marked `slow`), so that each of these is over in a minute: the gate runs all.
test-task: ## of a room, in a minute: futures, tasks, handles, the ready queue
test-engine: ## turns, descriptors, wake-ups, signals
test-net: ## streams and servers
test-tls: ## TLS, on both engines
test-loop: ## every method of the loop
test-pools: ## calls, threads, wire, processes; each also by its own name
test-calls: ## the futures of pools
test-threads: ## pools of threads
test-wire: ## what travels to worker processes
test-processes: ## pools of processes
test-cluster: ## pools over Dask's distributed (tests/cluster/requirements.txt)
test-entry: ## the ways in
test-ffi: ## objects of ours and the interpreter
test-house: ## the rules of ARCHITECTURE.md

$(ROOMS:%=test-%): JOBS = 2
$(ROOMS:%=test-%): build tools
	$(PY) -m pytest -n $(JOBS) -m 'not slow' $(call tests-of,$(@:test-%=%))

test-hard: build tools ## the tests under a debug CPython, debug malloc, constant gc, no freelists, AddressSanitizer, damaged frames
	PYTHON=$(PYTHON) DEBUG_PYTHON=$(DEBUG_PYTHON) JOBS=$(JOBS) scripts/test-hard $(HARD_ARGS)

bench: build ## time every loop that installs on this Python, side by side
	$(PY) -m benches install
	$(PY) -m benches $(BENCH_ARGS)

lint: build $(VENV)/.lint-tools ## formatters, linters and type checkers, changing nothing
	cargo fmt --all --check
	PYO3_PYTHON=$(CURDIR)/$(PY) cargo clippy --quiet --workspace --all-targets -- -D warnings
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy --strict python
	$(PY) -m mypy --strict --cache-dir=.mypy_cache/source python/aioxide/__init__.py
	$(PY) -m mypy.stubtest aioxide --allowlist tests/checkers/stubtest.txt

format: $(VENV)/.lint-tools ## let the formatters and the linter's safe fixes change the files
	cargo fmt --all
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

wheel: $(VENV)/.made $(if $(filter own,$(LINKER)),,$(VENV)/.release-tools) ## a wheel for this Python, profile-guided, for the glibc of 2018 or newer, into dist/
	scripts/wheel '$(WHEEL_PGO)' $(VENV)

wheels: ## a wheel for each CPython that a release supports, each tried where nothing else is; TARGET=...: for another machine
	PGO=$(WHEEL_PGO) scripts/wheels

sdist: $(VENV)/.made ## the source distribution, into dist/; VENDOR=yes: one more with all crates inside
	scripts/sdist $(VENV)

deny: $(VENV)/.made $(DENY) ## licences and sources of all crates (deny.toml); the advisories are for `make release-check`
	$(PY) -m release.licences --check
	$(DENY) check licenses bans sources

oldest-rust: $(VENV)/.made ## does the oldest Rust that we promise (Cargo.toml's rust-version) build it? rustup fetches it
	rustup toolchain install --profile minimal $(OLDEST_RUST)
	CARGO_TARGET_DIR=target/oldest-rust PYO3_PYTHON=$(CURDIR)/$(PY) cargo +$(OLDEST_RUST) check --quiet --locked --workspace

release-check: $(VENV)/.made $(DENY) ## is what lies in dist/ a release? every reason why not
	$(PY) -m release.check

# The package index has none that reads today's Cargo.lock; cargo builds it, which takes some minutes.
$(DENY):
	CARGO_TARGET_DIR=$(CURDIR)/target/tools/build cargo install --quiet --locked --root target/tools cargo-deny@$(DENY_VERSION)

build: $(VENV)/.built ## the environment and the optimised extension

tools: $(VENV)/.test-tools

# What tests of single folders need: not all of it can be had for every Python, and no other target waits for it.
packages: $(VENV)/.test-packages

$(VENV)/.made: scripts/environment scripts/requirements.txt
	@AIOXIDE_TARGET='$(firstword $(MAKECMDGOALS))' scripts/environment '$(PYTHON)' '$(VENV)'
	@touch $@

# The stamp alone does not prove that the extension is there: `git clean` leaves the one and takes the other.
$(VENV)/.built: $(VENV)/.made $(SOURCES) $(if $(wildcard $(EXTENSION)),,FORCE) $(if $(filter yes,$(PGO)),FORCE)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) scripts/guided '$(BUILD_PGO)' $(VENV) develop --quiet --release
	@touch $@

$(VENV)/.test-tools: $(VENV)/.made tests/requirements.txt
	scripts/install $(PY) --requirement tests/requirements.txt
	@touch $@

$(VENV)/.release-tools: $(VENV)/.made release/requirements.txt
	scripts/install $(PY) --requirement release/requirements.txt
	@touch $@

$(VENV)/.test-packages: $(VENV)/.made scripts/test-packages $(wildcard tests/*/requirements.txt)
	scripts/test-packages $(PY)
	@touch $@

$(VENV)/.lint-tools: $(VENV)/.made tests/requirements-lint.txt
	scripts/install $(PY) --requirement tests/requirements-lint.txt
	@touch $@

clean: ## remove what the targets above made
	rm -rf .venv target dist python/aioxide/_aioxide.*.so
