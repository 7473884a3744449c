#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# weir trace: two processes and one permit; does the trace say who stood in whose way?
set -u
cd "$(dirname "$0")/../.." || exit 1
B=${BUILD:-build}
WEIR=$(realpath "${WEIR:-$B/weir}")
T=$(mktemp -d /dev/shm/weir-test-XXXXXX) || exit 1
export WEIR_DIR=$T/segments
passed=0
failed=0
jobs_of_ours=
clean_up() {
	for p in $jobs_of_ours; do kill "$p" 2>/dev/null; done
	rm -rf "$T"
}
trap clean_up EXIT
mkdir -m 755 "$WEIR_DIR"
chmod 755 "$T"

check() { # what, command...
	local what=$1
	shift
	if "$@" >"$T/check.out" 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL $what"
		head -20 "$T/check.out"
	fi
}
skip() { # how many, why
	echo "skip $1: $2"
}
has() { grep -q -- "$1" "$2"; }
has_not() { ! grep -q -- "$1" "$2"; }
is() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'"; false; }; }
id_of() { sed -n "s/^$1 //p" "$T/ids"; }

cc=${CC:-gcc}
# shellcheck disable=SC2086
$cc ${EXTRA:-} -std=c11 -D_GNU_SOURCE -O1 -g -Wall -Wextra -Wshadow -Wconversion -Werror -Ilib/include -I"$B/gen" \
	-o "$T/help" tests/cli/trace_help.c "$B/libweir.a" -pthread || {
	echo "0 passed, 1 failed"
	exit 1
}

watch_helper() { # rounds, hold ms, output of the helper
	"$T/help" shop "$1" "$2" >"$3" || echo "FAIL helper"
}

# --- spans only ------------------------------------------------------------------------------
check "helper runs" watch_helper 2 1 "$T/ids"
"$WEIR" trace shop >"$T/show" 2>"$T/show.err"
check "shows a span" has "charge .*tid $(id_of holder)" "$T/show"
check "counts what the rings held" has "6 recorded = 0 before + 6 read + 0 overwritten + 0 torn" "$T/show.err"
watch_helper 20 1 "$T/ids2"
"$WEIR" trace stats -J shop >"$T/stats.json"
check "rings of 16 keep 16 of 22 each and say so" jq -e '
	(.rings | length >= 3) and (.loss.rings | .recorded == 66 and .torn == 0) and
	all(.rings[]; .recorded == .read + .overwritten + .torn)' "$T/stats.json"
check "a missing segment is 3" is "$("$WEIR" trace nosuch >/dev/null 2>&1; echo $?)" 3
check "an unknown format is 2" is "$("$WEIR" trace export --format x shop >/dev/null 2>&1; echo $?)" 2
check "-f refuses one document" is "$("$WEIR" trace -f --json shop >/dev/null 2>&1; echo $?)" 2

# --- without privilege -----------------------------------------------------------------------
if [ "$(id -u)" -eq 0 ] && setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$WEIR"; then
	nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
	nobody "$WEIR" trace --duration 100ms shop >"$T/nobody" 2>"$T/nobody.err"
	check "nobody ends well" is $? 0
	check "nobody sees spans" has "GET /pay" "$T/nobody"
	check "nobody is told why there are no waits" has "only spans, no waits: needs CAP_BPF and CAP_PERFMON" "$T/nobody.err"
	check "nobody is told once" is "$(grep -c 'no waits' "$T/nobody.err")" 1
	nobody "$WEIR" trace caps -J >"$T/caps.json"
	check "caps says no" jq -e '.features[] | select(.name == "waits") | .ok == false' "$T/caps.json"
else
	skip 5 "not root, or nobody cannot run $WEIR"
fi
"$WEIR" trace --no-bpf --duration 50ms shop >"$T/nobpf" 2>&1
check "--no-bpf does not complain" has_not "no waits" "$T/nobpf"

# --- waits -----------------------------------------------------------------------------------
"$WEIR" trace caps -J >"$T/caps.json"
if ! jq -e '.features[] | select(.name == "waits") | .ok' "$T/caps.json" >/dev/null; then
	skip 18 "$(jq -r '.features[] | select(.name == "waits") | .detail' "$T/caps.json")"
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ]
	exit
fi

# Watch with `weir trace $@` while the helper works, then end it with ctrl-C.  The probe is there when
# the watcher has its links open.
watch() { # output, options...
	local out=$1 pid
	shift
	"$WEIR" trace "$@" >"$out" 2>"$out.err" &
	pid=$!
	jobs_of_ours="$jobs_of_ours $pid"
	for _ in $(seq 200); do
		ls -l "/proc/$pid/fd" 2>/dev/null | grep -c bpf_link | grep -qE '^[3-9]' && break
		sleep 0.05
	done
	# The segment is opened right after the probe.
	for _ in $(seq 200); do
		ls -l "/proc/$pid/fd" 2>/dev/null | grep -q "$WEIR_DIR/shop" && break
		sleep 0.05
	done
	watch_helper 3 70 "$T/ids"
	kill -INT "$pid"
	wait "$pid"
}

watch "$T/live" -f shop
check "ctrl-C ends well" is $? 0
check "live: the wait is below its span" has "  - wait db .*tid $(id_of waiter)" "$T/live"
check "live: says who was in the way" has "wait db .*in the way: tid $(id_of holder) .*\"charge\"" "$T/live"
check "live: says who woke" has "wait db .*woken by tid $(id_of holder)" "$T/live"
check "live: queue" has "wait jobs empty .*tid $(id_of receiver)" "$T/live"
check "live: totals" has "9 spans, [0-9]* waits" "$T/live.err"
check "live: nothing lost" has " 0 ring full + 0 no memory" "$T/live.err"

