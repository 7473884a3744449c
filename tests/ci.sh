#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Wider than `make check`: both compilers, sanitizers, the complete sweep within a budget, the demo.
set -u
cd "$(dirname "$0")/.." || exit 1
failed=0
passed=0
step() {
	local name=$1
	shift
	echo "== $name"
	if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $name"; fi
}
step "clang build" make --no-print-directory -j2 BUILD=build/clang-all CC=clang all
sanitized() {
	make --no-print-directory -j2 BUILD=build/asan OPT=-O1 EXTRA='-fsanitize=address,undefined -fno-sanitize-recover=undefined' lib || return 1
	for t in tests/unit/test_*.c; do
		local n
		n=$(basename "$t" .c)
		make --no-print-directory BUILD=build/asan OPT=-O1 EXTRA='-fsanitize=address,undefined -fno-sanitize-recover=undefined' "build/asan/unit/$n" || return 1
		ASAN_OPTIONS=detect_leaks=0 timeout 300 "build/asan/unit/$n" -j2 2>&1 | tail -3
		[ "${PIPESTATUS[0]}" -eq 0 ] || return 1
	done
}
step "unit tests under ASan and UBSan" sanitized
if grep -q '^sweep:' tests/sweep/sweep.mk 2>/dev/null; then
	step "sweep" make --no-print-directory sweep
fi
if [ -x examples/gateway/demo.sh ]; then
	step "demo" make --no-print-directory demo
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
