# SPDX-License-Identifier: MIT OR Apache-2.0
# Sourced by the instruments' run.sh: commands side by side, one on each processor; what they print
# is kept and added up.  A command's own count ("N passed, N failed" at its end) counts, else its
# exit status.  With FAIL_EARLY set no further one starts after a failure.
mapfile -t jobs_cpus < <(for ((c = 0; c < $(nproc --all); c++)); do taskset -c "$c" true 2>/dev/null && echo "$c"; done)
jobs_dir=$(mktemp -d)
trap 'rm -rf "$jobs_dir"' EXIT
jobs_count=0
jobs_busy=()

jobs_run() { # number, processors, command...
	local n=$1 on=$2 status last
	shift 2
	taskset -c "$on" "$@" >"$jobs_dir/$n" 2>&1
	status=$?
	last=$(tail -1 "$jobs_dir/$n")
	if [ "$status" -ne 0 ]; then
		grep -vE ' passed, 0 failed$' "$jobs_dir/$n" | head -60
		[[ $last =~ ^[0-9]+\ passed,\ [1-9][0-9]*\ failed$ ]] ||
			printf '\n0 passed, 1 failed\n' >>"$jobs_dir/$n" # It may have died in a line.
		echo "FAILED ($status): $*"
		touch "$jobs_dir/failed"
	elif [[ $last =~ ^[0-9]+\ passed,\ [0-9]+\ failed$ ]]; then
		[ "${JOBS_QUIET:-}" ] || printf '%s\n' "${last/, 0 failed/}: ${*##*/}"
	else
		printf '%s\n' "$last"
		printf '\n1 passed, 0 failed\n' >>"$jobs_dir/$n"
	fi
	touch "$jobs_dir/ended.$n"
}

# Start a command beside the others, as soon as a processor is free.
job() {
	local lane
	while :; do # Ends: each started command ends.
		[ -z "${FAIL_EARLY:-}" ] || [ ! -e "$jobs_dir/failed" ] || return
		for lane in "${!jobs_cpus[@]}"; do
			[ -n "${jobs_busy[lane]:-}" ] && kill -0 "${jobs_busy[lane]}" 2>/dev/null || break 2
		done
		wait -n
	done
	jobs_count=$((jobs_count + 1))
	jobs_run "$jobs_count" "${jobs_cpus[lane]}" "$@" &
	jobs_busy[lane]=$!
}

# Run a command when no other runs, on all processors.
alone() {
	wait
	[ -z "${FAIL_EARLY:-}" ] || [ ! -e "$jobs_dir/failed" ] || return
	jobs_count=$((jobs_count + 1))
	jobs_run "$jobs_count" "$(IFS=,; echo "${jobs_cpus[*]}")" "$@"
}

# The sum, or with `max` the largest, of the numbers that a sed expression finds in all that was printed;
# nothing if it finds none.
# First wait: in $(total ...) it would have no effect.
total() { # sed expression, [max]
	cat "$jobs_dir"/[0-9]* | sed -n "$1" | awk -v how="${2:-sum}" '
		{t = how == "sum" ? t + $1 : $1 > t ? $1 : t}
		END {if (NR) printf "%d\n", t}'
}

# A figure for the table of prove.sh.
reached() { # name, number
	printf 'reached %s: %s\n' "$1" "$2"
}

# Wait for all, print the count, and return whether all ended, something passed and nothing failed.
jobs_end() {
	local failed passed n
	wait
	passed=$(total 's/^\([0-9]*\) passed, [0-9]* failed$/\1/p')
	failed=$(total 's/^[0-9]* passed, \([0-9]*\) failed$/\1/p')
	for ((n = 1; n <= jobs_count; n++)); do
		[ -e "$jobs_dir/ended.$n" ] || failed=$((failed + 1))
	done
	[ "${failed:-0}" -gt 0 ] || [ ! -e "$jobs_dir/failed" ] || failed=1
	[ "${passed:-0}" -gt 0 ] || failed=$((failed + 1))
	echo "${passed:-0} passed, ${failed:-0} failed"
	[ "${failed:-0}" -eq 0 ]
}
