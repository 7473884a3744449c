#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# run.sh full|timed|sample BUILD: histories of all profiles and generators, then the faults that must
# be found.  full: for LIN_BUDGET seconds of processor time (300), timed: for SECONDS_TO_USE.  SEED is
# where the seeds of the histories begin.
set -u
cd "$(dirname "$0")/../.." || exit 1
how=$1
build=$2
seed=$((${SEED:-1} * 10000000))
. tests/jobs.bash
walks="queue queue-loan queue-wait sem sem-line sem-wait sem-resize limiter keyed directory"
others="queue queue-loan sem sem-line sem-resize limiter keyed directory"

lin() { # seconds for each walk, for each of the others, and for each fault
	for p in $walks; do
		job "$build/lin/lin" --walk --profile "$p" --seconds "$1" --seed $seed
		job "$build/lin/lin" --walk --profile "$p" --seconds "$1" --seed $seed --crash 80
	done
	for p in $others; do
		alone "$build/lin/lin" --procs --profile "$p" --seconds "$2" --seed $seed
		alone "$build/lin/lin" --procs --profile "$p" --seconds "$2" --seed $seed --crash 50
		job "$build/lin/step" --step --profile "$p" --seconds "$2" --seed $seed
		job "$build/lin/step" --step --profile "$p" --seconds "$2" --seed $seed --crash 50
	done
	job env LIN_BROKEN_SECONDS="$3" tests/lin/broken.sh run "$build"
}
case $how in
full) b=${LIN_BUDGET:-300} ;;
timed) b=$(awk "BEGIN {b = ($SECONDS_TO_USE - 20) * ${#jobs_cpus[@]} * 0.7; print (b > 5 ? b : 5)}") ;;
sample) # less than 10 s
	for p in $walks; do
		job "$build/lin/lin" --walk --profile "$p" --seconds 0.15 --seed $seed
		job "$build/lin/lin" --walk --profile "$p" --seconds 0.15 --seed $seed --crash 80
	done
	for p in queue sem-line; do
		alone "$build/lin/lin" --procs --profile "$p" --seconds 0.2 --seed $seed
		alone "$build/lin/lin" --procs --profile "$p" --seconds 0.2 --seed $seed --crash 50
		job "$build/lin/step" --step --profile "$p" --histories 2 --seed $seed --crash 50
	done
	job env LIN_BROKEN_SECONDS=5 tests/lin/broken.sh run "$build"
	;;
esac
[ "$how" = sample ] || lin "$(awk "BEGIN {print $b * 0.7 / 20}")" "$(awk "BEGIN {print $b * 0.25 / 32}")" 20
wait
reached "linearizable histories" "$(total 's/.*: *\([0-9]*\) histories, .*/\1/p')"
for mode in walk procs; do
	reached "overlapping pairs, $mode, %" "$(cat "$jobs_dir"/[0-9]* | sed -n "s/^[a-z-]* *$mode .*: *\([0-9]*\) histories,.* \([0-9]*\)% of pairs.*/\1 \2/p" |
		awk '{n += $1; t += $1 * $2} END {printf "%d\n", n ? t / n : 0}')"
done
reached faults "$(grep -cE '^(LIN_BROKEN_SECONDS=[0-9.]+ )?(mutant|row) "' tests/lin/broken.sh)"
reached "faults found" "$(cat "$jobs_dir"/[0-9]* | grep -cE '^\| .* \| ([0-9]+|at once|nothing in [0-9]+, rightly) \|$')"
jobs_end
