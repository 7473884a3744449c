#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Each twin of twins.txt: change a copy of the source, compile it as the library is compiled, link
# it with the rest, and let its model find the fault.  twins.sh BUILD SECONDS [NAME...]
# SECONDS 0: does the change still apply?  Twins `control...` have no fault, and must show none.
set -u
build=$1
budget=$2
shift 2
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root" || exit 1
work=$build/model/twins
mkdir -p "$work"
passed=0
failed=0
flags=(-std=c11 -g -O1 -D_GNU_SOURCE -DWEIR_CRASH -I"$build/gen" -Ilib/include
	-fsanitize=thread -Wno-tsan -include tests/model/relax.h)

say() { # ok?, name, text
	if [ "$1" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
	printf '%-4s twin %-28s %s\n' "$1" "$2" "$3"
}

# A copy of lib/ with the change; everything that includes a changed header is compiled again.
build_twin() { # name, file
	local dir=$work/$1 object source
	rm -rf "$dir"
	mkdir -p "$dir"
	cp -r lib "$dir/lib"
	sed "${seds[@]}" "$2" >"$dir/$2"
	if cmp -s "$2" "$dir/$2"; then
		say FAIL "$1" "its pattern matches nothing in $2"
		return 1
	fi
	if [ "$budget" = 0 ]; then
		say ok "$1" "applies"
		return 1
	fi
	objects=()
	for source in lib/{seg,sync,obj,meta}/*.c; do
		object=$build/model/${source%.c}.o
		if [ "$source" = "$2" ] || [ "${2%.h}" != "$2" ]; then
			object=$dir/${source//\//_}.o
			if ! gcc "${flags[@]}" -I"$dir/lib" -c -o "$object" "$dir/$source" 2>"$dir/log"; then
				say FAIL "$1" "does not compile: $(head -1 "$dir/log")"
				return 1
			fi
			objcopy --redefine-syms=tests/model/seam.syms "$object"
		fi
		objects+=("$object")
	done
	for source in tests/model/models/*.c; do
		object=$build/model/models/$(basename "${source%.c}").o
		if [ "${2%.h}" != "$2" ]; then
			object=$dir/model_$(basename "${source%.c}").o
			gcc "${flags[@]}" -I"$dir/lib" -Itests/model -c -o "$object" "$source" || {
				say FAIL "$1" "its models do not compile"
				return 1
			}
			objcopy --redefine-syms=tests/model/seam.syms "$object"
		fi
		objects+=("$object")
	done
	gcc -o "$dir/model" "$build"/model/core.o "$build"/model/litmus_tests.o \
		"$build"/model/layout_tables.o "$build"/model/{check,spec_*}.o "${objects[@]}" && return
	say FAIL "$1" "does not link"
	return 1
}

run_twin() {
	local out one found=
	[ -z "$name" ] && return
	[ $# -gt 0 ] && [[ " $* " != *" $name "* ]] && return
	build_twin "$name" "$file" || return
	if [[ $name = control* ]]; then
		if out=$("$work/$name/model" --budget "$budget" --model "$model"); then
			passed=$((passed + 1))
			echo "ok   $name, a twin without a fault: none is noticed"
		else
			say FAIL "$name" "is not fine: $(head -1 <<<"$out")"
		fi
		rm -rf "${work:?}/$name"
		return
	fi
	while IFS= read -r one; do
		# shellcheck disable=SC2086
		if out=$("$work/$name/model" --expect-failure --budget "$budget" --model $one); then
			if grep -q 'cas sc' <<<"$out" && ! grep -q 'cas sc .* EDGE ' <<<"$out"; then
				say FAIL "$name" "the trace of ${one# } names no edge"
				found=
				break
			fi
			found+="; ${one# }, $(sed -n 's/^model: \([0-9]*\) executions.*/\1/p' <<<"$out"): $(
				head -1 <<<"$out" | cut -c1-70 | sed 's/^ *//')"
		else
			say FAIL "$name" "not noticed by ${one# }: $why"
			[ -n "${KEEP:-}" ] || tail -3 <<<"$out"
			found=
			break
		fi
	done <<<"${model//,/$'\n'}"
	[ -z "$found" ] || say ok "$name" "${found#; }"
	rm -rf "${work:?}/$name"
}

name='' file='' model='' why='' seds=()
while read -r key rest; do
	case $key in
	twin) run_twin "$@" && : ; name=$rest seds=() ;;
	file) file=$rest ;;
	model) model=$rest ;;
	sed) seds+=(-e "$rest") ;;
	why) why=$rest ;;
	esac
done < <(cat tests/model/twins.txt; echo twin)
[ $((passed + failed)) -gt 0 ] || say FAIL "$*" "there is no such twin"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
