#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# clang-tidy over what users run (library, tools, examples): most of a minute, so in `make tidy` and `make ci`, not
# in `make check`.  Not over trace_bpf.c: the skeleton that bpftool writes for it leaks when memory is short.
cd "$(dirname "$0")/.." || exit 1
command -v clang-tidy >/dev/null || { echo "FAIL clang-tidy is not installed" && exit 1; }
export flags
flags="-std=c11 -D_GNU_SOURCE -Ilib -Ilib/include -Ibuild/gen -Ibpf -Itools $(pkg-config --cflags smartcols)"
printf '%s\n' lib/*/*.c tools/*.c examples/*/*.c | grep -v trace_bpf | xargs -P"$(nproc)" -n4 sh -c \
	'clang-tidy --quiet "$@" -- $flags 2>/dev/null' sh
