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

# Where make install puts files: below DESTDIR, for a package.
DESTDIR ?=
PREFIX  ?= /usr/local

# What a release is called: VERSION=1.2.3. Its files have the time of the commit.
VERSION   ?= 0.0.0
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64
PROGRAMS  ?= token-server token-load
DIST      ?= $(BIN)/release
ARCH      ?= $(shell $(GO) env GOARCH)
RELEASE   := $(BUILD) -ldflags "-s -w -X main.version=v$(VERSION)"
COMMITTED  = $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

# The Go client is a module of its own, and so are tests in a browser and the checks of
# deploy, which take in much that the server has no use for. ./... ends where another
# module begins.
CHECKS  := deploy/check
MODULES := . client browsertest $(CHECKS)

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

.PHONY: demo
demo: build ## start a token server and the web application of examples/webapp, and print its address (ARGS="--address 127.0.0.1:8081" for flags of the latter)
	@$(BUILD) -o $(BIN)/webapp ./examples/webapp
	@# Both run in the background, so that a signal ends both: one that stayed would keep the port.
	@dir=$$(mktemp -d); trap 'kill $$server $$webapp 2>/dev/null; wait; rm -rf $$dir' EXIT; \
	$(BIN)/token-server --address unix:$$dir/token.sock --admin-address off --log-level warn --grace 5s --on-reuse revoke & server=$$!; \
	$(BIN)/webapp --token-server unix:$$dir/token.sock --grace 5s $(ARGS) & webapp=$$!; \
	wait $$webapp

.PHONY: install
install: build ## install the server and its service below PREFIX (/usr/local), and DESTDIR for a package
	$(MAKE) --no-print-directory install-files PROGRAM=$(BIN)/token-server
	install -d $(DESTDIR)/etc/default
	test -e $(DESTDIR)/etc/default/token-server || install -m 644 deploy/systemd/token-server.default $(DESTDIR)/etc/default/token-server

# What is installed, but for what an administrator changes.
.PHONY: install-files
install-files:
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/sysusers.d
	install -m 755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/token-server
	sed 's|/usr/bin/token-server|$(PREFIX)/bin/token-server|' deploy/systemd/token-server.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/token-server.service
	chmod 644 $(DESTDIR)$(PREFIX)/lib/systemd/system/token-server.service
	install -m 644 deploy/systemd/*.socket $(DESTDIR)$(PREFIX)/lib/systemd/system/
	install -m 644 deploy/systemd/token-server.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/token-server.conf

.PHONY: deb
deb: ## make a Debian package in DIST (bin/release): VERSION=1.2.3 ARCH=amd64
	@rm -rf $(BIN)/deb && mkdir -p $(DIST)
	GOOS=linux GOARCH=$(ARCH) $(RELEASE) -o $(BIN)/deb/token-server ./cmd/token-server
	$(MAKE) --no-print-directory install-files DESTDIR=$(BIN)/deb/root PREFIX=/usr PROGRAM=$(BIN)/deb/token-server
	nfpm=$$($(GO) -C $(CHECKS) tool -n nfpm) && \
	  STAGE=$(BIN)/deb/root ARCH=$(ARCH) VERSION=$(VERSION) SOURCE_DATE_EPOCH=$(COMMITTED) \
	  "$$nfpm" package --config deploy/debian/nfpm.yaml --packager deb --target $(DIST)/

.PHONY: release
release: release-programs ## build static programs for PLATFORMS in DIST (bin/release), with checksums and SBOMs: VERSION=1.2.3
	@set -e; cd $(DIST); for program in token-*; do \
	  $(GO) -C "$(CURDIR)/$(CHECKS)" run ./sbom "$$PWD/$$program" > "$$program.cdx.json"; \
	done; \
	sha256sum token-* > SHA256SUMS

.PHONY: release-programs
release-programs:
	@rm -rf $(DIST) && mkdir -p $(DIST)
	@set -e; for platform in $(PLATFORMS); do for name in $(PROGRAMS); do \
	  program=$(DIST)/$$name-$(VERSION)-$${platform/\//-}; echo "$$program"; \
	  GOOS=$${platform%/*} GOARCH=$${platform#*/} $(RELEASE) -o "$$program" ./cmd/$$name; \
	done; done

