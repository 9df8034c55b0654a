#!/bin/sh
# Installs what building and testing need, on Debian 12 or later; run by `./dev setup`, at the top of
# the tree. Quiet and quick when nothing is missing. Everything comes from the Debian mirror that this
# machine already uses, with apt's signature check; no mirror is named in this repository. The program
# that agent sessions are tested with, and the SDK that the bridge is tested with, come from the npm
# registry that is configured here.
set -eu

packages="gcc libc6-dev make cmake ninja-build pkg-config dpkg-dev musl-tools
	libuv1-dev libcjson-dev libpcre2-dev libllhttp-dev libcmocka-dev libwslay-dev busybox-static
	libsqlite3-dev libssl-dev bubblewrap sudo patch
	qemu-system-x86 qemu-utils mmdebstrap e2fsprogs kmod cpio zstd xz-utils
	chromium chromium-driver
	clang clang-format clang-tidy libclang-rt-dev python3 python3-pytest
	bash less tmux vim-tiny iproute2 util-linux git curl"
sources="libuv1 cjson pcre2" # compiled into the static build, see cmake/third_party.cmake
lws_version=4.3.5 # for the bridge; Debian 13's
third_party=build/third-party
xterm=packaging/xterm/package.json # exact versions
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

. /etc/os-release
codename=$VERSION_CODENAME

say()
{
	echo "+ $*"
}

fail()
{
	echo "setup: $*" >&2
	exit 1
}

# Runs a command, shows it, and shows its output only when it fails.
quietly()
{
	say "$*"
	"$@" >build/setup.log 2>&1 </dev/null || {
		cat build/setup.log >&2
		fail "$1 failed"
	}
}

as_root()
{
	set -- env DEBIAN_FRONTEND=noninteractive "$@"
	[ "$(id -u)" = 0 ] || set -- sudo "$@"
	quietly "$@"
}

# The packages that are not installed.
missing()
{
	installed=" $(dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | tr '\n' ' ')"
	for p in $packages; do
		case "$installed" in
		*" $p "*) ;;
		*) printf ' %s' "$p" ;;
		esac
	done
}

mirror()
{
	apt-get indextargets --format '$(CREATED_BY)|$(LABEL)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)' |
		awk -F'|' -v c="$codename" '$1 == "Packages" && $2 == "Debian" && $3 == c && $4 == "main" { print $5; exit }'
}

# Debian's source packages, and on Debian 12, which has no llhttp, that of Debian 13: it needs nothing
# newer than Debian 12 has. The pin keeps everything else of Debian 13 out.
add_apt_sources()
{
	uri=$(mirror)
	[ -n "$uri" ] || fail "apt knows no mirror for Debian $codename main"
	{
		echo "# Written by ./dev setup of agentd."
		printf 'Types: deb-src\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$uri" "$codename" $keyring
		if [ "$codename" = bookworm ]; then
			printf '\nTypes: deb deb-src\nURIs: %s\nSuites: trixie\nComponents: main\nSigned-By: %s\n' "$uri" $keyring
		fi
	} >build/agentd.sources
	cat >build/agentd.pin <<-EOF
		# Written by ./dev setup of agentd: from Debian 13 llhttp and nothing else.
		Package: *
		Pin: release n=trixie
		Pin-Priority: -1

		Package: libllhttp-dev libllhttp9.2
		Pin: release n=trixie
		Pin-Priority: 500
	EOF
	if [ "$codename" = bookworm ]; then
		as_root install -m 644 build/agentd.pin /etc/apt/preferences.d/agentd
	fi
	as_root install -m 644 build/agentd.sources /etc/apt/sources.list.d/agentd.sources
	rm build/agentd.pin build/agentd.sources
	# Only this file's lists: the others have just been brought up to date.
	as_root apt-get update -o Dir::Etc::SourceList=/etc/apt/sources.list.d/agentd.sources \
		-o Dir::Etc::SourceParts=- -o APT::Get::List-Cleanup=0
}

install_packages()
{
	as_root apt-get update
	add_apt_sources
	# shellcheck disable=SC2086 # a list
	as_root apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing
}

# Unpacked beside and moved into place, so that a half-done download is never taken for a whole one.
unpack_sources()
{
	rm -rf "$third_party.new"
	mkdir -p "$third_party.new"
	set -- # this release's, whatever others apt knows
	for s in $sources; do
		set -- "$@" "$s/$codename"
	done
	say "apt-get source $*"
	(cd "$third_party.new" && apt-get source -q --only-source "$@") >build/setup.log 2>&1 || return 1
	rm -rf "$third_party"
	mv "$third_party.new" "$third_party"
}

