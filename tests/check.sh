#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Run what `make check` has built; the last line counts it all.
set -u
cd "$(dirname "$0")/.." || exit 1
B=${BUILD:-build}
passed=0
failed=0
start=$(date +%s)

# Each suite prints a line with its own counts, in one of the two forms below.
suite() {
	local name=$1 out p f
	shift
	out=$(timeout 300 "$@" 2>&1)
	local status=$?
	p=$(printf '%s\n' "$out" | sed -n 's/.*Passing: \([0-9]*\).*/\1/p;s/^\([0-9]*\) passed, .*/\1/p' | tail -1)
	f=$(printf '%s\n' "$out" | sed -n 's/.*Failing: \([0-9]*\) | Crashing: \([0-9]*\).*/\1 \2/p;s/^[0-9]* passed, \([0-9]*\) failed.*/\1/p' | tail -1 | awk '{print $1+$2}')
	p=${p:-0}
	f=${f:-0}
	[ "$status" -eq 0 ] || [ "$f" -gt 0 ] || f=1
	[ $((p + f)) -gt 0 ] || f=1
	passed=$((passed + p))
	failed=$((failed + f))
	printf '%-28s %4d passed, %d failed\n' "$name" "$p" "$f"
	[ "$f" -eq 0 ] || printf '%s\n' "$out" | tail -40
}

for t in "$B"/unit/test_* "$B"/regress/*; do
	[ -x "$t" ] && [ -f "$t" ] && suite "$(basename "$t")" "$t" -j2
done
for s in tests/cli/*.sh tests/examples.sh; do
	[ -f "$s" ] && suite "$(basename "$s")" bash "$s"
done
for s in sweep model env; do
	suite "$s-check" make --no-print-directory $s-check
done
suite tidy bash tests/tidy.sh
echo "seconds: $(($(date +%s) - start))"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
