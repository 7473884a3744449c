#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The weir command: what every command does, how it fails, and that it survives what others wrote.
# One line per case, the last line counts; BUILD names the build directory, V=1 shows output,
# FUZZ=N damages N segments.
set -u
cd "$(dirname "$0")/../.." || exit 1
W=$PWD/${BUILD:-build}/weir
WEIR_DIR=$(mktemp -d "${TMPDIR:-/tmp}/weir-cli.XXXXXX")
T=$(mktemp -d "${TMPDIR:-/tmp}/weir-cli-t.XXXXXX")
export WEIR_DIR LC_ALL=C
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$WEIR_DIR" "$T"' EXIT
passed=0
failed=0
skipped=0

ok() { # name
	passed=$((passed + 1))
	echo "ok   $1"
}
bad() { # name, why
	failed=$((failed + 1))
	echo "FAIL $1: $2"
	sed 's/^/     | /' "$T/out" "$T/err" 2>/dev/null | head -20
}
that() { # name, command...: it succeeds
	local name=$1
	shift
	if "$@"; then ok "$name"; else bad "$name" "no"; fi
}
skip() { # name, why
	skipped=$((skipped + 1))
	echo "skip $1: $2"
}
# Run a command with its output in $T/out and $T/err; no terminal, no input.
run() {
	timeout 60 "$@" >"$T/out" 2>"$T/err" </dev/null
	status=$?
	[ -z "${V:-}" ] || sed 's/^/     . /' "$T/out" "$T/err"
}
# Every line of the output is a document with a schema.
is_stream() { jq -ce 'select(.schema)' <"$T/out" >/dev/null 2>&1 && [ -s "$T/out" ]; }
# case_ NAME STATUS [out:REGEX | err:REGEX | no:REGEX | json]... -- COMMAND...
case_() {
	local name=$1 want=$2 checks=() c
	shift 2
	while [ "$1" != -- ]; do
		checks+=("$1")
		shift
	done
	shift
	run "$@"
	if [ "$status" -ne "$want" ]; then
		bad "$name" "status $status, not $want"
		return 1
	fi
	for c in "${checks[@]}"; do
		case $c in
		out:*) grep -qE -- "${c#out:}" "$T/out" || { bad "$name" "no '${c#out:}' in the output"; return 1; } ;;
		err:*) grep -qE -- "${c#err:}" "$T/err" || { bad "$name" "no '${c#err:}' in the errors"; return 1; } ;;
		no:*) ! grep -qE -- "${c#no:}" "$T/out" "$T/err" || { bad "$name" "'${c#no:}' is there"; return 1; } ;;
		json) is_stream || { bad "$name" "not JSON with a schema"; return 1; } ;;
		esac
	done
	ok "$name"
}
# Wait up to 10 s for a command to succeed: events are awaited, never slept for.
await() {
	for _ in $(seq 200); do
		"$@" && return 0
		sleep 0.05
	done
	return 1
}
used() { # semaphore, permits
	"$W" sem status "$1" -J | jq -e ".objects[0].used == $2" >/dev/null
}
waiters() { # semaphore, how many
	"$W" sem status "$1" -J | jq -e ".objects[0].waiters == $2" >/dev/null
}
# Kill with -9 and reap, without bash's message.
slay() {
	kill -9 "$1"
	{ wait "$1"; } 2>/dev/null
}

# --- the table ------------------------------------------------------------------------------
case_ "no command: help on stderr, status 2" 2 err:'usage: weir COMMAND' -- "$W"
case_ "help" 0 out:'sem run' out:'examples:' -- "$W" help
case_ "--help" 0 out:'usage: weir' -- "$W" --help
case_ "--version" 0 out:'^weir [0-9]+\.' -- "$W" --version
case_ "version -v" 0 out:'layout stamp' out:'directory' -- "$W" version -v
case_ "version -J" 0 json out:'weir.version/1' -- "$W" version -J
case_ "unknown command: did you mean" 2 err:"Did you mean 'show'" err:W-USAGE -- "$W" shwo
case_ "unknown second word: did you mean" 2 err:"Did you mean 'rate take'" -- "$W" rate tkae
case_ "nothing like it: no guess" 2 no:'Did you mean' -- "$W" xylophone
case_ "a group alone lists its commands, status 2" 2 err:'sem status' -- "$W" sem
case_ "help of a group" 0 out:'queue peek' -- "$W" help queue
case_ "help of a command" 0 out:'Usage: weir sem run' out:'--permits' out:'124' -- "$W" help sem run
case_ "unknown option" 2 err:'--frobnicate' -- "$W" ls --frobnicate
case_ "a command that cannot do JSON refuses --json" 2 -- "$W" rm -J x
case_ "one argument too many" 2 err:'too many' -- "$W" ls a b
case_ "something is missing" 2 err:'missing' err:'usage  weir show' -- "$W" show
case_ "--json=yaml is refused" 2 err:'--json=lines' -- "$W" ls --json=yaml
"$W" completion bash >"$T/completion"
that "completion is valid bash" bash -n "$T/completion"
for c in ls show ps stat events check gc rm "sem run" "sem status" "sem resize" "rate take" \
	"rate status" "breaker run" "breaker status" "breaker open" "queue put" "queue get" \
	"queue peek" "queue close" doctor layout version completion; do
	# shellcheck disable=SC2086
	case_ "$c --help" 0 out:"Usage: weir $c" -- "$W" $c --help
