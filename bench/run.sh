#!/bin/bash
# Measures every client on every workload, side by side.
#
#   bench/run.sh                       all; rounds until 14 minutes are up, five at the most
#   bench/run.sh -k                    the same, kept: results.md, plot.svg, the tables of README.md
#   bench/run.sh -f                    all at full size, five rounds (about 30 minutes on 2 cores)
#   bench/run.sh -q                    does each part work? Vet, tests, and one round of tiny numbers
#   bench/run.sh -r 1 -c "confab libstrophe limit-expat" -w "W1 W5 OMEMO"
#
# A client is a folder of clients/, or one elsewhere if its name has a slash.
# Results: bench/out/<time>/{results.jsonl,results.md,plot.svg,env.txt}
# Needs Go. On Debian and its kin the rest is installed if it is missing; npm and
# the Go module proxy give what is not packaged. A client whose build.sh exits 77
# is skipped.
set -u
cd "$(dirname "$0")" || exit 1
runs=5 clients="" works="W1 W2 W3 W4a W4b W5 W5sm W6b W6 W7p W7s W7d2 OMEMO" out="" minutes=14 mode=short keep=0
while getopts r:c:w:o:m:fqk f; do
	case $f in
	r) runs=$OPTARG ;; c) clients=$OPTARG ;; w) works=$OPTARG ;; o) out=$OPTARG ;; m) minutes=$OPTARG ;;
	f) mode=full minutes=1000 ;; q) mode=quick runs=1 ;; k) keep=1 ;;
	*) exit 2 ;;
	esac
done
[ -n "$clients" ] || clients=$(cd clients && ls -d */ | tr -d /)
[ -n "$out" ] || out=out/$(date -u +%Y%m%dT%H%M%SZ)
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)

install() {
	local want missing="" p sudo=""
	want="gcc g++ libc6-dev pkg-config libexpat1-dev libstrophe-dev libgloox-dev libqxmpp-dev python3-slixmpp
	  libomemo-c-dev libssl-dev python3-omemo python3-oldmemo python3-twomemo"
	command -v apt-get >/dev/null || return 0
	for p in $want; do
		dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
	done
	command -v node >/dev/null && command -v npm >/dev/null || missing="$missing nodejs npm"
	[ -n "$missing" ] || return 0
	[ "$(id -u)" = 0 ] || sudo=sudo
	echo "installing$missing"
	{ $sudo apt-get -q update && $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends \
		-o DPkg::Lock::Timeout=120 $missing; } > "$out/install.log" 2>&1 </dev/null ||
		echo "not all could be installed, see $out/install.log"
}
install

go build -o "$out/replayd" ./replayd || exit 1
failed=0
if [ $mode = quick ]; then
	go vet ./... && go test ./... || failed=1
fi

# build FOLDER: builds what is in it and adds it to $ready.
build() {
	"$1/build.sh" > "$out/build-$(basename "$1").log" 2>&1
	case $? in
	0) ready="$ready $1" ;;
	77) echo "skipped $1: not available here" ;;
	*) echo "skipped $1: build failed, see $out/build-$(basename "$1").log"; failed=1 ;;
	esac
}
ready=""
for d in omemo/*/; do build "${d%/}"; done
ciphers=$ready ready=""
for c in $clients; do
	case $c in */*) d=$c ;; *) d=clients/$c ;; esac
	[ -x "$d/build.sh" ] && build "$d"
done

{
	date -u; uname -sr; grep -m1 'model name' /proc/cpuinfo; echo "cores: $(nproc)"; grep MemTotal /proc/meminfo; go version
	grep -h '^	[a-z].* v' go.mod | grep -v 'indirect\|confab' | tr -d '\t'
	dpkg-query -W -f '${Package} ${Version}\n' libexpat1 libstrophe0 libgloox18 'libqxmpp[0-9]' python3-slixmpp libomemo-c0 \
		python3-omemo python3-oldmemo python3-twomemo 2>/dev/null | awk 'NF > 1'
	node --version 2>/dev/null; grep -ho '"@xmpp/client.*"' clients/xmppjs/package.json
	echo "load before: $(cut -d' ' -f1-3 /proc/loadavg)"
} > "$out/env.txt"

# size WORKLOAD: how many stanzas, clients or sign-ins; 0 is what the catalogue says.
size() {
	case $mode,$1 in
	quick,W6b) echo 1 ;; quick,W6) echo 5 ;; quick,W7*) echo 2 ;; quick,OMEMO) echo 20 ;; quick,*) echo 300 ;;
	full,OMEMO) echo 4000 ;; full,*) echo 0 ;;
	*,W1) echo 50000 ;; *,W2) echo 25000 ;; *,W4a) echo 10000 ;; *,W4b) echo 25000 ;;
	*,W7p) echo 100 ;; *,W7s) echo 20 ;; *,OMEMO) echo 2000 ;; *) echo 0 ;;
	esac
}

# Round after round, so that a noisy minute hits all clients alike. No round
# begins that would not end in time.
began=$SECONDS longest=0
for r in $(seq "$runs"); do
	start=$SECONDS
	[ $((start - began + longest)) -gt $((minutes * 60)) ] && break
	for w in $works; do
		case $w in
		OMEMO)
			for d in $ciphers; do
				"$out/replayd" omemo -client "$(basename "$d")" -cmd "$d/run" -n "$(size OMEMO)" -run "$r" -out "$out/results.jsonl" || failed=1
			done
			continue ;;
		W6*) [ "$r" -gt 2 ] && continue ;; # slow, and memory hardly varies
		W7*) [ "$r" -gt 3 ] && continue ;;
		esac
		for d in $ready; do
			[ -f "$d/only" ] && ! grep -qw "$w" "$d/only" && continue
			[ -f "$d/skip" ] && grep -qw "$w" "$d/skip" && continue
			"$out/replayd" run -client "$(basename "$d")" -cmd "$d/run" -w "$w" -n "$(size "$w")" -run "$r" -out "$out/results.jsonl" || failed=1
		done
	done
	[ "$r" = 1 ] && longest=$((SECONDS - start))
done

echo "load after: $(cut -d' ' -f1-3 /proc/loadavg)" >> "$out/env.txt"
echo "minutes: $(((SECONDS + 59) / 60))" >> "$out/env.txt"
"$out/replayd" plot "$out/results.jsonl" > "$out/plot.svg" || failed=1
{
	"$out/replayd" ratios "$out/results.jsonl"
	"$out/replayd" goals "$out/results.jsonl"
} > "$out/short.md" || failed=1
{
	echo "# The newest run"
	echo
	echo "Written by run.sh. What the columns mean stands in [README.md](README.md)."
	echo
	echo '```'; cat "$out/env.txt"; echo '```'
	cat "$out/short.md"
	"$out/replayd" report "$out/results.jsonl"
} > "$out/results.md" || failed=1
if [ $keep = 1 ]; then
	cp "$out/results.md" "$out/plot.svg" .
	awk -v f="$out/short.md" '/<!-- end of run -->/ { skip = 0 } !skip { print }
		/<!-- run -->/ { skip = 1; while ((getline l < f) > 0) print l; print "" }' README.md > "$out/README.md" && cp "$out/README.md" README.md
fi
[ $mode = quick ] || cat "$out/short.md"
echo "$out/results.md"
[ $mode != quick ] || exit $failed
