#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The model checker: run.sh full|sample|timed BUILD.  full: MODEL_BUDGET seconds for each model (120).
# timed: SECONDS_TO_USE for it all.  SEED moves the random walks.
set -u
cd "$(dirname "$0")/../.." || exit 1
how=$1
build=$2
seed=${SEED:-1}
. tests/jobs.bash
model=$build/model/model
mapfile -t models < <("$model" --list | awk '{print $1 ($2 == "deaths" ? "/" : "")}') # "/": somebody may die
mapfile -t twins < <(sed -n 's/^twin //p' tests/model/twins.txt | grep -v '^control')

# Those of two threads that are alive end by themselves: `make prove` lets them.
pairs=" $("$model" --list | awk '$3 == 2 {print $1}' | tr '\n' ' ')"
deep() { # seconds per model, per twin, per model of two threads alive
	local alive
	for m in "${models[@]}"; do
		[ "$m" = "${m%/}" ] || job "$model" --model "${m%/}" --budget "$1" --seed "$seed"
		# Alive; what was searched in all orders must contain what random walks reach.
		alive=$1
		[[ $pairs != *" ${m%/} "* ]] || alive=$3
		job "$model" --model "${m%/}" --no-kills --cross 100000 --budget "$alive" --seed "$seed"
	done
	for t in "${twins[@]}"; do JOBS_QUIET=1 job tests/model/twins.sh "$build" "$2" "$t"; done
}
job "$model" --litmus
JOBS_QUIET=1 job tests/model/twins.sh "$build" 20 control control-no-tag
case $how in
full)
	deep "${MODEL_BUDGET:-120}" 60 3600
	iterations=10000000
	;;
timed) # half of the searches use all that they may; the twins take two seconds each, to compile
	b=$(awk "BEGIN {t = ($SECONDS_TO_USE - 30) * ${#jobs_cpus[@]} - 2 * ${#twins[@]}; b = t / (0.5 * 1.5 * ${#models[@]}); print (b > 0.2 ? b : 0.2)}")
	deep "$b" 20 "$b"
	iterations=300000
	;;
sample)
	job "$model" --quick --budget 0.15
	for t in sem-cas-relaxed queue-no-seal span-no-fence; do JOBS_QUIET=1 job tests/model/twins.sh "$build" 4 $t; done
	iterations=10000
	;;
esac
alone "$build/litmus-hw" "$iterations"
wait
cat "$jobs_dir"/[0-9]* >"$build/model/log"
# The twins, what noticed each; and what the processors did.
grep -hE '^(ok|FAIL) +twin |^litmus-hw' "$build/model/log"
names() { # how many different ones are fine
	grep -E "^ok +$1" "$build/model/log" | awk '{print $2 == "litmus" || $2 == "twin" ? $3 : $2}' | sort -u | wc -l
}
reached "litmus sets exact" "$(names 'litmus ')"
reached "litmus, each, times on processors" "$(sed -n 's/^litmus-hw .* \([0-9]*\) runs:.*/\1/p' "$build/model/log" | sort -n | head -1)"
reached "model executions" "$(total 's/^model: \([0-9]*\) executions.*/\1/p')"
reached "models of two threads, without deaths" "$(names '[a-z0-9-]+ +2 threads .* 0 kills')"
reached "two threads, in all orders" "$(names '[a-z0-9-]+ +2 threads .* 0 kills.* all$')"
reached "linearizable histories in C11's memory" "$(awk '$1 == "ok" && $2 ~ /^lin-/ {n += $5 - $7} END {print n + 0}' "$build/model/log")"
reached "places of death in models" "$(total 's/^ok .* \([0-9]*\) kills, .*/\1/p')"
reached "places of death, in all orders" "$(total 's/^ok .* kills, *\([0-9]*\) in all orders .*/\1/p')"
reached "models without a broken twin" "$(comm -23 <(printf '%s\n' "${models[@]%/}" | sort) \
	<(sed -n 's/^model //p' tests/model/twins.txt | tr , '\n' | awk '{print $1}' | sort -u) | wc -l)"
[ "$how" = sample ] || reached "broken twins" ${#twins[@]}
reached "broken twins caught" "$(names 'twin ')"
jobs_end
