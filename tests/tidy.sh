#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The rules a script can check: layers, the seam, edges, crash points, lengths.
set -u
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0
rule() { # name, findings
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'FAIL %s\n%s\n' "$1" "$2"
	fi
}
sources() { find lib tools examples tests bench bpf shm-layouts/gen -name '*.[ch]' 2>/dev/null; }
upward() { # folder, forbidden folders
	grep -nE "#include \"($2)/" "lib/$1"/*.[ch] 2>/dev/null
}
rule "os/ includes nothing above it" "$(upward os 'seg|sync|obj|run')"
rule "seg/ includes only os/" "$(upward seg 'sync|obj|run')"
rule "sync/ includes only seg/ and os/" "$(upward sync 'obj|run')"
rule "obj/ does not include run/" "$(upward obj 'run')"
rule "run/ uses the public interface" "$(grep -nE '#include "(os|seg|sync|obj)/' lib/run/*.[ch])"
rule "tools and examples use public headers" "$(grep -rnE '#include "(os|seg|sync|obj)/' tools examples 2>/dev/null)"
rule "stdatomic.h only in os/" "$(grep -rln 'stdatomic.h' lib --include=*.[ch] | grep -v '^lib/os/')"
rule "system calls and mmap only in os/" "$(grep -nE '(^|[^_[:alnum:]])(syscall|mmap|madvise|fcntl)\(' lib/{seg,sync,obj,meta}/*.[ch])"
rule "the library never prints and never exits" "$(grep -nE '(^|[^_snv[:alnum:]])(printf|fprintf|perror|exit|abort)\(' lib/{os,seg,sync,obj,meta,run}/*.[ch])"
rule "lines of code files at most 100 columns" "$(sources | xargs awk '{l=$0; gsub(/\t/,"        ",l); if (length(l)>100) print FILENAME":"FNR": "length(l)}' | head -40)"
rule "clang-format is there" "$(command -v clang-format >/dev/null || echo 'install clang-format')"
rule "clang-format changes nothing" "$(sources | xargs clang-format --dry-run 2>&1 | grep -oE '^[^ :]+\.[ch]:' | sort | uniq -c | head)"
rule "files at most 800 lines" "$(sources | xargs wc -l | awk '$1>800 && $2!="total"')"
rule "functions at most 70 lines" "$(sources | xargs awk 'FNR==1{s=0} /^\{/{s=FNR} /^\}/{if(s&&FNR-s>70)print FILENAME":"s": "FNR-s" lines"; s=0}')"
rule "SPDX line first" "$(sources | while read -r f; do head -1 "$f" | grep -q SPDX || echo "$f"; done)"
# An edge is named at both ends: every name occurs at least twice.
rule "every EDGE has two ends" "$(grep -rhoE 'EDGE [a-z_.]+' lib --include=*.[ch] | sort | uniq -c | awk '$1<2{print $3}')"
rule "the register of edges is up to date (make edges)" "$(tests/edges.sh --check || echo docs/MEMORY-MODEL.md)"
# An ordered access has its EDGE within the twelve lines before it, or on its line.
rule "every ordered access names an EDGE" "$(awk '
	FNR==1 {edge=-99}
	/EDGE [a-z_.]+/ {edge=FNR}
	FILENAME !~ /lib\/os\/atomic.h/ && /weir_(load_acquire|load_full|store_release|store_full|swap_full|add_full|cas_full|fence_[a-z]+)\(/ {
		if (FNR-edge>12) print FILENAME":"FNR": "$0 }' $(find lib -name '*.[ch]'))"
rule "every crash point has a row in docs/CRASH.md" "$(grep -rhoE 'WEIR_CRASH_POINT\([a-z_]+\)' lib --include=*.[ch] | sed 's/.*(\(.*\))/\1/' | grep -v '^name$' | sort -u | while read -r p; do grep -q "^| $p " docs/CRASH.md 2>/dev/null || echo "$p"; done)"
# Faults and twins are edits of the library's text.
rule "the faults of tests/lin apply" "$(tests/lin/broken.sh edits "$work" | grep 'did not apply')"
rule "the faults of tests/sweep apply" "$(tests/sweep/broken.sh edits "$work" | grep 'did not apply')"
rule "the twins of tests/model apply" "$(tests/model/twins.sh "$work" 0 | grep '^FAIL')"
rule "every W- code of the tools is in weir-errors(7)" "$(grep -rhoE '\bW-[A-Z]+' tools | sort -u | while read -r w; do grep -q "^\.It $w\b" man/weir-errors.7 || echo "$w"; done)"
rule "no machine's own paths" "$(git grep -nIE '(^|[^A-Za-z0-9_.])/(work|farm)/' -- . 2>/dev/null | grep -v '^tests/tidy.sh')"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
