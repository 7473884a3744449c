# SPDX-License-Identifier: MIT OR Apache-2.0
# Start and stop a gateway of one's own: sourced by demo.sh and abuse.sh.
#
# Everything lives in two fresh directories: the segment in WEIR_DIR (memory), pids, sockets and the
# access log in GATEWAY_RUN (a disk).  Only processes that we started are ended, by their pid.

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
build=${BUILD:-build}
gateway=$build/example-gateway
weir=$build/weir
PORT=${PORT:-0}
export PORT
master=
helpers=()
failures=0

# fact TEXT CONDITION...: print what was measured and whether it is as promised.  A figure that nobody
# measured is not 0.
fact() {
	local text=$1 figure missing=
	shift
	for figure in $(grep -o '[a-z_][a-z_0-9]*' <<<"$*"); do
		[ -n "${!figure+set}" ] || missing+=" $figure"
	done
	if [ -z "$missing" ] && (($*)); then
		printf '  ok    %s\n' "$text"
	else
		printf '  FAIL  %s\n        (%s)%s\n' "$text" "$*" "${missing:+, not measured:$missing}"
		failures=$((failures + 1))
	fi
}

say() {
	printf '\n%s\n' "$*"
}

free_port() {
	local port
	for port in $(shuf -i 20000-32000 -n 50); do
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			return
		fi
	done
}

gateway_start() {
	[ -x "$gateway" ] || { echo "$gateway is missing: make examples" >&2; exit 1; }
	WEIR_DIR=$(mktemp -d /dev/shm/weir-demo.XXXXXX) || exit 1
	GATEWAY_RUN=$(mktemp -d "${TMPDIR:-/tmp}/weir-demo.XXXXXX") || exit 1
	export WEIR_DIR GATEWAY_RUN
	trap gateway_clean EXIT
	trap 'exit 130' INT TERM
	[ "$PORT" != 0 ] || PORT=$(free_port)
	# With this shell, however it ends, the gateway ends too.
	setpriv --pdeathsig TERM "$gateway" master "$PORT" >"$GATEWAY_RUN/master.out" 2>&1 &
	master=$!
	for _ in $(seq 200); do
		[ -e "$GATEWAY_RUN/master.pid" ] && curl -sf -o /dev/null "http://127.0.0.1:$PORT/health" &&
			return
		kill -0 "$master" 2>/dev/null || break
		sleep 0.05
	done
	echo "the gateway does not start:" >&2
	cat "$GATEWAY_RUN/master.out" >&2
	exit 1
}

# End all processes in order; the books of the last moment are in books.
gateway_stop() {
	kill -TERM "$master" 2>/dev/null
	wait "$master"
	stopped=$?
	grep '^[a-z_]*=-\?[0-9]*$' "$GATEWAY_RUN/master.out" >"$GATEWAY_RUN/books"
	master=
}

gateway_clean() {
	local pid
	trap - EXIT
	trap '' INT TERM
	for pid in "${helpers[@]}" $master; do
		kill -TERM "$pid" 2>/dev/null
	done
	for pid in "${helpers[@]}" $master; do
		wait "$pid" 2>/dev/null
	done
	if [ -n "${KEEP:-}" ]; then
		echo "kept: $GATEWAY_RUN"
	else
		rm -rf "$GATEWAY_RUN"
	fi
	rm -rf "$WEIR_DIR"
}

pid_of() {
	cat "$GATEWAY_RUN/$1.pid"
}

# Wait until NAME runs as another process than PID.
replaced() {
	local i
	for i in $(seq 200); do
		[ "$(pid_of "$1")" != "$2" ] && return 0
		sleep 0.02
	done
	return 1
}
