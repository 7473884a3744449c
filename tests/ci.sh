#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Wider than `make check`: both compilers, sanitizers, samples of the proofs, the sweep within a
# budget, the demo.
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
	local flags="BUILD=build/asan OPT=-O1" t n
	local units
	units=$(printf 'build/asan/unit/%s ' $(basename -s .c tests/unit/test_*.c))
	# shellcheck disable=SC2086
	make --no-print-directory -j2 $flags EXTRA='-fsanitize=address,undefined -fno-sanitize-recover=undefined' \
		build/asan/libweir.a build/asan/libweir-run.a $units || return 1
	for t in $units; do
		# Forked children end with _exit and SIGKILL: leaks are looked for elsewhere.
		ASAN_OPTIONS=detect_leaks=0 timeout 300 "$t" -j2 2>&1 | tail -1
		[ "${PIPESTATUS[0]}" -eq 0 ] || return 1
	done
}
commanded() {
	local s out status
	make --no-print-directory -j2 BUILD=build/asan OPT=-O1 \
		EXTRA='-fsanitize=address,undefined -fno-sanitize-recover=undefined' \
		build/asan/libweir.a build/asan/weir || return 1
	for s in tests/cli/run.sh tests/cli/commands.bash; do
		out=$(BUILD=build/asan ASAN_OPTIONS=detect_leaks=1 \
			LSAN_OPTIONS=print_suppressions=0:suppressions=$PWD/tests/cli/lsan.supp timeout 600 bash "$s" 2>&1)
		status=$?
		printf '%s\n' "$out" | grep -E -A20 '^FAIL' | head -60
		printf '%s: %s\n' "$s" "$(printf '%s\n' "$out" | tail -1)"
		[ "$status" -eq 0 ] || return 1
	done
}
analysed() {
	make --no-print-directory build/gen/.stamp || return 1
	printf '%s\n' lib/*/*.c | xargs -P2 -n4 sh -c \
		'clang-tidy --quiet "$@" -- -std=c11 -D_GNU_SOURCE -Ilib -Ilib/include -Ibuild/gen 2>/dev/null' sh
}
step "clang-tidy" analysed
step "unit tests under ASan and UBSan" sanitized
step "command line under ASan and UBSan" commanded
step "environment matrix" make --no-print-directory env-check
step "thread twins under ThreadSanitizer" make --no-print-directory tsan-check
step "model checker, a sample" make --no-print-directory model-check
step "linearizability, a sample" make --no-print-directory lin-check
step "kill harness" make --no-print-directory kill-check
step "sweep" env SWEEP_BUDGET="${SWEEP_BUDGET:-25}" make --no-print-directory sweep
step "demo" make --no-print-directory demo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
