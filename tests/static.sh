#!/bin/sh
# The static agentd keeps its promises: no loader, stripped, at most 1 MiB, runs in an empty chroot.
# Usage: static.sh PATH-TO-AGENTD
set -eu
agentd=$1

fail()
{
	echo "static: $*" >&2
	exit 1
}

[ -x "$agentd" ] || fail "$agentd is missing: run ./dev static"
! readelf -lW "$agentd" | grep -q INTERP || fail "needs a dynamic loader"
! readelf -SW "$agentd" | grep -q '\.symtab' || fail "is not stripped"
size=$(stat -c %s "$agentd")
[ "$size" -le 1048576 ] || fail "has $size bytes, more than 1 MiB"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cp "$agentd" "$root/agentd"
if [ "$(id -u)" = 0 ]; then
	chroot "$root" /agentd --version
else
	unshare --map-root-user chroot "$root" /agentd --version
fi
echo "static: $size bytes"
