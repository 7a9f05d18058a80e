# `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash -o pipefail

GO       ?= go
BIN      := bin
# What `make run` passes on: make run ARGS="--port 8080"
ARGS     ?=
# How long each fuzz target runs in `make fuzz`: a time, or a number of runs as 20000x.
FUZZTIME ?= 20s
# The version of schemathesis, and the port that a server gets for it.
SCHEMATHESIS      ?= 4.32.5
SCHEMATHESIS_PORT ?= 3676
# How often `make torture` kills the server.
ROUNDS   ?= 200

# The commit goes into the binary from the checkout, where there is one.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto

# The Go client is a module of its own, and ./... ends where another module begins.
MODULES := . client

# The standard library first, then other modules, then ours.
IMPORTS := $(GO) tool goimports -local tokenserver

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the programs into bin/
	$(BUILD) -o $(BIN)/ ./cmd/...

.PHONY: run
run: build ## build and start the server (ARGS="--port 8080" for flags)
	$(BIN)/token-server $(ARGS)

.PHONY: test
test: ## run all tests, with the race detector
	@# The race detector allocates, and slows down what is large.
	$(GO) test -timeout 10m ./shard ./server
	@set -e; for module in $(MODULES); do \
	  echo "test $$module"; $(GO) -C $$module test -race -timeout 20m ./...; \
	done

.PHONY: lint
lint: ## check formatting and the order of imports, vet (for another system too), staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	@test -z "$$($(IMPORTS) -l .)" || { $(IMPORTS) -d .; exit 1; }
	@set -e; staticcheck=$$($(GO) tool -n staticcheck); for module in $(MODULES); do \
	  echo "lint $$module"; \
	  $(GO) -C $$module vet ./...; \
	  CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 $(GO) -C $$module vet ./...; \
	  (cd $$module && "$$staticcheck" ./...); \
	done

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME
	@set -e; for module in $(MODULES); do for pkg in $$($(GO) -C $$module list ./...); do \
	  list=$$($(GO) -C $$module test -list '^Fuzz' $$pkg); \
	  for target in $$(grep '^Fuzz' <<< "$$list" || true); do \
	    echo "fuzz $$pkg $$target"; \
	    $(GO) -C $$module test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$pkg; \
	  done; \
	done; done

.PHONY: engines
engines: ## run the tests of shared mode in full, on engines of PATH or ENGINES (folders with a redis-server each), minutes of real time
	@set -e; for dir in $(or $(ENGINES),""); do \
	  PATH="$${dir:+$$dir:}$$PATH"; echo "engine $$(redis-server --version)"; \
	  PATH="$$PATH" $(GO) test -race -count=1 -timeout 30m ./valkey -valkey.engines; \
	done

.PHONY: torture
torture: ## kill the server ROUNDS times and check all that it has told
	$(GO) test -count=1 -timeout 1h -v -run '^TestKill$$' ./cmd/token-server -torture.rounds=$(ROUNDS)

.PHONY: schemathesis
schemathesis: build ## send what server/openapi.yaml allows, and what not, to a server (needs Python; installs schemathesis into bin/)
	@test -x $(BIN)/venv/bin/schemathesis || { python3 -m venv $(BIN)/venv && $(BIN)/venv/bin/pip install -q schemathesis==$(SCHEMATHESIS); }
	@set -e; $(BIN)/token-server --dump --port=$(SCHEMATHESIS_PORT) --admin-address=off --log-level=warn & server=$$!; \
	  trap 'kill $$server' EXIT; \
	  until (exec 3<>/dev/tcp/127.0.0.1/$(SCHEMATHESIS_PORT)) 2>/dev/null; do kill -0 $$server; sleep 0.1; done; \
	  $(BIN)/venv/bin/schemathesis --config-file server/testdata/schemathesis.toml run --checks all --url http://127.0.0.1:$(SCHEMATHESIS_PORT) server/openapi.yaml

.PHONY: bench
bench: ## measure beside peers, 40 minutes, into bench/results (QUICK=1: try it, into bin/bench; AGAIN=durable: that step once more)
	$(GO) run ./bench/report $(if $(QUICK),--quick --out $(BIN)/bench) $(if $(AGAIN),--again $(AGAIN))

.PHONY: bench-compare
bench-compare: ## compare two results of make bench: OLD=….txt NEW=….txt
	@test -n "$(OLD)" -a -n "$(NEW)" || { echo 'usage: make bench-compare OLD=old.txt NEW=new.txt' >&2; exit 2; }
	$(GO) tool benchstat "$(OLD)" "$(NEW)"

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN)
