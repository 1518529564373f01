#!/bin/bash
# Measures every client on every workload, side by side.
#
#   bench/run.sh                       all, 3 rounds, a quarter of each workload (under 20 minutes on 2 cores)
#   bench/run.sh -r 5 -s 1             whole workloads, 5 rounds (about 40 minutes)
#   bench/run.sh -c "confab libstrophe limit-expat" -w "W1 W5 OMEMO"
#
# A client is a folder of clients/, or one elsewhere if its name has a slash; the clients of
# the workload OMEMO are those of omemo/.
# Results: bench/out/<time>/{results.jsonl,report.md,plot.svg,env.txt}; the report begins with
# the ratios.
# Needs Go. What the peers need is installed where apt-get can be used as root; npm and the Go
# module proxy give the rest. A client whose build.sh exits 77 is skipped.
set -u
cd "$(dirname "$0")" || exit 1
runs=3 share=4 clients="" works="W1 W2 W3 W4a W4b W5 W5sm W6b W6 W7p W7s W7d W7d2 OMEMO" out=""
while getopts r:s:c:w:o: f; do
	case $f in
	r) runs=$OPTARG ;; s) share=$OPTARG ;; c) clients=$OPTARG ;; w) works=$OPTARG ;; o) out=$OPTARG ;;
	*) exit 2 ;;
	esac
done
packages="gcc g++ libc6-dev pkg-config libexpat1-dev libstrophe-dev libgloox-dev libqxmpp-dev
	nodejs npm python3-slixmpp python3-oldmemo python3-twomemo libomemo-c-dev libssl-dev"
command -v npm >/dev/null && packages=${packages/nodejs npm/}
missing=""
if [ -z "$clients" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	for p in $packages; do
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
	done
	if [ -n "$missing" ]; then
		echo "installing$missing"
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
	fi
fi

[ -n "$clients" ] || clients=$(cd clients && ls -d */ | tr -d /)
[ -n "$out" ] || out=out/$(date -u +%Y%m%dT%H%M%SZ)
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
go build -o "$out/replayd" ./replayd || exit 1

# built prints which of some folders are there to be run.
built() {
	for d in "$@"; do
		[ -x "$d/build.sh" ] || continue
		log=$out/build-$(echo "$d" | tr / -).log
		"$d/build.sh" > "$log" 2>&1
		case $? in
		0) echo "$d" ;;
		77) echo "skipped $d: not available here" >&2 ;;
		*) echo "skipped $d: build failed, see $log" >&2 ;;
		esac
	done
}
folders=""
for c in $clients; do
	case $c in */*) folders="$folders $c" ;; *) folders="$folders clients/$c" ;; esac
done
ready=$(built $folders)
sealed=""
[[ " $works " != *" OMEMO "* ]] || sealed=$(built omemo/*)

# What a share of a workload is; a room is as large as it is.
declare -A size=([W1]=100000 [W2]=50000 [W4a]=20000 [W4b]=50000 [W5]=100000 [W5sm]=100000 [W7p]=200 [W7s]=50 [W7d]=10 [W7d2]=10)
count() { echo $(((${size[$1]:-0} + share - 1) / share)); }

{
	date -u; uname -sr; grep -m1 'model name' /proc/cpuinfo; echo "cores: $(nproc)"; grep MemTotal /proc/meminfo; go version
	grep -h '^	[a-z].* v' go.mod | grep -v indirect
	dpkg-query -W -f '${Package} ${Version}\n' libexpat1 libstrophe0 libgloox18 'libqxmpp[0-9]' python3-slixmpp 2>/dev/null | awk 'NF > 1'
	node --version 2>/dev/null; grep -h '"@xmpp/client"' clients/xmppjs/package.json
} > "$out/env.txt"

# Round after round, so that a noisy minute hits all clients alike.
for r in $(seq "$runs"); do
	for w in $works; do
		case $w in W6*|W7*) [ "$r" -gt 3 ] && continue ;; esac
		if [ "$w" = OMEMO ]; then
			for d in $sealed; do
				"$out/replayd" omemo -client "$(basename "$d")" -cmd "$d/run" -n $((4000 / share)) -run "$r" -out "$out/results.jsonl"
			done
			continue
		fi
		for d in $ready; do
			[ -f "$d/only" ] && ! grep -qw "$w" "$d/only" && continue
			"$out/replayd" run -client "$(basename "$d")" -cmd "$d/run" -w "$w" -n "$(count "$w")" -run "$r" -out "$out/results.jsonl"
		done
	done
done
{
	echo "How many times what confab needs each peer needs, in the same round (bold: less than confab):"
	for part in ratios goals report; do "$out/replayd" $part "$out/results.jsonl"; echo; done
} > "$out/report.md"
"$out/replayd" plot "$out/results.jsonl" > "$out/plot.svg"
"$out/replayd" ratios "$out/results.jsonl"
echo "took $((SECONDS / 60)) minutes; $out/report.md, $out/plot.svg"