watch "$T/lines" -f --json=lines shop
check "lines: every line is a document" jq -es 'length >= 12 and all(.[]; .schema == "weir.trace/1")' "$T/lines"
# A wait of 70 ms is at least three sleeps, and one item; a hair more of them if the machine stalls.
# The last sleep may end by itself at the moment of the release: then nobody woke it.
check "lines: one wait of many sleeps" jq -es --argjson tid "$(id_of waiter)" --argjson by "$(id_of holder)" '
	. as $all | [.[] | select(.type == "wait" and .object == "db" and .tid == $tid)] |
	length == 3 and any(.[]; .waker.tid == $by) and all(.[];
		.sleeps >= 3 and .duration_ns >= 60000000 and .result == "woken" and
		.holder.tid == $by and .holder.span_name == "charge" and
		(.waker == null or .waker.tid == $by) and
		.blocked_ns + .runqueue_ns + .spin_ns + .cpu_ns <= .duration_ns + 1000000 and
		(.parent_id as $p | any($all[]; .span_id == $p and .name == "GET /pay")))' "$T/lines"

"$WEIR" trace export shop >"$T/chrome.json" 2>"$T/chrome.err"
check "an export without duration ends at once" jq -e '.traceEvents | any(.ph == "X")' "$T/chrome.json"

watch "$T/chrome2.json" export --duration 30s shop
check "chrome: a wait names its holder" jq -e --argjson by "$(id_of holder)" --argjson tid "$(id_of waiter)" '
	[.traceEvents[] | select(.ph == "X" and .name == "wait db" and .tid == $tid)] |
	length == 3 and all(.[]; .args.holder.tid == $by and .dur > 60000)' "$T/chrome2.json"
check "chrome: an arrow from the holder to the wait" jq -e --argjson by "$(id_of holder)" --argjson tid "$(id_of waiter)" '
	[.traceEvents[] | select(.name == "held by")] | group_by(.id) |
	any(.[]; (map(.ph) | sort) == ["f", "s"] and any(.[]; .ph == "s" and .tid == $by) and
		any(.[]; .ph == "f" and .tid == $tid))' "$T/chrome2.json"

watch "$T/none" export --format otlp-json --duration 30s -o "$T/otlp.json" shop
cat >"$T/otlp.py" <<'PY'
import json, re, sys
doc, holder, waiter = json.load(open(sys.argv[1])), sys.argv[2], sys.argv[3]
spans = {}
waits = woken = 0
assert list(doc) == ["resourceSpans"]
def attributes(of):
    for a in of:
        assert set(a) == {"key", "value"} and len(a["value"]) == 1, a
        (kind, value), = a["value"].items()
        assert kind in ("stringValue", "intValue") and isinstance(value, str), a
        assert kind != "intValue" or re.fullmatch(r"[0-9]+", value), a
    return {a["key"]: list(a["value"].values())[0] for a in of}
for rs in doc["resourceSpans"]:
    assert "service.name" in attributes(rs["resource"]["attributes"])
    for ss in rs["scopeSpans"]:
        assert ss["scope"]["name"] == "weir"
        loss = attributes(ss["scope"]["attributes"])
        assert int(loss["weir.loss.recorded"]) == sum(int(loss["weir.loss." + k]) for k in
            ("skipped", "read", "overwritten", "torn"))
        for s in ss["spans"]:
            assert re.fullmatch("[0-9a-f]{32}", s["traceId"]) and int(s["traceId"], 16)
            assert re.fullmatch("[0-9a-f]{16}", s["spanId"]) and int(s["spanId"], 16)
            assert re.fullmatch("[0-9a-f]{16}", s.get("parentSpanId", "0" * 16))
            assert re.fullmatch("[0-9]{19}", s["startTimeUnixNano"])
            assert int(s["endTimeUnixNano"]) >= int(s["startTimeUnixNano"])
            assert s["kind"] in range(1, 6) and s["flags"] & 0x100 and isinstance(s["name"], str)
            assert s["status"].get("code", 0) in (0, 1, 2)
            assert s["spanId"] not in spans
            spans[s["spanId"]] = s
for s in spans.values():
    if s["name"] != "wait db":
        continue
    a = attributes(s["attributes"])
    assert a["thread.id"] == waiter and a["weir.holder.tid"] == holder, a
    assert a.get("weir.waker.tid", holder) == holder and a["weir.object.type"] == "sem", a
    woken += "weir.waker.tid" in a
    assert int(a["weir.wait.blocked_ns"]) > 10**7
    link, = s["links"]
    assert attributes(link["attributes"])["weir.link.type"] == "held_by"
    assert spans[link["spanId"]]["name"] == "charge"
    assert spans[link["spanId"]]["traceId"] == link["traceId"]
    assert spans[s["parentSpanId"]]["traceId"] == s["traceId"]
    waits += 1
assert waits == 3, waits
assert woken >= 1
PY
check "otlp: well-formed, and the wait is linked to its holder" python3 "$T/otlp.py" "$T/otlp.json" "$(id_of holder)" "$(id_of waiter)"

watch "$T/one" -f --json=lines shop:db
check "one object: only its waits" jq -es 'length == 3 and all(.[]; .name == "wait db" and .holder.span_name == "charge")' "$T/one"

# A reader that stands still loses records, and every one is counted.
"$WEIR" trace -J --duration 600ms shop >"$T/loss.json" 2>/dev/null &
jobs_of_ours="$jobs_of_ours $!"
watch_helper 5 5 "$T/ids"
wait $!
check "the account of the kernel's side balances" jq -e '.loss.kernel |
	.sleeps == .emitted + .reserve_failed + .storage_failed + .not_over' "$T/loss.json"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
