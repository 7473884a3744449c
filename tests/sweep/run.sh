#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# run.sh full|timed|sample PROGRAM...: the sweep's modes.  timed: all but the snapshots, which are
# complete there too, thinned out to SECONDS_TO_USE.
# SEED moves counters on, and what is sampled.
set -u
cd "$(dirname "$0")/../.." || exit 1
how=$1
shift
seed=${SEED:-1}
. tests/jobs.bash

# Snapshots, and every Kth of states in recovery, instructions killed at, pairs, signals.
sweep() { # program, seconds for each mode at most, K snapshot, K...
	local program=$1 most=$2
	job "$program" --snapshot --sample "$3" --budget 3600 --seed "$seed"
	job "$program" --nested="$4" --budget "$most" --seed "$seed"
	job "$program" --real --sample "$5" --budget "$most" --seed "$seed"
	job "$program" --pairs --sample "$6" --budget "$most" --seed "$seed"
	job "$program" --signals --sample "$7" --budget "$most" --seed "$seed"
}
for program in "$@"; do
	case $how in
	full)
		sweep "$program" 3600 1 4 2 6 4
		job "$program" --snapshot --seed $((seed + 1))
		;;
	timed) # snapshots take half a minute, the rest 750 seconds / k; more than half of the time is spare
		k=$(awk "BEGIN {t = 0.6 * $SECONDS_TO_USE * ${#jobs_cpus[@]} / $# - 30; k = t < 1 ? 750 : 750 / t; print int(k) + 1}")
		sweep "$program" $((SECONDS_TO_USE * ${#jobs_cpus[@]} / $# / 2)) 1 $((k * 3)) $((k * 2)) $((k * 3)) "$k"
		;;
	sample) # less than 25 s together, also where it is slow
		job "$program" --snapshot --thin --sample 9 --budget 5 --seed "$seed"
		job "$program" --nested=60 --thin --budget 5 --seed "$seed"
		job "$program" --real --thin --sample 200 --budget 8 --seed "$seed"
		job "$program" --pairs --thin --sample 97 --budget 5 --seed "$seed"
		job "$program" --signals --sample 199 --budget 5 --seed "$seed"
		;;
	esac
done
wait
cat "$jobs_dir"/[0-9]* >build/sweep.log
for mode in snapshot real nested pairs signals; do
	reached "$mode" "$(total "s/^sweep: $mode: \([0-9]*\) points.*/\1/p")"
done
reached "snapshot, compare and swaps" "$(total 's/^sweep: \([0-9]*\) compare and swaps, .*/\1/p' max)"
reached "snapshot, of them lost" "$(total 's/^sweep: .* compare and swaps, \([0-9]*\) of them lost$/\1/p' max)"
reached "snapshot, states cut short" "$(total 's/^sweep: \([0-9]*\) states cut short$/\1/p')"
reached "pairs, stopped by SIGSTOP" "$(total 's/^sweep: \([0-9]*\) pairs stopped by SIGSTOP$/\1/p')"
reached "lost, doubled, wedged" "$(total 's/^sweep: .* \([0-9]*\) lost, \([0-9]*\) doubled, \([0-9]*\) wedged$/\1\n\2\n\3/p')"
reached "worst recovery, us" "$(total 's/^sweep: worst recovery \([0-9]*\) us$/\1/p' max)"
jobs_end
