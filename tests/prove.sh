#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# prove.sh full|ci: every instrument, and one table of what was reached.  full: to the figures that
# are demanded; one that is missed fails.  ci: BUDGET minutes (40) for it all, and it ends with the
# first that fails.  SEED (else from the clock) moves all that is drawn or sampled.
set -u
cd "$(dirname "$0")/.." || exit 1
how=$1
budget=$((${BUDGET:-40} * 60))
export SEED=${SEED:-$(($(date +%s) / 60 % 1000000))}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0
shares=0
SECONDS=0
[ "$how" = full ] || export FAIL_EARLY=1
echo "seed: SEED=$SEED make $([ "$how" = full ] && echo prove || echo ci)"

# What a full run owes: the name a runner says "reached" of, the order, the figure.
demands='litmus sets exact|>=|39
litmus, each, times on processors|>=|10000000
model executions|>=|20000000
two threads, in all orders|>=|models of two threads, without deaths
models without a broken twin|<=|0
broken twins caught|>=|broken twins
faults seen by the sweep|>=|13
snapshot|>=|300000
real|>=|30000
pairs|>=|10000
pairs, stopped by SIGSTOP|>=|4000
lost, doubled, wedged|<=|0
snapshot, states cut short|<=|0
worst recovery, us|<=|100000
linearizable histories|>=|5000000
overlapping pairs, procs, %|>=|30
faults found|>=|faults'
[ "$how" = ci ] || demands="$demands
checks skipped|<=|0
peers left out|<=|0"

figure() { # name
	sed -n "s/^|[^|]*| *$(sed 's/[.*^$/[]/\\&/g' <<<"$1") *| *\([0-9]*\) *|.*/\1/p" "$work/table" | tail -1
}

# Rows of the table: what the step says it reached, or its own count.
note() { # step, status, seconds, log
	local name number order wanted verdict seconds=$3
	grep -q '^reached ' "$4" || echo "reached checks passed: $(sed -n 's/^\([0-9]*\) passed, [0-9]* failed$/\1/p' "$4" | tail -1 | grep . || echo "$((1 - $2))")" >>"$4"
	while IFS= read -r line; do
		name=${line#reached }
		number=${name##*: }
		name=${name%: *}
		order=$(grep -F "$name|" <<<"$demands" | grep "^$name|" | cut -d'|' -f2)
		wanted=$(grep -F "$name|" <<<"$demands" | grep "^$name|" | cut -d'|' -f3)
		verdict=
		[ "$name" != "checks passed" ] || [ "$number" -gt 0 ] || missed=1
		if [ "$order" ]; then
			[[ $wanted =~ ^[0-9]+$ ]] || wanted=$(figure "$wanted")
			verdict="$order $wanted"
			if ! [[ $number =~ ^[0-9]+$ && $wanted =~ ^[0-9]+$ ]]; then
				verdict="$verdict NO NUMBER"
				missed=1
			elif [ "$order" = '>=' ] && [ "$number" -eq 0 ]; then
				verdict="$verdict NOTHING"
				missed=1
			elif { [ "$order" = '>=' ] && [ "$number" -lt "$wanted" ]; } || { [ "$order" = '<=' ] && [ "$number" -gt "$wanted" ]; }; then
				if [ "$how" = full ] || [ "$order" = '<=' ]; then
					verdict="$verdict MISSED"
					missed=1
				else
					verdict="($verdict in make prove)"
				fi
			fi
		fi
		printf '| %-36s | %-38s | %10s | %-30s | %7s |\n' "$1" "$name" "$number" "$verdict" "$seconds" >>"$work/table"
		seconds=
	done < <(grep '^reached ' "$4")
}

step() { # name, command...
	local name=$1 began=$SECONDS status
	shift
	if [ "$failed" -gt 0 ] && [ "$how" = ci ]; then
		printf '| %-36s | %-38s | %10s | %-30s | %7s |\n' "$name" "not run" "" "" "" >>"$work/table"
		return
	fi
	echo "== $name"
	missed=0
	"$@" 2>&1 | tee "$work/log"
	status=${PIPESTATUS[0]}
	note "$name" "$status" $((SECONDS - began)) "$work/log"
	if [ "$status" -eq 0 ] && [ "$missed" -eq 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $name"
	fi
}

# One of those that take what time they get: its share of what is left.
share() { # name, share of `shares`, make target
	local use=$(((budget - SECONDS) * $2 / shares))
	shares=$((shares - $2))
	if [ "$how" = full ]; then
		step "$1" "${make[@]}" "$3"
	else
		step "$1" env SECONDS_TO_USE=$((use > 40 ? use : 40)) "${make[@]}" HOW=timed "$3"
	fi
}

make=(make --no-print-directory)
[ "$how" = ci ] || tests/deps.sh libck-dev libboost-dev || exit 1 # the kill table's peers
step "gcc build, instruments" "${make[@]}" -j"$(nproc)" all instruments
[ "$how" = ci ] || step "unit tests, command line, examples" "${make[@]}" check
step "clang build" "${make[@]}" -j"$(nproc)" BUILD=build/clang-all CC=clang all
step "clang-tidy" tests/analyse.sh
step "unit tests, ASan and UBSan" tests/sanitize.sh units
step "command line, ASan, UBSan, LSan" tests/sanitize.sh commands
step "gateway, ASan, UBSan, LSan" tests/sanitize.sh gateway
step "environment matrix" "${make[@]}" env-check
step "thread twins, ThreadSanitizer" "${make[@]}" tsan
step "kill harness: ours and its controls" "${make[@]}" kill-check
[ "$how" = ci ] || step "kill harness: all peers" "${make[@]}" kill-table
step "demo" "${make[@]}" demo
step "demo, WAIT=1" examples/gateway/live.sh
shares=100
share "model checker" 45 model
share "kill sweep" 40 sweep
share "linearizability" 15 lin
while IFS='|' read -r name _; do # A runner that ends well and says nothing proves nothing.
	[ "$failed" -gt 0 ] || [ "$(figure "$name")" ] || {
		failed=1
		echo "FAILED: nobody says what was reached of: $name"
	}
done <<<"$demands"
echo
echo "seed: SEED=$SEED make $([ "$how" = full ] && echo prove || echo ci); $(nproc) processors, $(uname -sr); $SECONDS seconds"
echo
printf '| %-36s | %-38s | %10s | %-30s | %7s |\n' instrument what reached demanded seconds
echo "|---|---|---|---|---|"
cat "$work/table"
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