done

# --- nothing there yet ----------------------------------------------------------------------
case_ "ls of nothing" 0 err:'no segments' -- "$W" ls
case_ "ls -J of nothing" 0 json out:'"segments": \[\]' -- "$W" ls -J
case_ "ps of nothing" 0 err:'no processes' -- "$W" ps
case_ "gc of nothing" 0 out:'nothing' -- "$W" gc
case_ "show of a missing segment" 3 err:W-ENOENT err:'hint' err:"path   $WEIR_DIR/shop" -- "$W" show shop
case_ "acting does not make other segments" 3 err:'W-ENOENT' err:'local' -- "$W" rate take shop:x 1/s
case_ "a missing directory says so" 3 err:'make that directory' -- env WEIR_DIR="$T/none" "$W" rate take x 1/s
case_ "ls in a missing directory" 0 err:'no segments' -- env WEIR_DIR="$T/none" "$W" ls
case_ "status does not create" 3 err:W-ENOENT -- "$W" rate status mail
case_ "take without a limit does not create" 3 err:'say the limit' -- "$W" rate take mail

# --- rate -----------------------------------------------------------------------------------
allowed=0
for _ in $(seq 20); do
	"$W" rate take mail 20/hour >/dev/null 2>&1 && allowed=$((allowed + 1))
done
that "20/hour: the first 20 takes, each a process, pass" [ $allowed -eq 20 ]
case_ "20/hour: the 21st is denied and told when" 1 err:'retry in 2 min' -- "$W" rate take mail 20/hour
case_ "events tell of the new limit" 0 out:'create +mail .*limiter' -- "$W" events
case_ "20/h is the same limit" 1 -- "$W" rate take mail 20/h
case_ "no limit given: the existing one counts" 1 -- "$W" rate take mail
case_ "-q: only the status" 1 no:'.' -- "$W" rate take mail -q
case_ "verdict as JSON" 1 json out:'"allowed": false' out:'"retry_after_ns": [1-9]' -- "$W" rate take mail -J
case_ "another limit is a contradiction that names both" 2 err:'20/h' err:'30/h' err:W-EEXIST -- "$W" rate take mail 30/hour
case_ "another burst is a contradiction" 2 err:'burst' -- "$W" rate take mail 20/hour --burst 5
case_ "a cost above the burst can never pass" 2 err:'never' -- "$W" rate take mail -n 21
case_ "burst" 0 -- "$W" rate take bursty 1/day --burst 3 -n 3
case_ "burst is used up" 1 -- "$W" rate take bursty
case_ "the limit alone does not contradict a burst" 1 -- "$W" rate take bursty 1/day
case_ "--timeout waits for its turn" 0 -- bash -c "$W rate take soon 1/200ms && $W rate take soon --timeout 5s"
case_ "--timeout too short: denied at once" 1 -- "$W" rate take bursty --timeout 1s
case_ "keys have limits of their own" 0 -- bash -c "$W rate take user 1/hour --key a && $W rate take user --key b"
case_ "a key used up" 1 -- "$W" rate take user --key a
case_ "a keyed limit wants a key" 2 err:'--key' -- "$W" rate take user
case_ "rate status" 0 out:'limit +20/h' out:'available +0' out:EMPTY -- "$W" rate status mail
case_ "rate status -J" 0 json out:'"available": 0' -- "$W" rate status mail -J
for l in 20 20/ /hour 0/s -1/s 1/0s 1/fortnight 1/s/s 99999999999999999999/s 1e3/s " 5/s" 17/ns; do
	case_ "limit '$l' is refused" 2 err:'W-' -- "$W" rate take -- nolimit "$l"
done
case_ "-n 0 is refused" 2 err:'from 1' -- "$W" rate take mail -n 0
case_ "-n x is refused" 2 err:'from 1' -- "$W" rate take mail -n x
takers=()
for _ in 1 2 3 4; do
	(for _ in $(seq 20); do "$W" rate take par 40/hour -q && echo x; done >>"$T/par") &
	takers+=($!)
done
wait "${takers[@]}"
that "40/hour: 4 at once, of 80 takes exactly 40 pass" [ "$(wc -l <"$T/par")" -eq 40 ]

