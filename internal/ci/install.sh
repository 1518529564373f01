#!/bin/sh
# Installs what `make test` needs on Debian and its kin: a C compiler for the
# race detector, Prosody and ejabberd; with the argument "peers" also the
# independent clients that some tests talk to. What is there already is left
# alone, no service is started, and nothing is printed when nothing is missing.
#
# Prosody 13 is not in Debian 12: it is taken from the backports of the archive
# that this machine's apt already uses and unpacked beside the system, into
# ${XDG_CACHE_HOME:-$HOME/.cache}/confab/prosody13, where package testbed looks.
set -eu

say() { echo "install: $*" >&2; }
have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }
installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

want="ca-certificates gcc libc6-dev make
  prosody prosody-modules lua-sec lua-event lua-dbi-sqlite3 lua-unbound
  ejabberd erlang-p1-sqlite3"
if [ "${1:-}" = peers ]; then
	want="$want python3-slixmpp python3-slixmpp-lib python3-aiohttp python3-emoji
	  python3-defusedxml python3-omemo python3-oldmemo python3-twomemo python3-xmlschema
	  libomemo-c-dev libssl-dev pkg-config"
fi

if ! have apt-get; then
	for program in gcc make prosody erl; do
		have "$program" || say "no apt-get here: please install $program"
	done
	exit 0
fi

missing=
for package in $want; do
	installed "$package" || missing="$missing $package"
done
# A compiler or make from elsewhere is as good.
have cc && missing=$(echo "$missing" | sed 's/ gcc\b//')
have make && missing=$(echo "$missing" | sed 's/ make\b//')
missing=$(echo $missing)

tmp=$(mktemp -d)
policy=
cleanup() {
	rm -rf "$tmp"
	[ -z "$policy" ] || $root rm -f "$policy"
}
root=
[ "$(id -u)" = 0 ] || root=sudo
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

# Runs a command and shows what it said only if it fails.
quiet() {
	"$@" >"$tmp/log" 2>&1 </dev/null || {
		rc=$?
		cat "$tmp/log" >&2
		return $rc
	}
}

# The network may stumble once.
retry() {
	quiet "$@" || { sleep 5; quiet "$@"; }
}

epmds() {
	for f in /proc/[0-9]*/comm; do
		if [ "$(cat "$f" 2>/dev/null)" = epmd ]; then
			f=${f#/proc/}
			echo "${f%/comm}"
		fi
	done
}

if [ -n "$missing" ]; then
	if [ -n "$root" ] && ! have sudo; then
		say "missing, and neither root nor sudo to install it: $missing"
		exit 1
	fi
	say "apt-get install $missing"
	# The packages would start the servers as services; Debian asks this file first.
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		policy=/usr/sbin/policy-rc.d
		printf '#!/bin/sh\nexit 101\n' >"$tmp/policy"
		$root install -m 755 "$tmp/policy" "$policy"
	fi
	before=" $(epmds | tr '\n' ' ') "
	retry $root apt-get -q update
	retry $root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends \
		-o DPkg::Lock::Timeout=120 $missing
	# Setting ejabberd up leaves a port mapper behind, which nothing here uses.
	case " $missing " in *" ejabberd "*)
		for pid in $(epmds); do
			case "$before" in
			*" $pid "*) ;;
			*) $root kill "$pid" 2>/dev/null || true ;;
			esac
		done
		;;
	esac
fi

# --- Prosody 13 ---

case $(dpkg-query -W -f '${Version}' prosody 2>/dev/null) in
0.*) ;;
*) exit 0 ;; # the system's own is new enough
esac
cache=${XDG_CACHE_HOME:-$HOME/.cache}/confab
[ -x "$cache/prosody13/usr/bin/prosody" ] && exit 0

# Fetches and unpacks into $tmp/new with an apt state of its own.
fetch13() {
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	[ -n "$codename" ] || return 1
	archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
		"Codename: $codename" 'Component: main' | head -n 1)
	if [ -z "$archive" ]; then # the lists were never fetched or are gone
		quiet $root apt-get -q update || return 1
		archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
			"Codename: $codename" 'Component: main' | head -n 1)
	fi
	[ -n "$archive" ] || return 1
	signed=
	keys=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -e $keys ] && signed="[signed-by=$keys] "
	echo "deb $signed$archive $codename-backports main" >"$tmp/backports.list"
	mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial" "$tmp/debs" "$tmp/new"
	apt="apt-get -q -o Dir::Etc::SourceList=$tmp/backports.list -o Dir::Etc::SourceParts=/dev/null
	  -o Dir::State::Lists=$tmp/lists -o Dir::Cache=$tmp/cache -o APT::Sandbox::User=root"
	retry $apt update || return 1
	(cd "$tmp/debs" && retry $apt download "prosody/$codename-backports" "prosody-modules/$codename-backports") || return 1
	for deb in "$tmp"/debs/*.deb; do
		dpkg -x "$deb" "$tmp/new" || return 1
	done
	grep -q "^CFG_SOURCEDIR=" "$tmp/new/usr/bin/prosody"
}

if fetch13 2>"$tmp/err"; then
	mkdir -p "$cache"
	lib=$cache/prosody13/usr/lib/prosody
	sed -i -e "s|^CFG_SOURCEDIR=.*|CFG_SOURCEDIR='$lib';|" \
		-e "s|^CFG_PLUGINDIR=.*|CFG_PLUGINDIR='$lib/modules/';|" "$tmp/new/usr/bin/prosody"
	# Moved into place whole, so that two installs at once leave one good copy.
	staging=$(mktemp -d "$cache/prosody13.XXXXXX")
	cp -a "$tmp/new/usr" "$staging/"
	chmod 755 "$staging"
	if ! mv -T "$staging" "$cache/prosody13" 2>/dev/null; then
		[ -x "$cache/prosody13/usr/bin/prosody" ] && rm -rf "$staging" || {
			rm -rf "$cache/prosody13"
			mv -T "$staging" "$cache/prosody13"
		}
	fi
	say "Prosody 13 from backports is in $cache/prosody13"
else
	cat "$tmp/err" >&2
	say "NOTICE: no Prosody 13 from backports; the tests run against the system's Prosody $(dpkg-query -W -f '${Version}' prosody)"
fi