# apt-get source needs the .dsc, which mirrors drop first when a package is replaced. What it verifies is
# the signed index's checksums of each file, so the two archives are fetched by those and unpacked here.
fetch_lws()
{
	say "apt-get source libwebsockets/trixie"
	apt-get source -q --print-uris --only-source libwebsockets/trixie >uris 2>../../setup.log || return 1
	sed -n "s/^'\([^']*\)' \([^ ]*\.tar\.[gx]z\) [0-9]* SHA256:\(.*\)$/\1 \2 \3/p" uris >list
	[ -s list ] || return 1
	while read -r uri name sum; do
		curl -fsS -o "$name" "$uri" && echo "$sum  $name" | sha256sum --quiet -c - || return 1
	done <list
	mkdir source
	tar xf libwebsockets_*.orig.tar.gz -C source --strip-components=1 || return 1
	tar xf libwebsockets_*.debian.tar.xz -C source || return 1
	while read -r name; do
		patch -s -d source -p1 <"source/debian/patches/$name" || return 1
	done <source/debian/patches/series
}

# A static library with libuv in it; without client, HTTP/2 and extensions.
build_lws()
{
	rm -rf $third_party/lws.new
	mkdir -p $third_party/lws.new
	(cd $third_party/lws.new && fetch_lws) || return 1
	quietly cmake -S $third_party/lws.new/source -B $third_party/lws.new/build -G Ninja \
		-DCMAKE_BUILD_TYPE=RelWithDebInfo -DLWS_WITH_LIBUV=ON -DLWS_WITH_EVLIB_PLUGINS=OFF \
		-DLWS_WITH_SHARED=OFF -DLWS_WITHOUT_TESTAPPS=ON -DLWS_WITHOUT_EXTENSIONS=ON \
		-DLWS_WITH_NETLINK=OFF -DLWS_WITHOUT_CLIENT=ON -DLWS_WITH_HTTP2=OFF -DLWS_WITH_SSL=ON \
		-DLWS_WITH_MINIMAL_EXAMPLES=OFF -DCMAKE_INSTALL_PREFIX="$PWD/$third_party/lws.new" \
		-DCMAKE_INSTALL_LIBDIR=lib
	quietly cmake --build $third_party/lws.new/build
	quietly cmake --install $third_party/lws.new/build
	rm -rf $third_party/lws.new/source $third_party/lws.new/build
	echo $lws_version >$third_party/lws.new/version
	rm -rf $third_party/lws
	mv $third_party/lws.new $third_party/lws
}

# What tests need from npm: the package.json of a folder, with exact versions, installed beside and moved
# into place.
install_npm()
{
	cmp -s "$1/package.json" "$2/package.json" && return
	rm -rf "$2.new"
	mkdir -p "$2.new"
	cp "$1/package.json" "$2.new/"
	quietly npm --prefix "$2.new" install --no-audit --no-fund --no-package-lock --loglevel=error
	rm -rf "$2"
	mv "$2.new" "$2"
}

check_claude()
{
	HOME=$PWD/build/claude DISABLE_AUTOUPDATER=1 build/claude/node_modules/.bin/claude --version >build/setup.log 2>&1 </dev/null || {
		cat build/setup.log >&2
		rm -rf build/claude
		fail "the installed claude does not run"
	}
}

# Only the files that the bridge serves, and their license.
install_xterm()
{
	rm -rf $third_party/xterm.new
	mkdir -p $third_party/xterm.new/npm
	cp $xterm $third_party/xterm.new/npm/
	quietly npm --prefix $third_party/xterm.new/npm install --no-audit --no-fund --no-package-lock --loglevel=error
	from=$third_party/xterm.new/npm/node_modules/@xterm
	cp $from/xterm/lib/xterm.js $from/xterm/css/xterm.css $from/addon-fit/lib/addon-fit.js $third_party/xterm.new/
	cp $from/xterm/LICENSE $third_party/xterm.new/xterm-license.txt
	cp $xterm $third_party/xterm.new/
	rm -rf $third_party/xterm.new/npm $third_party/xterm
	mv $third_party/xterm.new $third_party/xterm
}

# Whether every source is there.
complete()
{
	for s in $sources; do
		set -- "$third_party/$s"-*/
		[ -d "$1" ] || return 1
	done
}

mkdir -p build
command -v npm >/dev/null || packages="$packages nodejs npm"
missing=$(missing)
[ -z "$missing" ] || install_packages
if ! complete; then
	unpack_sources || {
		# Perhaps the lists are older than the mirror, or were never fetched.
		as_root apt-get update
		add_apt_sources
		unpack_sources || { cat build/setup.log >&2; fail "no source packages"; }
	}
fi
[ "$(cat $third_party/lws/version 2>/dev/null)" = "$lws_version" ] || build_lws || {
	as_root apt-get update
	add_apt_sources
	build_lws || { cat build/setup.log >&2; fail "no libwebsockets"; }
}
if ! cmp -s tests/claude/package.json build/claude/package.json; then
	install_npm tests/claude build/claude
	check_claude
fi
install_npm tests/sdk build/sdk
cmp -s $xterm $third_party/xterm/package.json || install_xterm