# --- names ----------------------------------------------------------------------------------
for name in a/b .hidden -dash "sp ace" "$(printf 'x%.0s' $(seq 32))" "" "a:b:c" ":x" "local:" 'x*' $'a\e[31m'; do
	case_ "name $(printf %q "$name") is refused" 2 no:$'\e' -- "$W" rate take -- "$name" 1/s
done
case_ "31 characters are a name" 0 -- "$W" rate take "$(printf 'y%.0s' $(seq 31))" 1/s
case_ "a path names a segment" 0 out:'limit' -- "$W" show "$WEIR_DIR/local:mail"
case_ "acting on a path" 1 -- "$W" rate take "$WEIR_DIR/local:mail"
case_ "patterns" 0 out:'local:mail' out:'local:bursty' no:'local:user' -- "$W" show 'local:[mb]*'
case_ "a bare object where a segment is wanted: hint" 3 err:'local:mail' -- "$W" show mail
case_ "a misspelt object: did you mean" 3 err:'did you mean  local:mail' -- "$W" show local:mial

# --- sem ------------------------------------------------------------------------------------
case_ "sem run passes the status on" 7 -- "$W" sem run build --permits 4 -n 2 -- sh -c 'exit 7'
case_ "sem run passes output on" 0 out:'^hi$' -- "$W" sem run build -- echo hi
case_ "options of the command are its own" 0 out:'^-J --permits 9$' -- "$W" sem run build -- echo -J --permits 9
case_ "killed by a signal: 128 + n" 143 -- "$W" sem run build -- sh -c 'kill -TERM $$'
case_ "no such command: 127" 127 err:W-ENOENT -- "$W" sem run build -- /no/such/command
case_ "not executable: 126" 126 -- "$W" sem run build -- /etc/passwd
case_ "weight above permits: 125" 125 err:'more than there' -- "$W" sem run build --permits 4 -n 5 -- true
case_ "weight above those of an existing one: 125" 125 err:'there are 4' -- "$W" sem run build -n 5 -- true
case_ "other permits are a contradiction: 125, both named" 125 err:'has 4 permits' err:'says 3' -- "$W" sem run build --permits 3 -- true
case_ "--permits 0: 125" 125 err:'from 1' -- "$W" sem run zero --permits 0 -- true
case_ "--permits 1000001: 125" 125 err:'1000000' -- "$W" sem run big --permits 1000001 -- true
case_ "no --permits and no semaphore: 125" 125 err:'--permits N' -- "$W" sem run unknown -- true
case_ "another type: 125, both named" 125 err:"'mail' is a limiter, not a sem" -- "$W" sem run mail --permits 4 -- true
case_ "another type for rate: 2" 2 err:"is a sem, not a limiter" -- "$W" rate take build 1/s
case_ "nothing to run: 125" 125 err:'missing' -- "$W" sem run build
case_ "unknown option of sem run: 125" 125 -- "$W" sem run build --bogus -- true
case_ "after all that nothing is held" 0 out:'used +0' out:'holders +0' -- "$W" sem status build

"$W" sem run build -n 3 -- sleep 1000 &
holder=$!
that "3 of 4 are held" await used build 3
case_ "sem status names the holder" 0 out:"pid $holder .*permits 3" out:'used +3' -- "$W" sem status build
case_ "ps says what is held" 0 out:"$holder .*build:3" -- "$W" ps
case_ "ps -J" 0 json out:'"amount": 3' -- "$W" ps -J
case_ "ls shows the use" 0 out:'build +sem +ok +3 +4 +75' -- "$W" ls
case_ "--timeout: 124, and says who" 124 err:'3 of 4 permits are taken' err:W-ETIMEDOUT -- "$W" sem run build -n 2 --timeout 200ms -- true
case_ "--timeout 0: at once" 124 -- "$W" sem run build -n 2 --timeout 0 -- true
case_ "what fits goes ahead" 0 -- "$W" sem run build -n 1 --timeout 5s -- true
"$W" sem run build -n 2 -- sh -c "echo got >$T/got" &
waiter=$!
that "one waits" await waiters build 1
case_ "sem status names the waiter" 0 out:"pid $waiter .*permits 2  waited" -- "$W" sem status build
case_ "ps says who waits" 0 out:"$waiter .*build [0-9.]+ [mu]?s" -- "$W" ps
that "it has not got them yet" [ ! -e "$T/got" ]
child=$(pgrep -P $holder | head -1)
slay $holder
that "holder killed with -9: the waiter gets its permits" await test -s "$T/got"
that "and ends well" wait $waiter
gone() { ! kill -0 "$child" 2>/dev/null; }
that "the command of the killed one gets SIGTERM" await gone
case_ "nothing is held any more" 0 out:'used +0' -- "$W" sem status build
case_ "events tell of the death" 0 out:"death .*pid $holder was found dead" out:'reclaim +build' -- "$W" events local
"$W" sem run build -n 4 -- sleep 1000 &
holder=$!
await used build 4
slay $holder
case_ "killed with -9: back at once, nobody need wait" 0 -- "$W" sem run build -n 4 --timeout 5s -- true
"$W" sem run build -n 1 -- sh -c "trap 'echo term >$T/term; exit 9' TERM; echo up >$T/up; while :; do sleep 0.05; done" &
holder=$!
await test -s "$T/up"
kill -TERM $holder
wait $holder
that "SIGTERM is passed on, the status comes back" [ $? -eq 9 -a -s "$T/term" ]
"$W" sem run build -n 4 -- sleep 1000 &
holder=$!
await used build 4
"$W" sem run build -n 1 -- true 2>"$T/err" &
waiter=$!
await waiters build 1
kill -TERM $waiter
wait $waiter
that "SIGTERM while waiting: 143" [ $? -eq 143 ]
case_ "the line is empty again" 0 out:'waiters +0' -- "$W" sem status build
kill -TERM $holder
wait $holder
case_ "sem resize" 0 out:'4 -> 6' -- "$W" sem resize build 6
case_ "sem resize is told" 0 out:'resize +build .*4 -> 6' -- "$W" events
case_ "sem resize --dry-run changes nothing" 0 out:'would' -- bash -c "$W sem resize build 9 --dry-run && $W sem status build | grep -q 'permits  *6'"
case_ "sem resize 0" 2 -- "$W" sem resize build 0

