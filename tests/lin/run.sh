#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# run.sh full|sample BUILD: histories of all profiles and generators; then the faults that must be
# found.  The last line counts the runs and the faults.
set -u
cd "$(dirname "$0")/../.." || exit 1
how=$1
build=$2
passed=0
failed=0
histories=0
run() {
	local out status n
	out=$("$@" 2>&1)
	status=$?
	n=$(printf '%s\n' "$out" | tail -1 | sed -n 's/.*: *\([0-9]*\) histories.*/\1/p')
	histories=$((histories + ${n:-0}))
	printf '%s\n' "$out" | tail -1
	if [ "$status" -eq 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf '%s\n' "$out" | head -60
	fi
}
walks="queue queue-loan queue-wait sem sem-line sem-wait sem-resize limiter keyed directory"
others="queue queue-loan sem sem-line sem-resize limiter keyed directory"
case $how in
full)
	b=${LIN_BUDGET:-120} # about so many seconds
	seed=${LIN_SEED:-1}
	w=$(awk "BEGIN {print $b * 0.7 / 20}")
	o=$(awk "BEGIN {print $b * 0.25 / 32}")
	for p in $walks; do
		run "$build/lin/lin" --walk --profile "$p" --seconds "$w" --seed "$seed"
		run "$build/lin/lin" --walk --profile "$p" --seconds "$w" --seed "$seed" --crash 80
	done
	for p in $others; do
		run "$build/lin/lin" --procs --profile "$p" --seconds "$o" --seed "$seed"
		run "$build/lin/lin" --procs --profile "$p" --seconds "$o" --seed "$seed" --crash 50
		run "$build/lin/step" --step --profile "$p" --seconds "$o" --seed "$seed"
		run "$build/lin/step" --step --profile "$p" --seconds "$o" --seed "$seed" --crash 50
	done
	faults=$(LIN_BROKEN_SECONDS=20 tests/lin/broken.sh run "$build")
	;;
sample) # less than 10 s
	for p in $walks; do
		run "$build/lin/lin" --walk --profile "$p" --seconds 0.15
		run "$build/lin/lin" --walk --profile "$p" --seconds 0.15 --crash 80
	done
	for p in queue sem-line; do
		run "$build/lin/lin" --procs --profile "$p" --seconds 0.2
		run "$build/lin/lin" --procs --profile "$p" --seconds 0.2 --crash 50
		run "$build/lin/step" --step --profile "$p" --histories 2 --crash 50
	done
	faults=$(LIN_BROKEN_SECONDS=5 tests/lin/broken.sh run "$build")
	;;
esac
printf '%s\n' "$faults"
last=$(printf '%s\n' "$faults" | tail -1)
passed=$((passed + $(printf '%s\n' "$last" | sed 's/ passed.*//')))
failed=$((failed + $(printf '%s\n' "$last" | sed 's/.*, \([0-9]*\) failed/\1/')))
echo "lin: $histories linearizable histories"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
