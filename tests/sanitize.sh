#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# sanitize.sh units|commands|gateway: under AddressSanitizer and UndefinedBehaviorSanitizer; the last two
# also with leaks looked for, the gateway under absurd requests.  The last line counts.
set -u
cd "$(dirname "$0")/.." || exit 1
build=build/asan
passed=0
failed=0
mapfile -t units < <(basename -s .c tests/unit/test_*.c | sed "s,^,$build/unit/,")
export EXTRA='-fsanitize=address,undefined -fno-sanitize-recover=undefined'
# Not 1, which a command may rightly end with.
export UBSAN_OPTIONS=exitcode=99
built() {
	make --no-print-directory -j"$(nproc)" BUILD=$build OPT=-O1 EXTRA="$EXTRA" "$@" || exit 1
}
count() { # name, status, output
	if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		printf '%s\n' "$3" | grep -E -A20 '^FAIL|ERROR|runtime error' | head -60
	fi
	printf '%s: %s\n' "$1" "$(printf '%s\n' "$3" | tail -1)"
}
case $1 in
units)
	built "$build/libweir.a" "$build/libweir-run.a" "${units[@]}"
	for t in "${units[@]}"; do
		# Forked children end with _exit and SIGKILL: leaks are looked for elsewhere.
		out=$(ASAN_OPTIONS=detect_leaks=0:exitcode=99 timeout 300 "$t" -j2 2>&1)
		count "${t##*/}" $? "$out"
	done
	;;
commands)
	built "$build/libweir.a" "$build/weir"
	for s in tests/cli/run.sh tests/cli/trace.sh tests/cli/commands.bash; do
		out=$(BUILD=$build ASAN_OPTIONS=detect_leaks=1:exitcode=99 \
			LSAN_OPTIONS=print_suppressions=0:suppressions=$PWD/tests/cli/lsan.supp timeout 600 bash "$s" 2>&1)
		count "$s" $? "$out"
	done
	;;
gateway)
	built "$build/libweir.a" "$build/libweir-run.a" "$build/weir" "$build/example-gateway"
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	out=$(BUILD=$build ASAN_OPTIONS=detect_leaks=1:log_path=$dir/report UBSAN_OPTIONS=log_path=$dir/report \
		timeout 300 examples/gateway/abuse.sh 2>&1)
	count examples/gateway/abuse.sh $? "$out"
	# Whatever process it was in, and however that ended.
	out=$(cat "$dir"/report* 2>/dev/null)
	count 'reports of the sanitizers' $((${#out} > 0)) "${out:-none}"
	;;
esac
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
