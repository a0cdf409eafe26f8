# Bongsu. The two commands to know:
#
#   make run     builds the program and serves a messenger on http://localhost:8008, with its data in ./data
#   make test    everything that must hold before a change is accepted; under 12 minutes on two cores
#
# "make help" lists the rest. Go 1.26 is needed, and Node 20 with npm for the tests that use matrix-js-sdk.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

# Without git, or outside a clone, the version is "unknown".
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LISTEN  ?= localhost:8008
DATA    ?= ./data

# The program is free of C, so tests build without it too (the race detector is the exception). goolm keeps mautrix's
# end-to-end encryption, a client's half that tests use, free of C as well. -buildvcs=false: the version is passed by
# hand, and a clone that git distrusts (another owner, a container) builds all the same.
export CGO_ENABLED := 0
GO        := go
BUILD     := -buildvcs=false
TEST      := $(BUILD) -tags goolm
BIN       := bin/bongsu
export BONGSU_BIN := $(CURDIR)/$(BIN)

LINT_VERSION := v2.15.0
LINT         := bin/golangci-lint-$(LINT_VERSION)

FUZZTIME     ?= 1m
CRASH_ROUNDS ?= 200
POWER_ROUNDS ?= 20
SEEDS        ?= 2000
MESSAGES     ?= 50000

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

# -- use

.PHONY: run
run: build ## build, and serve on localhost:8008 with open registration, data in ./data
	@echo "Bongsu keeps its data in $(DATA). Connect any Matrix client with the homeserver http://$(LISTEN)"
	@echo "and create an account there (registration is open). Ctrl-C stops it; what was acknowledged stays."
	@exec $(BIN) serve --data $(DATA) --listen $(LISTEN) --server-name localhost --open-registration

.PHONY: build
build: ## build bin/bongsu
	$(GO) build $(BUILD) -trimpath -ldflags '-X bongsu/obs.version=$(VERSION)' -o $(BIN) ./cmd/bongsu

# -- prove

.PHONY: test
test: build test-go test-differential test-fuzz test-js ## everything that must hold before a change is accepted

.PHONY: test-go
test-go: ## the Go tests
	$(GO) test $(TEST) -timeout 10m ./...

# The independent implementation that our rules are compared with needs an experiment of the Go toolchain, which the
# product does without: these tests are a build of their own.
DIFFERENTIAL = $(sort $(dir $(shell grep -rlE --include=*_test.go '^//go:build goexperiment.jsonv2' .)))

.PHONY: test-differential
test-differential: ## event rules and hashes against an independent implementation
	@if [ -z "$(DIFFERENTIAL)" ]; then echo "no differential tests in this tree"; else \
	  GOEXPERIMENT=jsonv2 $(GO) test $(TEST) -timeout 10m -run Differential $(DIFFERENTIAL) | tee bin/differential.log; \
	  if grep 'no tests to run' bin/differential.log; then echo "a differential test has lost its name"; exit 1; fi; fi

.PHONY: test-fuzz
test-fuzz: ## every fuzz target for three seconds
	scripts/fuzz.sh 3s

.PHONY: test-js
test-js: build ## matrix-js-sdk against the program
	@if [ ! -f test/js/package.json ]; then echo "no matrix-js-sdk tests in this tree"; else \
	  cd test/js && npm ci --no-audit --no-fund && npm test; fi

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (1m)
	scripts/fuzz.sh $(FUZZTIME)

.PHONY: crash
crash: build ## kill -9 under load, CRASH_ROUNDS (200) times, and power loss, POWER_ROUNDS (20) times, as root
	BONGSU_CRASH_ROUNDS=$(CRASH_ROUNDS) BONGSU_POWER_ROUNDS=$(POWER_ROUNDS) \
	  $(GO) test $(TEST) -count=1 -v -timeout 3h -run 'Crash|PowerLoss' ./harness/...

.PHONY: sim
sim: ## one site, and three or five, that crash, lag and are cut off, and the clients there, simulated with SEEDS (2000) seeds
	BONGSU_SIM_SEEDS=$(SEEDS) $(GO) test $(TEST) -count=1 -timeout 1h -run Simulation ./replica ./feed

.PHONY: model
model: ## 50 users' random traffic of MESSAGES (50000) messages, compared with the specification written down plainly
	BONGSU_MODEL_MESSAGES=$(MESSAGES) $(GO) test $(TEST) -v -count=1 -timeout 1h -run TestModel ./harness/model

.PHONY: drill
drill: build ## burn BURNS (50) sites in a row, then every other fault with SEEDS (10) seeds; some as root only; results in out/drill
	scripts/drill.sh

.PHONY: bench
bench: build ## measure the program under load on this machine, results in out/bench
	scripts/bench.sh

# -- keep

.PHONY: check
check: check-fast race ## format, vet, lint and the race detector

.PHONY: check-fast
check-fast: format-check vet lint ## format, vet and lint

.PHONY: format-check
format-check:
	@wrong=$$(find . \( -name node_modules -o -path ./data -o -path ./bin \) -prune -o -name '*.go' -print0 | xargs -0 gofmt -l); \
	  if [ -n "$$wrong" ]; then echo "not formatted, run gofmt -w:"; echo "$$wrong"; exit 1; fi

.PHONY: vet
vet:
	$(GO) vet $(TEST) ./...

.PHONY: lint
lint: $(LINT) ## golangci-lint, settings in .golangci.yml
	$(LINT) run ./...

# Built from source through the module proxy: about a minute the first time, cached afterwards.
$(LINT):
	@mkdir -p bin/.lint
	GOBIN=$(CURDIR)/bin/.lint $(GO) install $(BUILD) github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv bin/.lint/golangci-lint $@ && rmdir bin/.lint

.PHONY: race
race: ## the short tests under the race detector; needs a C compiler
	CGO_ENABLED=1 $(GO) test $(TEST) -race -short -timeout 20m ./...

.PHONY: coverage-page
coverage-page: ## write docs/coverage.md anew: which operations are served, and which test calls them
	$(GO) test $(TEST) -count=1 ./api/client -coverage-page
	$(GO) test $(TEST) -count=1 -run TestCoveragePage ./api/client

.PHONY: clean
clean: ## remove what was built and measured; ./data stays
	rm -rf bin out