# --- breaker --------------------------------------------------------------------------------
case_ "a failing command's status" 1 no:'is open' -- "$W" breaker run api --failures 2/10s --open-for 2s -- false
case_ "the second opens it" 3 -- "$W" breaker run api -- sh -c 'exit 3'
case_ "open: not run, status 1, says when" 1 err:'open: retry in' no:'^ran' -- "$W" breaker run api -- echo ran
case_ "breaker status" 0 out:'OPEN' out:'retry in' out:'rejected total +1' -- "$W" breaker status api
case_ "breaker status -J" 0 json out:'"state": "open"' -- "$W" breaker status api -J
case_ "ls says OPEN" 0 out:'api +breaker +OPEN' -- "$W" ls
await "$W" breaker run api -q -- true
case_ "after a good probe it is closed" 0 out:'state +closed' -- "$W" breaker status api
case_ "another --failures is a contradiction" 125 err:'2 calls in 10000 ms' -- "$W" breaker run api --failures 3/10s -- true
case_ "another --open-for is a contradiction" 125 err:'2000 ms' -- "$W" breaker run api --open-for 3s -- true
case_ "breaker open --dry-run" 0 out:'would' -- "$W" breaker open api --dry-run
case_ "breaker open" 0 out:'forced open' -- "$W" breaker open api
case_ "forced open refuses" 1 err:'open' -- "$W" breaker run api -- true
case_ "events tell of it" 0 out:'breaker +api .*closed -> forced_open' -- "$W" events
case_ "breaker close" 0 out:'closed' -- "$W" breaker close api
case_ "closed again" 0 -- "$W" breaker run api -- true
case_ "breaker disable" 0 -- "$W" breaker disable api
case_ "breaker reset" 0 -- "$W" breaker reset api
case_ "--percent 100: a success in between keeps it closed" 0 -- bash -c "
	$W breaker run strict --failures 2/10s --percent 100 -- true
	$W breaker run strict -- false; $W breaker run strict -- false; $W breaker run strict -- true"
case_ "breaker open of nothing" 3 err:W-ENOENT -- "$W" breaker open nothing
case_ "breaker run on another type: 125" 125 err:'is a sem' -- "$W" breaker run build -- true
case_ "--failures without a period: 125" 125 err:'N/PERIOD' -- "$W" breaker run b2 --failures 5 -- true
case_ "--failures over 2h: 125" 125 -- "$W" breaker run b2 --failures 5/2h -- true
case_ "--percent 101: 125" 125 -- "$W" breaker run b2 --percent 101 -- true

