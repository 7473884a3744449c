#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# run.sh ROUNDS PROGRAM...: all twins; the last line counts.  The list of suppressions is empty.
set -u
cd "$(dirname "$0")/../.." || exit 1
rounds=$1
shift
passed=0
failed=0
export TSAN_OPTIONS="halt_on_error=1 second_deadlock_stack=1 ${TSAN_OPTIONS:-}"
for program in "$@"; do
	# Where addresses are spread wider than the sanitizer expects it cannot start.
	how=()
	"$program" 1 nosuch >/dev/null 2>&1
	[ $? -eq 2 ] || how=(setarch -R)
	# shellcheck disable=SC2086
	out=$("${how[@]}" "$program" $rounds 2>&1)
	printf '%s\n' "$program:" "$out" | sed '$d'
	last=$(printf '%s\n' "$out" | tail -1)
	p=$(printf '%s\n' "$last" | sed -n 's/^\([0-9]*\) passed, .*/\1/p')
	f=$(printf '%s\n' "$last" | sed -n 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p')
	passed=$((passed + ${p:-0}))
	failed=$((failed + ${f:-1}))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
