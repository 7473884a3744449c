#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The main job: a gateway under load while a worker, all pipeline stages and the upstream fail.
# Ends with measured facts, each checked; exit 1 if one does not hold.
#
#	WAIT=1	keep the gateway up until Ctrl-C, with light traffic, to look at with weir
#	KEEP=1	keep the access log and the books

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. examples/gateway/abuse.sh
. examples/gateway/trace.sh

SECONDS_SENT=24
CONNECTIONS=24

# wrk_start SECONDS PAUSE_MS
wrk_start() {
	WRK_OUT=$GATEWAY_RUN/wrk.stat wrk -t2 -c$CONNECTIONS -d$(($1 + 3)) --timeout 15s \
		-s examples/gateway/wrk.lua "http://127.0.0.1:$PORT" -- "$1" "$2" \
		>"$GATEWAY_RUN/wrk.out" 2>&1 &
	wrk_pid=$!
	helpers+=($wrk_pid)
}

look_around() {
	wrk_start 86400 40
	cat <<-END

	The gateway is up on port $PORT, its segment is $WEIR_DIR/gateway.
	In a second terminal:

	  cd $PWD; export WEIR_DIR=$WEIR_DIR GATEWAY_RUN=$GATEWAY_RUN
	  $weir ls gateway                    what is in the segment
	  $weir ps gateway                    who takes part, holds, waits
	  $weir show gateway:permits          one object, all fields
	  $weir stat gateway 1                rates, every second
	  $weir events -f gateway             what happens
	  $weir trace -f gateway              spans, and waits from eBPF
	  kill -9 \$(cat $GATEWAY_RUN/worker-2.pid)
	  kill -USR1 \$(cat $GATEWAY_RUN/upstream.pid)     the upstream fails; -USR2: it heals
	  curl -i -H 'X-Client: me' http://127.0.0.1:$PORT/report

	Ctrl-C ends it.
	END
	wait $wrk_pid
}

kill_worker() {
	say 'A worker is killed while it holds all permits'
	"$gateway" killprobe "$PORT" >"$GATEWAY_RUN/kill.stat" || {
		fact 'no worker could be killed' 0
		return
	}
	. "$GATEWAY_RUN/kill.stat"
	fact "worker $kill_worker held $kill_used of 8, $kill_waiters processes waiting; a permit was \
taken again $((kill_back_us / 1000)).$(((kill_back_us / 100) % 10)) ms after SIGKILL" \
		"kill_used == 8 && kill_waiters > 0 && kill_back_us <= 100000"
	for _ in $(seq 100); do
		workers=0
		for pid in $(cat "$GATEWAY_RUN"/worker-*.pid); do
			((pid == kill_worker)) || ! kill -0 "$pid" 2>/dev/null || workers=$((workers + 1))
		done
		((workers < 4)) || break
		sleep 0.05
	done
	fact "workers at work without it: $workers" 'workers == 4'
}

kill_stage() {
	local pid
	pid=$(pid_of "$1")
	kill -KILL "$pid"
	replaced "$1" "$pid"
	fact "$1 $pid killed, $(pid_of "$1") goes on" "$(pid_of "$1") != $pid"
}

# The last stage stops, so the queues before it fill up and batch has a batch in its hands that it
# cannot send: killed in that moment it has most to lose.
kill_stages() {
	say 'Each pipeline stage is killed under load'
	kill -STOP "$(pid_of write)"
	await 'batches_left >= 64 && filtered_left > 32'
	fact "write stopped: $batches_left batches wait for it, $filtered_left records for batch" \
		'batches_left >= 64 && filtered_left > 32'
	kill_stage batch
	kill_stage write
	sleep 0.5
	kill_stage filter
	sleep 0.5
	kill_stage parse
}

# Polls the books until CONDITION holds, 6 seconds at most.
await() {
	local i
	for i in $(seq 120); do
		eval "$("$gateway" books)"
		(($1)) && return 0
		sleep 0.05
	done
	return 1
}

fail_upstream() {
	local pid
	say 'The upstream fails, and heals'
	pid=$(pid_of upstream)
	kill -USR1 "$pid"
	await 'breaker_opened > 0'
	fact "breaker open for all workers after $breaker_failures failures" 'breaker_opened == 1'
	kill -USR2 "$pid"
	await 'breaker_mode == 0'
	fact "breaker closed again after $breaker_probes probes" 'breaker_mode == 0 && breaker_closed == 1'
}