# --- queue ----------------------------------------------------------------------------------
case_ "queue get before there is one" 3 err:'makes it' -- "$W" queue get jobs
case_ "queue put" 0 -- "$W" queue put jobs one 'two words'
case_ "queue put of lines" 0 -- bash -c "printf 'three\nfour\n' | $W queue put jobs"
case_ "queue peek, in order" 0 out:' 3  one$' out:' two words$' out:' four$' -- "$W" queue peek jobs
case_ "queue peek takes nothing" 0 out:'depth +4' -- "$W" queue status jobs
case_ "queue peek -J" 0 json out:'"text": "three"' -- "$W" queue peek jobs -J
case_ "queue peek -n 1" 0 out:one no:two -- "$W" queue peek jobs -n 1
case_ "queue get" 0 out:'^one$' -- "$W" queue get jobs
case_ "queue get -n 2" 0 out:'^two words$' out:'^three$' -- "$W" queue get jobs -n 2
case_ "queue get -J" 0 json out:'"text":"four"' -- "$W" queue get jobs -J
case_ "empty: 1" 1 err:empty -- "$W" queue get jobs
case_ "empty, peek: 1" 1 -- "$W" queue peek jobs
case_ "empty with --timeout: 6" 6 err:W-ETIMEDOUT -- "$W" queue get jobs --timeout 100ms
case_ "bytes that are no text come as hex" 0 out:'"hex": "61ff62"' -- bash -c "printf 'a\377b' | $W queue put jobs; $W queue peek jobs -J"
printf 'x\033[2Jy' | "$W" queue put jobs
case_ "peek shows no escape sequences" 0 out:'x\?\[2Jy' no:$'\e' -- "$W" queue peek jobs
"$W" queue get jobs -n 2 >/dev/null
case_ "too long: 2" 2 err:'at most 1024' -- "$W" queue put jobs "$(printf 'x%.0s' $(seq 1025))"
case_ "queue with options" 0 -- "$W" queue put small --slots 2 --bytes 8 a b
case_ "full: 1" 1 err:full -- "$W" queue put small c
case_ "full with --timeout: 6" 6 -- "$W" queue put small c --timeout 100ms
case_ "other slots are a contradiction" 2 err:'has 2 slots' -- "$W" queue put small --slots 8 c
case_ "--slots 0" 2 err:'from 1' -- "$W" queue put zero --slots 0 x
case_ "--bytes 0" 2 err:'from 1' -- "$W" queue put zero --bytes 0 x
case_ "--bytes 2097152" 2 -- "$W" queue put zero --bytes 2097152 x
case_ "too big for the segment" 8 err:W-ENOSPC -- "$W" queue put huge --slots 65536 --bytes 4096 x
case_ "a message that cannot be written is an error" 8 err:'back in the queue' -- bash -c "$W queue get small >/dev/full"
case_ "and goes back" 0 out:' a$' -- "$W" queue peek small
case_ "queue close asks: not without --yes" 2 err:'--yes' -- "$W" queue close small
case_ "queue close --dry-run" 0 out:'would' -- "$W" queue close small --dry-run
case_ "queue close --yes" 0 out:closed -- "$W" queue close small --yes
case_ "put to a closed queue: 1" 1 err:W-ESHUTDOWN -- "$W" queue put small c
case_ "what is in it still comes" 0 out:'^a$' out:'^b$' -- "$W" queue get small -n 2
case_ "closed and drained: 1" 1 err:'drained' -- "$W" queue get small

# --- looking --------------------------------------------------------------------------------
case_ "ls" 0 out:'^local +segment' out:'mail +limiter' out:'bursty +limiter +EMPTY' out:'jobs +queue' -- "$W" ls
case_ "ls of an object" 0 out:mail no:jobs -- "$W" ls local:mail
case_ "ls -o" 0 out:'^NAME +TYPE$' -- "$W" ls -o NAME,TYPE
case_ "ls -o of no column" 2 err:'no column' -- "$W" ls -o NAME,BOGUS
case_ "ls -r --noheadings" 0 no:NAME out:'limiter' -- "$W" ls -r --noheadings
case_ "ls -J" 0 json out:'weir.ls/1' -- "$W" ls -J
that "ls -J has name, type and state of each" jq -e '
	(.segments[0] | .name == "local" and .size_bytes == 4194304) and
	([.segments[].objects[] | has("name") and has("type") and has("state")] | all) and
	([.segments[].objects[].name] | contains(["mail", "build", "api", "jobs"]))' "$T/out" >/dev/null
