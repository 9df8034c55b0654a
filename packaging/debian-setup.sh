#!/bin/sh
# Installs what building and testing need, on Debian 12 or later; run by `./dev setup`, at the top of
# the tree. Quiet and quick when nothing is missing. Everything comes from the Debian mirror that this
# machine already uses, with apt's signature check; no mirror is named in this repository.
set -eu

packages="gcc libc6-dev make cmake ninja-build pkg-config dpkg-dev musl-tools
	libuv1-dev libcjson-dev libllhttp-dev libcmocka-dev libwslay-dev
	clang clang-format clang-tidy libclang-rt-dev python3 python3-pytest curl"
sources="libuv1 cjson" # compiled into the static build, see cmake/third_party.cmake
third_party=build/third-party
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
			printf '\nTypes: deb\nURIs: %s\nSuites: trixie\nComponents: main\nSigned-By: %s\n' "$uri" $keyring
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
	say "apt-get source $sources"
	# shellcheck disable=SC2086
	(cd "$third_party.new" && apt-get source -q --only-source $sources) >build/setup.log 2>&1 || return 1
	rm -rf "$third_party"
	mv "$third_party.new" "$third_party"
}

mkdir -p build
missing=$(missing)
[ -z "$missing" ] || install_packages
if [ ! -d "$third_party" ]; then
	unpack_sources || {
		# Perhaps the lists are older than the mirror, or were never fetched.
		as_root apt-get update
		add_apt_sources
		unpack_sources || { cat build/setup.log >&2; fail "no source packages"; }
	}
fi