.PHONY: reproduce
reproduce: ## build a release of the last commit twice, in two folders and with two caches, and compare
	@set -e; dir=$$(mktemp -d); trap 'chmod -R u+w "$$dir"; rm -rf "$$dir"' EXIT; \
	git clone -q . "$$dir/once"; git clone -q . "$$dir/again"; \
	$(MAKE) --no-print-directory -C "$$dir/once" release DIST=$(BIN)/release; \
	GOCACHE="$$dir/cache" $(MAKE) --no-print-directory -C "$$dir/again" release DIST=$(BIN)/release; \
	diff -r "$$dir/once/$(BIN)/release" "$$dir/again/$(BIN)/release"; echo "both are equal"

# The tests of shard and server that are skipped under the race detector, by their names.
UNDER_RACE_SKIPPED := Memory|Alloc|PurgeVisits|SparsePages|SmallSessions|UnderLoad|Successors

.PHONY: test
test: ## run all tests, with the race detector
	@# The race detector allocates, and slows down what is large: such tests are skipped
	@# under it, and run before. The checks of deploy take long to compile, and share no memory.
	$(GO) test -timeout 10m -run '$(UNDER_RACE_SKIPPED)' ./shard ./server
	@set -e; for module in $(MODULES); do \
	  echo "test $$module"; \
	  race=-race; \
	  test "$$module" != $(CHECKS) || race=; \
	  $(GO) -C $$module test $$race -timeout 20m ./...; \
	done

.PHONY: lint
lint: ## check formatting and the order of imports, vet (for another system too), staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	@test -z "$$($(IMPORTS) -l .)" || { $(IMPORTS) -d .; exit 1; }
	@set -e; staticcheck=$$($(GO) tool -n staticcheck); for module in $(MODULES); do \
	  echo "lint $$module"; \
	  $(GO) -C $$module vet ./...; \
	  [[ "$$module" == @($(CHECKS)|browsertest) ]] || CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 $(GO) -C $$module vet ./...; \
	  (cd $$module && "$$staticcheck" ./...); \
	done

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME
	@# They are looked for in the source: a test binary would have to be built to be asked.
	@set -e; for module in $(MODULES); do \
	  $(GO) -C $$module list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r pkg dir; do \
	    for target in $$(grep -Eoh '^func Fuzz[A-Za-z0-9]*' "$$dir"/*_test.go 2>/dev/null | cut -d' ' -f2); do \
	      echo "fuzz $$pkg $$target"; \
	      $(GO) -C $$module test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$pkg < /dev/null; \
	    done; \
	  done; \
	done

.PHONY: engines
engines: ## run the tests of shared mode in full, on engines of PATH or ENGINES (folders with a redis-server each), minutes of real time
	@set -e; for dir in $(or $(ENGINES),""); do \
	  PATH="$${dir:+$$dir:}$$PATH"; echo "engine $$(redis-server --version)"; \
	  PATH="$$PATH" $(GO) test -race -count=1 -timeout 30m ./valkey -valkey.engines; \
	done

.PHONY: examples
examples: ## test the examples in all languages: needs Python, Node, PHP, Java with Maven, and Rust
	$(GO) test -count=1 -timeout 30m ./examples -examples.all

.PHONY: torture
torture: ## kill the server ROUNDS times and check all that it has told
	$(GO) test -count=1 -timeout 1h -v -run '^TestKill$$' ./cmd/token-server -torture.rounds=$(ROUNDS)

.PHONY: screenshots
screenshots: ## make the pictures of the console and the web application for docs/, with chromium, two minutes
	$(GO) -C browsertest test -count=1 -run 'Screenshots$$' . -screenshots $(CURDIR)/docs

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
