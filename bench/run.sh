#!/bin/bash
# Measures every client on every workload, side by side.
#
#   bench/run.sh                       all, 5 rounds (about 30 minutes on 2 cores)
#   bench/run.sh -r 1                  one round of each (about 8 minutes)
#   bench/run.sh -c "confab libstrophe limit-expat" -w "W1 W5"
#
# A client is a folder of clients/, or one elsewhere if its name has a slash.
# Results: bench/out/<time>/{results.jsonl,report.md,env.txt}
# Needs: Go, a C and a C++ compiler, and what each client's build.sh asks for:
#   apt-get install -y --no-install-recommends pkg-config libexpat1-dev libstrophe-dev libgloox-dev libqxmpp-dev python3-slixmpp
# npm and the Go module proxy give the rest. A client whose build.sh exits 77 is skipped.
set -u
cd "$(dirname "$0")" || exit 1
runs=5 clients="" works="W1 W2 W3 W4a W4b W5 W5sm W6b W6 W7p W7s W7d W7d2" out=""
while getopts r:c:w:o: f; do
	case $f in
	r) runs=$OPTARG ;; c) clients=$OPTARG ;; w) works=$OPTARG ;; o) out=$OPTARG ;;
	*) exit 2 ;;
	esac
done
[ -n "$clients" ] || clients=$(cd clients && ls -d */ | tr -d /)
[ -n "$out" ] || out=out/$(date -u +%Y%m%dT%H%M%SZ)
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
go build -o "$out/replayd" ./replayd || exit 1

ready=""
for c in $clients; do
	case $c in */*) d=$c ;; *) d=clients/$c ;; esac
	[ -x "$d/build.sh" ] || continue
	"$d/build.sh" > "$out/build-$(basename "$c").log" 2>&1
	case $? in
	0) ready="$ready $d" ;;
	77) echo "skipped $c: not available here" ;;
	*) echo "skipped $c: build failed, see $out/build-$(basename "$c").log" ;;
	esac
done

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
		for d in $ready; do
			[ -f "$d/only" ] && ! grep -qw "$w" "$d/only" && continue
			"$out/replayd" run -client "$(basename "$d")" -cmd "$d/run" -w "$w" -run "$r" -out "$out/results.jsonl"
		done
	done
done
"$out/replayd" report "$out/results.jsonl" > "$out/report.md"
echo "$out/report.md"
