#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Absurd HTTP requests to a gateway: a clear answer, nothing lost, nothing leaked.
# Alone it starts a gateway of its own; sourced by demo.sh it uses the one that runs.

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
	abuse_alone=1
	gateway_start
fi

# raw COUNT ARGUMENTS-OF-PRINTF...: send that, print the status of each answer until the gateway closes
# or, once COUNT answers are there, nothing comes for a second.
raw() {
	local line statuses='' left=$1
	shift
	exec 9<>"/dev/tcp/127.0.0.1/$PORT" || return
	# shellcheck disable=SC2059
	printf "$@" >&9 2>/dev/null
	while IFS= read -r -t $((left > 0 ? 10 : 1)) line <&9; do
		case $line in HTTP/1.1\ *) statuses+=${line:9:3}\  && left=$((left - 1)) ;; esac
	done 2>/dev/null
	exec 9>&-
	echo "${statuses% }"
}

# expect TEXT STATUSES ARGUMENTS-OF-PRINTF...
expect() {
	local text=$1 want=$2 got
	shift 2
	got=$(raw "$(wc -w <<<"$want")" "$@")
	[ "$got" = "$want" ] && got_ok=1 || got_ok=0
	fact "$text: ${got:-no answer}" "$got_ok == 1"
}

repeat() {
	head -c "$2" /dev/zero | tr '\0' "$1"
}

# Who sends half and goes, or goes before the answer: no status, so it is the books that tell.
vanish() {
	local i
	for i in $(seq 20); do
		(exec 9<>"/dev/tcp/127.0.0.1/$PORT" && printf 'GET /report HTTP/1.1\r\nX-Cl' >&9)
		(exec 9<>"/dev/tcp/127.0.0.1/$PORT" &&
			printf 'GET /report?ms=50 HTTP/1.1\r\nX-Client: v%d\r\n\r\n' "$i" >&9)
	done
}

ok='GET /item HTTP/1.1\r\nX-Client: abuse\r\n\r\n'
id=0af7651916cd43dd8448eb211c80319c

abuse() {
	expect 'header of 20000 bytes' 431 'GET / HTTP/1.1\r\nX-Big: %s\r\n\r\n' "$(repeat a 20000)"
	expect 'header without an end' 431 'GET / HTTP/1.1\r\n%s' "$(repeat a 20000)"
	expect 'target of 3000 bytes' 414 'GET /%s HTTP/1.1\r\n\r\n' "$(repeat a 3000)"
	expect 'traceparent of another kind' 400 'GET / HTTP/1.1\r\ntraceparent: hello\r\n\r\n'
	expect 'traceparent with zero ids' 400 \
		'GET / HTTP/1.1\r\ntraceparent: 00-%032d-%016d-01\r\n\r\n' 0 0
	expect 'traceparent of version ff' 400 \
		'GET / HTTP/1.1\r\ntraceparent: ff-%s-b7ad6b7169203331-01\r\n\r\n' $id
	expect 'traceparent twice' 400 'GET / HTTP/1.1\r\n%b%b\r\n' \
		"traceparent: 00-$id-b7ad6b7169203331-01\r\n" "traceparent: 00-$id-b7ad6b7169203331-01\r\n"
	expect 'client name of 40 bytes' 400 'GET / HTTP/1.1\r\nX-Client: %s\r\n\r\n' "$(repeat a 40)"
	expect 'client name of two words' 400 'GET / HTTP/1.1\r\nX-Client: a b\r\n\r\n'
	expect 'bytes that are no HTTP' 400 '\001\002\377\376 what is this\r\n\r\n'
	expect 'body of a gigabyte announced' 413 \
		'POST / HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\nx'
	expect 'chunked body of 100000 bytes' 413 \
		'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n%s' "$(repeat a 100000)"
	expect 'two lengths' 400 'POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx'
	expect 'method of another kind' 405 'DELETE / HTTP/1.1\r\n\r\n'
	expect 'HTTP/3.0 in plain text' 505 'GET / HTTP/3.0\r\n\r\n'
	expect 'five requests at once' '200 200 200 200 200' "$ok$ok$ok$ok$ok"
	expect 'one good request, then garbage' '200 400' "$ok\\001\\002garbage\\r\\n\\r\\n"
	expect 'one good request, then half a one' 200 "${ok}GET /it"
	vanish
}

# Nothing is held and nothing is missing once the last vanished client's request is over.
abuse_books() {
	local i
	for i in $(seq 60); do
		eval "$("$gateway" books)"
		((sem_used == 0 && sem_waiters == 0)) && break
		sleep 0.05
	done
	fact "permits in use after all that: $sem_used, in line: $sem_waiters" \
		"sem_used == 0 && sem_waiters == 0"
	fact "workers that ended: $(grep -c 'worker.*ended' "$GATEWAY_RUN/master.out")" \
		"$(grep -c 'worker.*ended' "$GATEWAY_RUN/master.out") == 0"
}

if [ -n "${abuse_alone:-}" ]; then
	say 'Absurd requests'
	abuse
	abuse_books
	gateway_stop
	. "$GATEWAY_RUN/books"
	eval "$("$gateway" audit "$GATEWAY_RUN/access.log")"
	fact "records committed $((log_sent - log_skipped)), on disk $log_lines, twice $log_twice" \
		"log_lines == log_sent - log_skipped && log_twice == 0 && log_malformed == 0"
	fact "permits in use at the end: $sem_used" "sem_used == 0 && sem_diff == 0"
	exit $((failures != 0))
fi
