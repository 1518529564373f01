#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME, or shorter if all of them together would
# take longer than FUZZBUDGET seconds. Those of encryption always have their time.
set -uo pipefail
cd "$(dirname "$0")/../.."
GO=${GO:-go}
full=${FUZZTIME:-20s}
time=$full

# go test -list prints a package's targets and then its "ok" line.
list=$($GO test -list '^Fuzz' ./...) || { echo "$list"; exit 1; }
targets=$(awk '/^Fuzz/ { names[n++] = $1 } /^ok/ { for (i = 0; i < n; i++) print $2, names[i] } !/^Fuzz/ { n = 0 }' <<<"$list")
count=$(grep -c . <<<"$targets")
[ "$count" -gt 0 ] || { echo "no fuzz targets"; exit 0; }
if [ -n "${FUZZBUDGET:-}" ]; then
	share=$((FUZZBUDGET / count))
	seconds=${time%s}
	if [[ $seconds =~ ^[0-9]+$ ]] && [ "$share" -lt "$seconds" ]; then
		time=$((share > 0 ? share : 1))s
	fi
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0
while read -r package name; do
	now=$time
	case $package in */omemo | */omemo/*) now=$full ;; esac
	for try in 1 2; do
		if $GO test -run='^$' -fuzz="^$name\$" -fuzzminimizetime=1x -fuzztime="$now" "$package" >"$log" 2>&1 </dev/null; then
			echo "ok    $package $name ($now, $(grep -o 'execs: [0-9]*' "$log" | tail -n 1))"
			break
		fi
		# On a busy machine go test may take its own time limit for a failure.
		if [ $try = 1 ] && grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log"; then
			continue
		fi
		cat "$log"
		echo "FAIL  $package $name"
		failed=1
		break
	done
done <<<"$targets"
exit $failed
