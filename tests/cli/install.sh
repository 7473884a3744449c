#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# What `make install` leaves can be built against, and is documented.
set -u
cd "$(dirname "$0")/../.." || exit 1
B=${BUILD:-build}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
passed=0
failed=0
check() {
	if [ "$2" = "$3" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $1: $2, not $3"; fi
}
make --no-print-directory install DESTDIR="$root" PREFIX=/usr >/dev/null 2>&1
check "make install" $? 0
export PKG_CONFIG_PATH=$root/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
version=$("$B/weir" version | sed -n '1s/^weir \([0-9.]*\).*/\1/p')
for p in weir weir-run; do
	check "$p.pc says which version" "$(pkg-config --modversion $p)" "$version"
done
# shellcheck disable=SC2046
gcc -o "$root/hello" examples/hello/*.c $(pkg-config --cflags --libs weir)
check "the example builds against the shared library" $? 0
check "and needs nothing but it and libc" "$(ldd "$root/hello" | grep -cvE 'libweir|libc\.|ld-linux|linux-vdso')" 0
mkdir "$root/shm"
WEIR_DIR=$root/shm LD_LIBRARY_PATH=$root/usr/lib timeout 20 "$root/hello" >/dev/null
check "and runs" $? 0
for std in 11 20; do
	for h in "$root"/usr/include/weir/*.h "$root"/usr/include/weir/shm/*.h "$root"/usr/include/weir.h; do
		[ ! -f "$h" ] || echo "#include \"$h\""
	done | g++ -std=c++$std -Wall -Wextra -Werror -fsyntax-only -x c++ -I"$root/usr/include" -
	check "the headers are C++$std as well" $? 0
done
functions=$(sed -n 's/^WEIR_API .*[ *]\(weir_[a-z_0-9]*\)(.*/\1/p' "$root"/usr/include/weir/*.h | sort -u)
for f in $functions; do
	[ -f "$root/usr/share/man/man3/$f.3" ] || echo "$f"
done >"$root/undocumented"
check "each function has a manual page" "$(tr '\n' ' ' <"$root/undocumented")" ""
for page in "$root"/usr/share/man/man?/weir*.?; do
	grep -q '^\.so' "$page" || man -l "$page" >/dev/null 2>"$root/man.err" || echo "$page"
done >"$root/unreadable" 2>/dev/null
check "each manual page can be shown" "$(tr '\n' ' ' <"$root/unreadable")" ""
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