case_ "show segment" 0 out:'processes room +64' out:'local:mail' -- "$W" show local
case_ "show object" 0 out:'period +1 h' -- "$W" show local:mail
case_ "show --explain" 0 out:'Theoretical arrival time' -- "$W" show local:mail --explain
case_ "show --explain -J" 0 json out:'"explain"' -- "$W" show local:build --explain -J
case_ "stat INTERVAL COUNT" 0 out:'allowed/s' -- "$W" stat local:mail 50ms 2
that "stat printed two samples" [ "$(grep -c local:mail "$T/out")" -eq 2 ]
case_ "stat -J" 0 json out:'allowed_per_s' -- "$W" stat local:mail 50ms 1 -J
case_ "stat --json=lines" 0 json out:'weir.stat/1' -- "$W" stat local 50ms 2 --json=lines
case_ "stat of many as one document is refused" 2 -- "$W" stat local 50ms 2 -J
case_ "stat interval 0" 2 -- "$W" stat local 0
(while :; do "$W" queue put jobs x || exit; done) 2>/dev/null &
putter=$!
case_ "stat sees messages come in" 0 json -- "$W" stat local:jobs 1s 1 -J
that "at a rate" jq -e '.objects[0].in_per_s > 0' "$T/out" >/dev/null
slay $putter
case_ "events" 0 out:'attach' -- "$W" events
case_ "events -J" 0 json out:'weir.events/1' -- "$W" events -J
case_ "events --json=lines" 0 json out:'weir.event/1' -- "$W" events --json=lines
"$W" events -f -J local >"$T/follow" &
follower=$!
await test -s "$T/follow"
"$W" rate take fresh 1/s
that "events -f sees a new object" await grep -q '"kind":"create","object":"fresh"' "$T/follow"
slay $follower
for _ in $(seq 90); do "$W" rate take fresh -q; done
case_ "events: the ring overwrites its oldest, and says so" 0 out:'attach' no:'create +mail' err:'overwritten' -- "$W" events
case_ "check" 0 out:'0 problems' -- "$W" check
case_ "check -J" 0 json out:'"problems": \[\]' -- "$W" check -J
case_ "doctor" 0 out:'futex_waitv' out:"'local'" -- "$W" doctor
case_ "doctor -J" 0 json out:'weir.doctor/1' -- "$W" doctor -J
case_ "doctor of a missing segment" 3 -- "$W" doctor nothere
case_ "layout" 0 out:'sem_lane' out:'stamp' -- "$W" layout
case_ "layout NAME" 0 out:'OFFSET' out:'used' -- "$W" layout sem
case_ "layout -J" 0 json out:'"size_bytes": 704' -- "$W" layout -J
case_ "layout of nothing: did you mean" 3 err:"did you mean 'queue'" -- "$W" layout quue
case_ "output to a full disk is an error" 8 err:'cannot write' -- bash -c "$W ls -J >/dev/full"

# Looking writes nothing.
sum() { sha256sum <"$WEIR_DIR/local"; }
before=$(sum)
for c in "ls" "show local" "ps" "events" "check" "stat local 10ms 1" "queue peek jobs" "sem status build" "doctor" "gc --dry-run"; do
	# shellcheck disable=SC2086
	"$W" $c >/dev/null 2>&1
done
that "looking changes no byte" [ "$before" = "$(sum)" ]

# --- the dead -------------------------------------------------------------------------------
"$W" sem run build -n 2 -- sleep 1000 &
holder=$!
await used build 2
slay $holder
case_ "ps says DEAD" 0 out:"$holder .*DEAD .*build:2 .*reclaim pending" -- "$W" ps
case_ "ls says DEAD" 0 out:'segment DEAD' -- "$W" ls
case_ "doctor finds it" 1 out:"pid $holder is dead" out:'fix: weir gc --yes' -- "$W" doctor
case_ "gc without --yes only says" 1 out:"would reclaim .*2 permits held by pid $holder" out:'gc --yes' -- "$W" gc
case_ "gc --yes --dry-run too" 1 out:'would' -- "$W" gc --yes --dry-run
case_ "gc -J" 1 json out:'"done": false' -- "$W" gc -J
case_ "still held" 0 out:'used +2' out:DEAD -- "$W" sem status build
case_ "gc --yes" 0 out:'did reclaim' -- "$W" gc --yes
case_ "given back" 0 out:'used +0' -- "$W" sem status build
case_ "gc again: nothing" 0 out:nothing -- "$W" gc
case_ "gc of a missing segment" 3 -- "$W" gc nothere

# --- rm -------------------------------------------------------------------------------------
case_ "rm asks: not without --yes" 2 err:'--yes' -- "$W" rm local:fresh
case_ "rm --dry-run" 0 out:"would remove object 'local:fresh'" -- "$W" rm local:fresh --dry-run
case_ "it is still there" 0 -- "$W" rate status fresh
case_ "rm --yes" 0 out:'removed object' -- "$W" rm --yes local:fresh
case_ "it is gone" 3 -- "$W" rate status fresh
case_ "rm again" 3 err:W-ENOENT -- "$W" rm --yes local:fresh
case_ "rm of a missing segment" 3 -- "$W" rm --yes nothere
case_ "rm takes no patterns" 2 -- "$W" rm --yes 'local:*'
case_ "events tell of the removal" 0 out:'remove +fresh' -- "$W" events
echo precious >"$WEIR_DIR/notes"
case_ "rm removes no other files" 5 err:W-EBADMSG -- "$W" rm --yes notes
that "the other file is still there" [ -s "$WEIR_DIR/notes" ]
rm -f "$WEIR_DIR/notes"

