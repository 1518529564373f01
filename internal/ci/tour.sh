#!/usr/bin/env bash
# Runs the tour (examples/tour): alone, which is against the server in its own
# process, and against Prosody and ejabberd. See withserver for what is filled in.
set -euo pipefail
cd "$(dirname "$0")/../.."
GO=${GO:-go}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
$GO build -o "$tmp/tour" ./examples/tour
$GO build -o "$tmp/withserver" ./internal/ci/withserver

echo "--- tour: embedded"
timeout 120 "$tmp/tour" </dev/null
for server in prosody ejabberd; do
	echo "--- tour: $server"
	timeout 180 "$tmp/withserver" "$server" \
		"$tmp/tour" -server '{ADDR}' -user '{USER1}' -password '{PASS1}' -user2 '{USER2}' -password2 '{PASS2}' </dev/null
done
