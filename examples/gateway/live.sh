#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# `make demo WAIT=1` as its reader uses it: the commands that it prints, in a second terminal, then
# Ctrl-C.  The last line counts.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
out=$(mktemp -d)
passed=0
failed=0
trap 'kill -TERM "${demo:-}" 2>/dev/null; rm -rf "$out"' EXIT
check() { # name, file, extended regular expression that must match that many lines at least
	local lines
	lines=$(grep -cE "$3" "$2")
	if [ "$lines" -ge "$4" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'FAIL %s: %s of %s lines match %s\n' "$1" "$lines" "$4" "$3"
		head -20 "$2"
	fi
}
# What runs behind a script ignores Ctrl-C otherwise.
WAIT=1 env --default-signal=INT examples/gateway/demo.sh >"$out/demo" 2>&1 &
demo=$!
for _ in $(seq 200); do
	grep -q '^	*Ctrl-C ends it' "$out/demo" && break
	sleep 0.05
done
grep -q 'Ctrl-C ends it' "$out/demo" || { cat "$out/demo"; echo '0 passed, 1 failed'; exit 1; }
eval "$(sed -n 's/^ *cd .*; export/export/p' "$out/demo")"
weir=$(sed -n 's/^ *\([^ ]*weir\) ls gateway .*/\1/p' "$out/demo")
look() { # name, seconds, arguments
	local name=$1 seconds=$2
	shift 2
	timeout -s INT "$seconds" "$weir" "$@" >"$out/$name" 2>&1
}
look ls 5 ls gateway
check ls "$out/ls" '(limiter|sem|breaker|spans|queue) ' 8
look ps 5 ps gateway
check ps "$out/ps" 'example-gateway|worker' 4
look show 5 show gateway:permits
check show "$out/show" permits 1
look stat 6 stat gateway 1
check 'stat 1' "$out/stat" permits 2
look trace 4 trace -f gateway
check 'trace -f' "$out/trace" '/(item|report) ' 1
look events 12 events -f gateway &
events=$!
sleep 1
kill -USR1 "$(cat "$GATEWAY_RUN/upstream.pid")"
wait "$events"
check 'events -f, the upstream fails' "$out/events" 'breaker.*open' 1
kill -INT "$demo"
wait "$demo"
echo "ended with $?, left: $(ls -d "$WEIR_DIR" 2>/dev/null)" >"$out/end"
check 'Ctrl-C' "$out/end" '^ended with 0, left: $' 1
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
