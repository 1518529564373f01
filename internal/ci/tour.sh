#!/usr/bin/env bash
# Runs the tour (examples/tour): alone, which is against the server in its own
# process, and against Prosody and ejabberd. See withserver for what is filled in.
set -euo pipefail
cd "$(dirname "$0")/../.."
GO=${GO:-go}
if [ ! -d examples/tour ]; then
	echo "there is no examples/tour yet"
	exit 0
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
$GO build -o "$tmp/tour" ./examples/tour
$GO build -o "$tmp/withserver" ./internal/ci/withserver

echo "--- tour: embedded"
timeout 120 "$tmp/tour" </dev/null
for server in prosody ejabberd; do
	echo "--- tour: $server"
	timeout 180 "$tmp/withserver" "$server" \
		"$tmp/tour" -server '{ADDR}' -user '{USER1}' -password '{PASS1}' </dev/null
done
