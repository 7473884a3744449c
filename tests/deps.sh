#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# deps.sh [PACKAGE...]: install the Debian packages that are missing (as root), or say which they are.
set -eu
need="man-db gcc g++ clang clang-format clang-tidy make pkg-config libc6-dev libjansson-dev libsmartcols-dev liburing-dev libbpf-dev
libelf-dev zlib1g-dev bpftool libcriterion-dev libhttp-parser-dev wrk python3 jq curl procps util-linux $*"
missing=
for p in $need; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
	echo "weir: these Debian packages are missing:$missing" >&2
	echo "weir: as root:  apt-get install$missing" >&2
	exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
