#!/usr/bin/env bash
# What can be said about the code without running it. All of it is looked at
# even when something fails.
set -uo pipefail
cd "$(dirname "$0")/../.."
GO=${GO:-go}
failed=0

# check NAME COMMAND...: the command fails, or not.
check() {
	local name=$1 start=$SECONDS
	shift
	if "$@"; then
		echo "ok    $name ($((SECONDS - start))s)"
	else
		echo "FAIL  $name"
		failed=1
	fi
}

formatted() {
	local list
	list=$(git ls-files -co --exclude-standard -- '*.go' | xargs -r -d '\n' ls -d 2>/dev/null | xargs -r -d '\n' "$($GO env GOROOT)/bin/gofmt" -l) || return 1
	[ -z "$list" ] || { echo "not gofmt-ed:"; echo "$list"; return 1; }
}

# The store needs SQLite, which there is none of in a browser; examples and
# benchmarks are programs for a terminal.
wasm() {
	local packages
	packages=$($GO list ./... | grep -vE '/(store|examples|bench|internal/ci)(/|$)') || return 1
	GOOS=js GOARCH=wasm $GO build $packages
}

# layering PACKAGE ALLOWED: of this module, the package needs only what matches.
layering() {
	local module bad deps
	module=$($GO list -m) || return 1
	deps=$($GO list -deps "$1") || return 1
	bad=$(grep "^$module\(/\|$\)" <<<"$deps" | sed "s|^$module|.|" | grep -vE "$2")
	[ -z "$bad" ] || { echo "$1 must not import:"; echo "$bad"; return 1; }
}

# features: what features stand on is the contract, never a client.
features() {
	local module bad
	module=$($GO list -m) || return 1
	bad=$($GO list -deps $($GO list ./... | grep -vE '/(client|confabtest|examples|internal|bench)(/|$)') | grep -E "^$module/(client|confabtest|examples)(/|$)")
	[ -z "$bad" ] || { echo "a feature imports:"; echo "$bad"; return 1; }
}

# database: nobody but the store pulls one in, nor curves but encryption.
database() {
	local module bad
	module=$($GO list -m) || return 1
	bad=$($GO list -f '{{.ImportPath}} {{join .Deps " "}}' ./... | grep ' modernc.org/sqlite' | cut -d' ' -f1 | grep -vE "^$module/(store|examples)(/|$)")
	bad+=$($GO list -f '{{.ImportPath}} {{join .Deps " "}}' ./... | grep ' filippo.io/edwards25519' | cut -d' ' -f1 | grep -vE "^$module/(omemo|store|examples)(/|$)")
	[ -z "$bad" ] || { echo "heavy dependencies of:"; echo "$bad"; return 1; }
}

# chat COMMAND...: in examples/chat, which is a module of its own.
chat() { (cd examples/chat && "$@"); }

has_go() { compgen -G "$1/*.go" >/dev/null; }

check gofmt formatted
check vet $GO vet ./...
check staticcheck ${STATICCHECK:-staticcheck} ./...
check "go.mod is tidy" $GO mod tidy -diff
check "vet of examples/chat" chat $GO vet ./...
check "staticcheck of examples/chat" chat ${STATICCHECK:-staticcheck} ./...
check "go.mod of examples/chat is tidy" chat $GO mod tidy -diff
check "windows, examples/chat" chat env GOOS=windows GOARCH=amd64 $GO build -o /dev/null .
check windows env GOOS=windows GOARCH=amd64 $GO build ./...
check darwin env GOOS=darwin GOARCH=arm64 $GO build ./...
check js/wasm wasm
check "the contract imports no other package" layering . '^\.(/internal/.*)?$'
if has_go client; then
	check "client imports no feature" layering ./client '^\.(/client|(/client)?/internal/.*)?$'
fi
check "no feature imports client" features
check "heavy dependencies stay behind their package" database
exit $failed
