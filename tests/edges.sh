#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# edges.sh [--check]: write the register of orderings at the end of docs/MEMORY-MODEL.md from the
# EDGE comments in lib/, or say whether it is up to date.
set -eu
cd "$(dirname "$0")/.."
doc=docs/MEMORY-MODEL.md
mark='<!-- The register: written by `make edges`, do not edit below. -->'
new=$(mktemp)
trap 'rm -f "$new"' EXIT
sed "/^<!-- The register/,\$d" "$doc" >"$new"
{
	echo "$mark"
	echo
	echo "| edge | order | partner | where |"
	echo "|---|---|---|---|"
	# The function is the one whose name stood last at the beginning of a line.
	find lib -name '*.[ch]' | LC_ALL=C sort | xargs awk '
		FNR == 1 { fn = "" }
		/^[a-z_].*[a-z0-9_]+\(/ && !/;$/ && !/^#/ {
			fn = $0; sub(/__attribute__\(\([a-z_]*\)\) /, "", fn); sub(/\(.*/, "", fn); sub(/.*[ *]/, "", fn)
		}
		/EDGE [a-z_.]+ *\((acquire|release|full|fence)/ {
			line = $0
			if (line !~ /EDGE [a-z_.]+ *\([^)]*\)/) {
				getline more
				sub(/^[ \t*]*/, "", more)
				line = line " " more
			}
			while (match(line, /EDGE [a-z_.]+ *\([^)]*\)/)) {
				edge(substr(line, RSTART + 5, RLENGTH - 5))
				line = substr(line, RSTART + RLENGTH)
			}
		}
		function edge(line,   name, in_it, order, partner, way, file, key, where) {
			name = line; sub(/ .*/, "", name)
			in_it = line; sub(/^[^(]*\(/, "", in_it); sub(/\).*/, "", in_it)
			sub(/^fence of [a-z_]+/, "fence", in_it)
			if (in_it !~ /^(acquire|release|full|fence)/) return
			order = in_it; sub(/ .*/, "", order)
			partner = in_it; sub(/^[a-z]+ */, "", partner); sub(/^(<-|->) */, "", partner)
			way = in_it ~ /<-/ ? "<-" : "->"
			file = FILENAME; sub(/^lib\//, "", file)
			key = name "|" order " " way "|" partner
			where = file (fn == "" ? "" : " `" fn "`")
			if (!(key in at)) at[key] = where
			else if (index(at[key], where) == 0) at[key] = at[key] ", " where
		}
		END {
			for (k in at) {
				row = k
				gsub(/\|/, " | ", row)
				print "| " row " | " at[k] " |"
			}
		}' |
		LC_ALL=C sort
} >>"$new"
if [ "${1:-}" = --check ]; then
	cmp -s "$new" "$doc"
else
	cat "$new" >"$doc"
fi
