#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The weir command as a user meets it: good use, exit statuses, bad input.
set -u
cd "$(dirname "$0")/../.." || exit 1
weir=$PWD/${BUILD:-build}/weir
passed=0
failed=0
WEIR_DIR=$(mktemp -d /dev/shm/weir-cli.XXXXXX)
export WEIR_DIR
trap 'rm -rf "$WEIR_DIR"' EXIT
# expect STATUS TEXT COMMAND...: the status, and TEXT somewhere in the output.
expect() {
	local want=$1 text=$2 out status
	shift 2
	out=$("$@" 2>&1)
	status=$?
	if [ $status -eq "$want" ] && [[ $out == *"$text"* ]]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'FAIL %s\n  status %s, wanted %s with "%s"\n%s\n' "$*" "$status" "$want" "$text" "$out"
	fi
}
for _ in $(seq 20); do expect 0 "" "$weir" rate take mail 20/hour; done
expect 1 "retry" "$weir" rate take mail 20/hour
expect 0 "" "$weir" rate status mail
expect 2 "" "$weir" rate take x 0/hour
expect 2 "" "$weir" rate take x nonsense
expect 0 "hello" "$weir" sem run build --permits 4 -n 2 -- echo hello
expect 3 "" "$weir" sem run build --permits 4 -- sh -c 'exit 3'
expect 127 "" "$weir" sem run build --permits 4 -- /no/such/program
expect 125 "" "$weir" sem run build --permits 4 -n 5 -- true
expect 125 "" "$weir" sem run build --permits 5 -- true
"$weir" sem run build --permits 4 -n 4 -- sleep 30 &
holder=$!
until "$weir" show local:build 2>/dev/null | grep -Eq 'used +4'; do sleep 0.05; done
expect 124 "" "$weir" sem run build --permits 4 --timeout 100ms -- true
kill -9 $holder
wait $holder 2>/dev/null
expect 0 "back" "$weir" sem run build --permits 4 -n 4 --timeout 5s -- echo back
expect 1 "" "$weir" breaker run api --failures 2/10s --open-for 30s -- false
expect 1 "" "$weir" breaker run api -- false
expect 1 "open" "$weir" breaker run api -- echo not run
expect 0 "" "$weir" breaker close api
expect 0 "run" "$weir" breaker run api -- echo run
expect 0 "" "$weir" queue put jobs one
expect 0 "one" "$weir" queue peek jobs
expect 0 "one" "$weir" queue get jobs
expect 1 "" "$weir" queue get jobs
for command in "ls" "show local" "show local:mail" "show local:build" "show local:api" "show local:jobs" \
	"ps" "stat local" "events local" "check local" "layout" "layout sem" "version" "doctor"; do
	# shellcheck disable=SC2086
	expect 0 "{" bash -c "\"$weir\" $command -J | jq -ce 'select(.schema)'"
done
expect 0 "WEIRSEG1" "$weir" layout segment
expect 2 "Did you mean 'ls'" "$weir" lst
expect 2 "" "$weir" ls --no-such-option
expect 3 "W-" "$weir" show nosuch
expect 3 "" "$weir" show local:nosuch
expect 125 "W-USAGE" "$weir" sem run a/b --permits 1 -- true
expect 0 "" "$weir" check local
# Foreign files: truncated, random, another layout, before the last boot, links.
cp "$WEIR_DIR/local" "$WEIR_DIR/short" && truncate -s 1000 "$WEIR_DIR/short"
expect 5 "" "$weir" show short
head -c 100000 /dev/urandom >"$WEIR_DIR/noise"
expect 5 "" "$weir" show noise
: >"$WEIR_DIR/empty"
expect 5 "" "$weir" show empty
cp "$WEIR_DIR/local" "$WEIR_DIR/other" && printf 'XX' | dd of="$WEIR_DIR/other" bs=1 seek=8 conv=notrunc 2>/dev/null
expect 5 "" "$weir" show other
ln -s /etc/passwd "$WEIR_DIR/link"
"$weir" show link >/dev/null 2>&1
expect 0 "" test $? -ne 0
for seed in $(seq 8); do
	cp "$WEIR_DIR/local" "$WEIR_DIR/fuzz"
	python3 - "$WEIR_DIR/fuzz" "$seed" <<-'P'
	import random, sys
	random.seed(int(sys.argv[2]))
	f = open(sys.argv[1], "r+b")
	for _ in range(200):
	    f.seek(random.choice([random.randrange(16, 704), random.randrange(8000, 200000)]))
	    f.write(bytes([random.randrange(256)]))
	P
	for command in ls show ps check events; do
		timeout 10 "$weir" $command fuzz >/dev/null 2>&1
		status=$?
		[ $status -lt 9 ] && passed=$((passed + 1)) || { failed=$((failed + 1)); echo "FAIL $command, seed $seed: $status"; }
	done
done
rm -f "$WEIR_DIR"/{short,noise,empty,other,link,fuzz}
if [ "$(id -u)" -eq 0 ]; then
	chmod 711 "$WEIR_DIR"
	expect 4 "W-EACCES" setpriv --reuid=65534 --regid=65534 --clear-groups env WEIR_DIR="$WEIR_DIR" "$weir" show local
fi
expect 0 "" "$weir" gc --yes
expect 0 "" "$weir" rm local --yes
expect 0 "" test -z "$(ls -A "$WEIR_DIR")"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
