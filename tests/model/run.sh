#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The model checker: run.sh full|sample BUILD.  BUDGET: seconds per model in the full run.
set -u
how=$1
build=$2
budget=${BUDGET:-40}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0
failed=0
step() { # command...
	local tally
	"$@" >"$log" 2>&1
	local status=$?
	if [ "$how" = full ] || [ $status -ne 0 ]; then grep -v ' passed, ' "$log"; fi
	tally=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -1)
	passed=$((passed + ${tally%% *}))
	failed=$((failed + $(sed 's/.*, \([0-9]*\) .*/\1/' <<<"$tally")))
	[ -n "$tally" ] && [ $status -le 1 ] || { echo "FAIL $*: ended with status $status"; failed=$((failed + 1)); }
	tally=$(sed -n 's/^model: \([0-9]*\) .*/\1/p' "$log" | tail -1)
	executions=$((executions + ${tally:-0}))
}
executions=0
if [ "$how" = full ]; then
	step "$build/model/model" --litmus
	step "$build/model/model" --budget "$budget"
	step "$build/model/model" --budget "$budget" --no-kills --cross 100000
	step tests/model/twins.sh "$build" "$budget"
	step "$build/litmus-hw" 1000000
else
	step "$build/model/model" --litmus
	step "$build/model/model" --quick --budget 0.15
	step tests/model/twins.sh "$build" 4 sem-cas-relaxed queue-no-seal span-no-fence
	step "$build/litmus-hw" 10000
fi
echo "model: $executions executions, more than that in the twins"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
