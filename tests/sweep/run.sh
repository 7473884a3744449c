#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# run.sh full|sample PROGRAM...: the sweep's modes, one after the other; the last line counts the runs.
set -u
cd "$(dirname "$0")/../.." || exit 1
how=$1
shift
passed=0
failed=0
points=0
kills=0
run() {
	local out status last
	out=$("$@" 2>&1)
	status=$?
	last=$(printf '%s\n' "$out" | tail -1)
	printf '%-60s %s\n' "$*" "${last#sweep: }"
	points=$((points + $(printf '%s\n' "$last" | sed -n 's/^sweep: \([0-9]*\) points.*/\1/p;$a0' | head -1)))
	kills=$((kills + $(printf '%s\n' "$last" | sed -n 's/.* \([0-9]*\) kills.*/\1/p;$a0' | head -1)))
	if [ "$status" -eq 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf '%s\n' "$out" | grep -A1 FAIL | head -40
	fi
}
for program in "$@"; do
	case $how in
	full) # with SWEEP_BUDGET about so many seconds a mode, thinned out evenly; else all of it
		b=${SWEEP_BUDGET:-3600}
		run "$program" --snapshot
		run "$program" --nested=$((600 / b + 1)) --budget $((2 * b))
		run "$program" --real --sample $((3600 / b)) --budget $((2 * b))
		run "$program" --pairs --sample $((2400 / b + 3)) --budget $((2 * b))
		run "$program" --signals --sample $((600 / b + 1)) --budget "$b"
		;;
	sample) # less than 25 s together, also where it is slow
		run "$program" --snapshot --thin --sample 9 --budget 5
		run "$program" --nested=40 --thin --budget 5
		run "$program" --real --thin --sample 200 --budget 8
		run "$program" --pairs --thin --sample 97 --budget 5
		run "$program" --signals --sample 199 --budget 5
		;;
	esac
done
echo "sweep: $points points, $kills kills"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