# --- files that are not what they should be ---------------------------------------------------
S=$WEIR_DIR/s
fresh() { cp "$WEIR_DIR/local" "$S"; }
poke() { # offset, bytes in hex
	printf '%b' "$(sed 's/../\\x&/g' <<<"$2")" |
		dd of="$S" bs=64K oflag=seek_bytes seek=$(($1)) conv=notrunc status=none
}
le64() { # number, as bytes in hex
	printf '%016x' "$1" | sed 's/\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)\(..\)/\8\7\6\5\4\3\2\1/'
}
both() { # name, status, code, pattern: looking and acting agree
	case_ "$1: show" "$2" err:"$3" err:"$4" err:'hint' err:"path   $S" -- "$W" show s
	case_ "$1: rate take" "$2" err:"$3" -- "$W" rate take s:mail
	case_ "$1: ls goes on" 0 out:'UNREADABLE' out:"$3" out:'mail' -- "$W" ls
	case_ "$1: ls -J" 0 json out:"$3" -- "$W" ls -J
	case_ "$1: check" 5 -- "$W" check s
	case_ "$1: doctor" 1 out:"$3" -- "$W" doctor
}
fresh
truncate -s 100 "$S"
both "100 bytes" 5 W-EBADMSG 'only 100 bytes'
fresh
truncate -s 1M "$S"
both "truncated" 5 W-EBADMSG 'truncated'
fresh
(sleep 0.5 && truncate -s 0 "$S") &
case_ "truncated under one that waits" 5 err:'truncated|empty' err:W-EBADMSG -- "$W" queue get s:jobs -n 1000 --timeout 10s
fresh
(sleep 0.5 && truncate -s 0 "$S") &
case_ "truncated under a run: 125" 125 err:'truncated|empty' err:W-EBADMSG -- "$W" sem run s:build -- sleep 1
: >"$S"
both "empty" 5 W-EBADMSG 'only 0 bytes|empty'
head -c 1M /dev/urandom >"$S"
both "random" 5 W-EBADMSG 'WEIRSEG1'
fresh
poke 96 00112233445566778899aabbccddeeff
both "from before a reboot" 5 W-ESTALE 'reboot'
case_ "stale: gc says so" 1 out:'would unlink +s ' -- "$W" gc
case_ "stale: gc --yes removes it" 0 out:'did unlink' -- "$W" gc --yes
that "stale: it is gone" [ ! -e "$S" ]
fresh
poke 8 0011223344556677
both "another stamp" 5 W-ELAYOUT 'stamp'
fresh
python3 - "$S" <<'P'
import struct, sys
f = open(sys.argv[1], "r+b")
d = bytearray(f.read())
off, n = struct.unpack_from("<QQ", d, 24)
text = bytes(d[off:off + n])
new = text.replace(b"word 128 8 atomic-u64\n", b"word 136 8 atomic-u64\n", 1)
assert new != text and len(new) == n
d[off:off + n] = new
h = 0xcbf29ce484222325
for c in new:
    h = (h ^ c) * 0x100000001b3 & (1 << 64) - 1
struct.pack_into("<Q", d, 8, h)
f.seek(0)
f.write(d)
P
both "another layout" 5 W-ELAYOUT 'word: offset 128 here, 136 in the segment'
case_ "another layout: rm --yes removes it" 0 -- "$W" rm --yes s
for field in 40 48 56 64 72; do
	fresh
	poke $field fffffffffffffff7
	case_ "header: offset at $field out of range" 5 -- "$W" show s
done
for field in 24 32; do
	fresh
	poke $field fffffffffffffff7
	poke 8 0000000000000000
	case_ "header: layout text at $field out of range" 5 err:stamp -- "$W" show s
done
for field in 80 84 88 92; do
	for v in 00000000 ffffffff; do
		fresh
		poke $field $v
		case_ "header: count at $field is $v" 5 -- "$W" show s
	done
done
rm -f "$S"
mkfifo "$S"
case_ "a FIFO does not hang us" 5 err:'regular file' -- "$W" show s
rm -f "$S"
ln -s local "$S"
case_ "a link is not followed" 4 err:W-ELOOP -- "$W" show s
rm -f "$S"
mkdir "$S"
case_ "a directory" 5 err:W- -- "$W" show s
rmdir "$S"
truncate -s 2G "$S"
case_ "2 GiB: too big to look at" 8 err:W-EFBIG -- "$W" show s
rm -f "$S"

# Objects that lie.
eval "$(python3 - "$WEIR_DIR/local" <<'P'
import struct, sys
d = open(sys.argv[1], "rb").read()
off, = struct.unpack_from("<Q", d, 40)
n, = struct.unpack_from("<I", d, 80)
print(f"dir={off}")
for i in range(n):
    o, = struct.unpack_from("<Q", d, off + 8 * i)
    name = d[o + 16:o + 48].split(b"\0")[0].decode() if o > 1 else ""
    if name in ("build", "jobs", "mail", "api"):
        print(f"{name}={o}")