report_limits() {
	say 'Limits'
	fact "requests sent $wrk_sent, answered $wrk_answered: 200 ${wrk_200:-0}, 429 ${wrk_429:-0}, \
502 ${wrk_502:-0}, 503 ${wrk_503:-0}; p50 ${wrk_p50_us%.*} us, p99 ${wrk_p99_us%.*} us" \
		'wrk_answered > 10000 && wrk_200 > 1000 && wrk_429 > 1000'
	admitted=$((wrk_answered - wrk_429))
	fact "admitted by wrk's count $admitted <= $limiter_allowed of the limiter's own" \
		'admitted <= limiter_allowed'
	fact "admitted without a record: $((limiter_allowed - log_admitted)), at most what the killed \
worker had in work: $lost of wrk and 2 of the killer" \
		'limiter_allowed >= log_admitted && limiter_allowed - log_admitted <= lost + 2'
	fact "refused by wrk's count $wrk_429 <= $log_limited in the log <= $limiter_denied of the limiter" \
		'wrk_429 <= log_limited && log_limited <= limiter_denied'
	fact "clients above 200/s + 100 at once: $log_over; nearest: $tight_client, $tight_count of \
$tight_max" 'log_over == 0'
	fact "refused of w-quiet, which keeps its limit: $log_quiet_limited" 'log_quiet_limited == 0'
	fact "weight in the upstream at once: $up_weight_max of 8 ($up_weight_dying_max while the killed \
worker's $up_dropped calls were ending); $sem_waits of $sem_acquires waited" \
		'up_weight_max == 8 && sem_waits > 0'
	fact "breaker opened $breaker_opened time, closed $breaker_closed, $breaker_rejected calls spared" \
		'breaker_opened == 1 && breaker_reopened == 0 && breaker_closed == 1 && breaker_rejected > 0'
	fact "half-open probes $breaker_probes of 3, seen by the upstream $up_probes, at once $up_probes_max" \
		'breaker_probes <= 3 && breaker_probes > 0 && up_probes <= breaker_probes && up_probes_max <= 3'
}

report_log() {
	local key name missing=0 more=0
	say 'Access log'
	fact "records committed $((log_sent - log_skipped)), on disk $log_lines; twice $log_twice, \
broken $log_malformed, numbers missing $log_gaps" \
		'log_lines == log_sent - log_skipped && !log_twice && !log_malformed && !log_gaps'
	fact "delivered again to the stages that replaced killed ones: $log_again + $parsed_again + \
$filtered_again + $batches_again" 'log_again + parsed_again + filtered_again + batches_again > 0'
	for key in $(grep -oh '^wrk_[0-9]*\|^log_wrk_[0-9]*' "$GATEWAY_RUN/wrk.stat" \
		"$GATEWAY_RUN/audit.stat" | sed 's/.*_//' | sort -u); do
		name=log_wrk_$key
		local logged=${!name:-0}
		name=wrk_$key
		local seen=${!name:-0}
		((logged >= seen)) && more=$((more + logged - seen)) || missing=$((missing + seen - logged))
	done
	fact "answers that wrk got and the log has not: $missing; records whose answer wrk did not get: \
$more, requests lost with the killed worker: $lost" \
		"missing == 0 && more <= lost && lost <= $CONNECTIONS"
}

report_end() {
	local left
	say 'Nothing left behind'
	fact "permits in use $sem_used, ledger off by $sem_diff, in line $sem_waiters; messages left \
$((log_left + parsed_left + filtered_left + batches_left)); work in the upstream $up_weight_left" \
		'!sem_used && !sem_diff && !sem_waiters && !(log_left + parsed_left + filtered_left + batches_left) && !up_weight_left'
	fact "master ended with $stopped" '!stopped'
	left=$(ls -A "$WEIR_DIR")
	fact "files in the segment directory: ${left:-none}" "$(printf %s "$left" | wc -c) == 0"
}

begin=$SECONDS
gateway_start
if [ -n "${WAIT:-}" ]; then
	trap 'exit 0' INT TERM
	look_around
	exit 0
fi
say "4 workers, 4 stages, 1 batch job and an upstream share $WEIR_DIR/gateway; wrk sends for \
$SECONDS_SENT s"
wrk_start $SECONDS_SENT 5
sleep 1
trace_start
sleep 4
kill_worker
sleep 1
kill_stages
fail_upstream
wait $wrk_pid
[ -s "$GATEWAY_RUN/wrk.stat" ] || cat "$GATEWAY_RUN/wrk.out"
say 'Absurd requests'
abuse
abuse_books
gateway_stop
"$gateway" audit "$GATEWAY_RUN/access.log" >"$GATEWAY_RUN/audit.stat"
for file in books audit.stat wrk.stat upstream.stat; do
	. "$GATEWAY_RUN/$file"
done
lost=$((wrk_sent - wrk_answered))
report_limits
report_log
trace_report
report_end
echo
echo "$((SECONDS - begin)) s; $failures of the facts do not hold"
exit $((failures != 0))
