# SPDX-License-Identifier: MIT OR Apache-2.0
# A public header as a manual page of section 3: its comments as text, its code as code.
#   awk -v name=sem -f man/header.awk lib/include/weir/sem.h >weir-sem.3
function esc(s)
{
	gsub(/\\/, "\\e", s)
	gsub(/-/, "\\-", s)
	if (s ~ /^[.']/) s = "\\&" s
	return s
}
function code(on)
{
	if (on && !in_code) print ".Bd -literal"
	if (!on && in_code) print ".Ed"
	in_code = on
}
BEGIN { LABEL = "^(Returns|Progress|Crash|Context|Source)$" }
# A comment's text: fields of a contract begin a line of their own.
function text(s,    i, n, words, word, label)
{
	code(0)
	print ".Pp"
	n = split(s, words, " ")
	for (i = 1; i <= n; i++) {
		word = words[i]
		if (word ~ LABEL && (i == 1 || words[i - 1] ~ /\.$/))
			printf "%s.br\n.Em %s\n", (i == 1 ? "" : "\n"), word
		else
			printf "%s%s", (i == 1 || label ? "" : words[i - 1] ~ /\.$/ ? "\n" : " "), esc(word)
		label = word ~ LABEL
	}
	printf "\n"
}
NR == 1 { next }
/^#(ifndef|define|include|endif)/ && !/[A-Z_]+[ \t(]+.*[0-9"]/ && !/WEIR_OPTS/ { next }
NR == 2 || !started {
	if (/^\/\*.*\*\/$/) {
		sub(/^\/\* */, ""); sub(/ *\*\/$/, "")
		about = $0
	} else if (/^\/\*$/) {
		getline
		about = $0
		sub(/^ \* */, "", about)
		whole = about
		while ((getline) > 0 && !/\*\//) { sub(/^ \* ?/, ""); whole = whole " " ($0 == "" ? "\001" : $0) }
	} else next
	started = 1
	sub(/\.$/, "", about)
	print ".\\\" Made from lib/include/weir/" name ".h"
	print ".Dd November 25, 2026"
	print ".Dt WEIR-" toupper(name) " 3"
	print ".Os"
	print ".Sh NAME"
	print ".Nm weir-" name
	print ".Nd " esc(about)
	print ".Sh SYNOPSIS"
	print ".In weir" (name == "run" ? "/run" : "") ".h"
	print ".Pp"
	print "cc app.c $(pkg-config \\-\\-cflags \\-\\-libs " (name == "run" ? "weir-run" : "weir") ")"
	print ".Sh DESCRIPTION"
	if (whole) {
		m = split(whole, paras, "\001")
		for (p = 1; p <= m; p++) text(paras[p])
	}
	next
}
# Text waits for the code after it: a function comes before what is said of it.
function flush(    m, p, paras)
{
	if (waiting == "") return
	m = split(waiting, paras, "\001")
	waiting = ""
	for (p = 1; p <= m; p++) if (paras[p] ~ /[^ ]/) text(paras[p])
}
# A comment at the beginning of a line is text.
/^\/\*/ {
	flush()
	buf = $0
	while (buf !~ /\*\//) {
		getline
		if ($0 !~ /^ \*\//) sub(/^ \* ?/, "")
		buf = buf " " ($0 == "" ? "\001" : $0)
	}
	sub(/^\/\*+ */, "", buf); sub(/ *\*\/.*/, "", buf)
	if (buf ~ /^---/) { sub(/^-+ */, "", buf); sub(/ *-+ *$/, "", buf); code(0); print ".Ss " esc(buf); next }
	waiting = buf
	next
}
/^$/ { flush(); if (in_code) print ""; next }
/^WEIR_API / { code(0) }
/^[^ \t}]/ && !/^WEIR_API / { flush() }
{ code(1); sub(/^WEIR_API /, ""); print esc($0) }
END {
	flush()
	code(0)
	print ".Sh SEE ALSO"
	print ".Xr weir 1 ,"
	print ".Xr weir-errors 7"
}