P
)"
lie() { # name, offset, bytes: check finds it, the others go on
	fresh
	poke "$2" "$3"
	case_ "$1: check" 1 out:WRONG -- "$W" check s
	for c in "ls" "show s --explain" "ps s" "events s"; do
		# shellcheck disable=SC2086
		run "$W" $c
		[ $status -eq 0 ] || { bad "$1: $c" "status $status"; return; }
	done
	ok "$1: the others go on"
}
# shellcheck disable=SC2154
{
	lie "directory points behind the file" "$dir" 00000000ffffff7f
	lie "directory points beside a block" "$dir" "$(le64 $((build + 8)))"
	lie "directory points into a block" "$dir" "$(le64 $((build + 64)))"
	lie "directory points into the header" "$dir" "$(le64 64)"
	lie "sem: no magic" $((build + 8)) 00000000
	lie "sem: type 99" $((build + 12)) 63000000
	lie "sem: name without end" $((build + 16)) "$(printf '41%.0s' $(seq 32))"
	lie "sem: name with an escape sequence" $((build + 16)) 1b5b324a
	lie "sem: block of 4 GiB" "$build" ffffffff
	lie "sem: lanes" $((build + 68)) ffffff7f
	lie "sem: used does not fit the lanes" $((build + 128)) 03
	lie "sem: a lane holds what nobody has" $((build + 256)) 05
	lie "queue: slots" $((jobs + 64)) 00000040
	lie "queue: slots not a power of two" $((jobs + 64)) 03000000
	lie "queue: slot_bytes" $((jobs + 68)) 41000000
	lie "queue: tail far away" $((jobs + 128)) ffffffffffff0000
	lie "queue: first far away" $((jobs + 192)) ffffffffffff0000
	lie "limiter: interval 0" $((mail + 88)) 0000000000000000
	lie "limiter: sets" $((mail + 100)) ffffff7f
	lie "limiter: tick_shift" $((mail + 104)) ff000000
	lie "breaker: bucket_ms 0" $((api + 68)) 00000000
	lie "breaker: state 7" $((api + 128)) 07
}
# Random damage: whatever happens, no crash, no hang, a status that exists.
FUZZ=${FUZZ:-8}
python3 - "$WEIR_DIR/local" "$T" "$FUZZ" "${SEED:=20261124}" <<'P'
import random, sys
d = open(sys.argv[1], "rb").read()
random.seed(int(sys.argv[4]))
for k in range(int(sys.argv[3])):
    x = bytearray(d)
    for _ in range(random.choice([1, 4, 32, 256])):
        # Behind the boot id: else all is stale.
        at = random.randrange(112, 1 << 18) if random.random() < .9 else random.randrange(112, len(x))
        x[at] = random.choice([0, 0xff, 0x7f, 0x80, random.randrange(256)])
    open(f"{sys.argv[2]}/fuzz{k}", "wb").write(x)
P
broken=0
for f in "$T"/fuzz*; do
	mv "$f" "$S"
	for c in "ls -J" "show s" "ps s" "events s" "check s -q" "queue peek s:jobs" "gc --dry-run"; do
		# shellcheck disable=SC2086
		run "$W" $c
		[ $status -le 5 ] || { broken=$((broken + 1)); bad "damage $(basename "$f"): $c" "status $status"; }
	done
done
that "$FUZZ damaged segments, 7 commands each: no crash, no hang (SEED=$SEED)" [ $broken -eq 0 ]
rm -f "$S"

# --- other users ------------------------------------------------------------------------------
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
	nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	cp "$W" "$T/weir"
	chmod 755 "$WEIR_DIR" "$T" "$T/weir"
	case_ "nobody: show" 4 err:W-EACCES err:'owner root:root' err:'you are nobody' err:'hint' -- "${nobody[@]}" "$T/weir" show local
	case_ "nobody: rate take" 4 err:W-EACCES -- "${nobody[@]}" "$T/weir" rate take mail
	case_ "nobody: sem run" 125 err:W-EACCES -- "${nobody[@]}" "$T/weir" sem run build -- true
	case_ "nobody: ls goes on" 0 out:UNREADABLE out:W-EACCES -- "${nobody[@]}" "$T/weir" ls
	case_ "nobody: rm" 4 -- "${nobody[@]}" "$T/weir" rm --yes local
	chmod 644 "$WEIR_DIR/local"
	case_ "nobody looks at what is readable" 0 out:mail -- "${nobody[@]}" "$T/weir" show local:mail
	case_ "nobody does not act on it" 4 err:W-EACCES -- "${nobody[@]}" "$T/weir" rate take mail
	chmod 666 "$WEIR_DIR/local"
	case_ "writable by everybody: not used" 4 err:W-EPERM -- "$W" rate take mail
	case_ "writable by everybody: doctor says so" 1 out:'everybody may write' -- "$W" doctor
	chmod 600 "$WEIR_DIR/local"
	fresh
	chown 65534 "$S"
	case_ "root does not trust nobody's segment" 4 err:W-EPERM err:'another user' -- "$W" rate take s:mail
	case_ "but root looks at it" 0 out:mail -- "$W" show s
	rm -f "$S"
else
	skip "other users" "needs root and setpriv"
fi

case_ "rm of the segment" 0 out:"removed segment 'local'" -- "$W" rm --yes local
that "the file is gone" [ ! -e "$WEIR_DIR/local" ]
[ $skipped -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
