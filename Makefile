# make test    the whole suite with the race detector against three servers,
#              which are installed if they are missing
# make check   formatting, vet, staticcheck, go.mod, other platforms, layering
# make fuzz    every fuzz target for FUZZTIME
# make bench   the benchmarks
# make tour    the tour of the SDK, against all three servers
# make vuln    known vulnerabilities (asks the network)

SHELL = /bin/bash
GO ?= go
FUZZTIME ?= 20s
BENCH ?= .
SERVERS ?= embedded,prosody,ejabberd

STATICCHECK = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.7.0
GOVULNCHECK = $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.1.4

# examples/chat is a module of its own.
CHAT_GOTEST = github.com/confab-im/confab/internal/ci/gotest

.PHONY: all test check fuzz bench tour vuln
all: check test

test:
	internal/ci/install.sh peers
	CONFAB_SERVERS=$(SERVERS) $(GO) run ./internal/ci/gotest -race -count=1 -timeout=10m ./...
	cd examples/chat && CONFAB_SERVERS=$(SERVERS) $(GO) run $(CHAT_GOTEST) -race -count=1 -timeout=10m ./...

check:
	@GO="$(GO)" STATICCHECK="$(STATICCHECK)" internal/ci/check.sh

fuzz:
	@GO="$(GO)" FUZZTIME=$(FUZZTIME) internal/ci/fuzz.sh

bench:
	$(GO) test -run='^$$' -bench='$(BENCH)' -benchmem ./...

tour:
	@GO="$(GO)" internal/ci/tour.sh

vuln:
	$(GOVULNCHECK) ./...
	cd examples/chat && $(GOVULNCHECK) ./...
