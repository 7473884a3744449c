#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Every example that ends by itself is run; the gateway has its own end-to-end run, `make demo`.
set -u
cd "$(dirname "$0")/.." || exit 1
B=${BUILD:-build}
passed=0
failed=0
WEIR_DIR=$(mktemp -d /dev/shm/weir-examples.XXXXXX)
export WEIR_DIR
trap 'rm -rf "$WEIR_DIR"' EXIT
for dir in examples/*/; do
	name=$(basename "$dir")
	[ "$name" != gateway ] || continue
	if timeout 60 "$B/example-$name"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL example-$name"
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
