#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# clang-tidy over the library: half a minute, so in `make tidy` and `make ci`, not in `make check`.
cd "$(dirname "$0")/.." || exit 1
command -v clang-tidy >/dev/null || { echo "FAIL clang-tidy is not installed" && exit 1; }
printf '%s\n' lib/*/*.c | xargs -P"$(nproc)" -n4 sh -c \
	'clang-tidy --quiet "$@" -- -std=c11 -D_GNU_SOURCE -Ilib -Ilib/include -Ibuild/gen 2>/dev/null' sh
