#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Weaken each memory order of a source by one step, one at a time; which are noticed by no model?
# A survivor is redundant, or ordered by a neighbour, or beyond what the models do: read it.
# mutants.sh BUILD SECONDS FILE MODEL...      (seconds per model; MODEL may end in *)
set -u
build=$1
budget=$2
file=$3
shift 3
cd "$(dirname "$0")/../.." || exit 1
dir=$build/model/mutant
flags=(-std=c11 -g -O1 -D_GNU_SOURCE -DWEIR_CRASH -w -I"$build/gen" -I"$dir/lib" -Ilib/include
	-fsanitize=thread -include tests/model/relax.h)
mkdir -p "$dir"
rm -rf "$dir/lib"
cp -r lib "$dir/lib"
objects=()
for source in lib/{seg,sync,obj,meta}/*.c; do
	[ "$source" = "$file" ] || objects+=("$build/model/${source%.c}.o")
done
noticed=0
all=0
weaken() { # line, from, to
	local name
	sed "$1s/$2(/$3(/" "$file" >"$dir/$file"
	gcc "${flags[@]}" -c -o "$dir/mutant.o" "$dir/$file" &&
		objcopy --redefine-syms=tests/model/seam.syms "$dir/mutant.o" &&
		gcc -o "$dir/model" "$build"/model/core.o "$build"/model/litmus_tests.o \
			"$build"/model/models/*.o "$build"/model/layout_tables.o "${objects[@]}" \
			"$dir/mutant.o" || exit 1
	all=$((all + 1))
	for name in "${models[@]}"; do
		if ! "$dir/model" --model "$name" --budget "$budget" >/dev/null; then
			noticed=$((noticed + 1))
			return
		fi
	done
	printf 'survives %s:%s: %s -> %s\n' "$file" "$1" "$2" "$3"
}
models=("$@")
for step in load_full:load_acquire load_acquire:load_relaxed store_full:store_release \
	store_release:store_relaxed cas_full:cas_relaxed add_full:add_relaxed; do
	while IFS=: read -r line _; do
		weaken "$line" "weir_${step%:*}" "weir_${step#*:}"
	done < <(grep -n "weir_${step%:*}(" "$file")
done
echo "$file: $noticed of $all noticed"
