# SPDX-License-Identifier: MIT OR Apache-2.0
# The demo's part about traces: sourced by demo.sh.
#
# The workers wait inside io_uring and record their waits themselves.  The batch job and the stages
# block in the kernel, where eBPF sees them; only there is the holder named.

TRACE_SECONDS=3

trace_start() {
	"$weir" trace export --format otlp-json --duration ${TRACE_SECONDS}s \
		-o "$GATEWAY_RUN/otlp.json" gateway 2>"$GATEWAY_RUN/trace.err" &
	trace_pid=$!
	helpers+=($trace_pid)
}

# One span a line: what we ask for later, without OTLP's nesting.
trace_flatten() {
	jq -c '
		def value: .stringValue // .intValue // .doubleValue // .boolValue;
		def attributes: map({(.key): (.value | value)}) | add // {};
		.resourceSpans[] | (.resource.attributes | attributes) as $r
		| .scopeSpans[].spans[] | (.attributes | attributes) as $a
		| {name, trace: .traceId, span: .spanId, parent: (.parentSpanId // ""),
		   us: (((.endTimeUnixNano | tonumber) - (.startTimeUnixNano | tonumber)) / 1000 | floor),
		   start: .startTimeUnixNano, role: $r["service.name"], pid: $r["process.pid"],
		   link: (.links[0].spanId? // ""), a: $a}' \
		"$GATEWAY_RUN/otlp.json" >"$GATEWAY_RUN/spans.json"
}

# The longest wait that eBPF saw of the batch job for the permits, and whose request was in the way.
trace_wait() {
	jq -rs '
		map(select(.a["weir.wait.blocked_ns"])) as $waits
		| ($waits | map(select(.name == "wait permits"))) as $mine
		| ($mine | map(select(.a["weir.holder.pid"]))) as $named
		| ($named | map(select(.link != "")) | max_by(.us)) as $w
		| (map(select(.span == $w.link)) | .[0]) as $h
		| "ebpf_waits=\($waits | length)",
		  "ebpf_mine=\($mine | length)",
		  "ebpf_named=\($named | length)",
		  if $w then
			"wait_text=\("the \($w.role) (\($w.pid)) waited \($w.us) us for permits: blocked " +
			"\(($w.a["weir.wait.blocked_ns"] | tonumber) / 1000 | floor) us, \($w.a["weir.wait.sleeps"]) " +
			"sleeps; in the way: \($w.a["weir.holder.role"]) \($w.a["weir.holder.pid"]), in its span " +
			"\($w.link)" + if $h then " (\($h.name), trace \($h.trace))" else "" end | @sh)"
		  else empty end' "$GATEWAY_RUN/spans.json"
}

# A report of wrk's whose whole way is there, the one that waited longest.
trace_request() {
	jq -rs '
		def line($depth; $s): "        " + ("  " * $depth) + "\($s.name): \($s.us) us, " +
			"\($s.role) \($s.pid), span \($s.span)" +
			if $s.a["http.response.status_code"] then
				", \($s.a["http.response.status_code"])" else "" end;
		def tree($all; $depth; $s): line($depth; $s),
			($all | map(select(.parent == $s.span)) | sort_by(.start)[] | tree($all; $depth + 1; .));
		group_by(.trace)
		| map(select(any(.[]; .name == "wait permits" and .role == "worker") and
			     any(.[]; .name == "upstream") and any(.[]; .name == "/report")))
		| max_by(map(select(.name == "wait permits"))[0].us) as $t
		| if $t then
			($t | map(select(.name == "/report"))[0]) as $root
			| "        traceparent of wrk: trace \($root.trace), span \($root.parent)",
			  tree($t; 1; $root)
		  else empty end' "$GATEWAY_RUN/spans.json"
}

trace_report() {
	local tree
	say 'Traces'
	wait "$trace_pid"
	sed 's/^/        /' "$GATEWAY_RUN/trace.err"
	if ! trace_flatten; then
		fact 'weir trace export wrote no OTLP' 0
		return
	fi
	wait_text=
	eval "$(trace_wait)"
	if ((ebpf_waits > 0)) || ! grep -q W-NOBPF "$GATEWAY_RUN/trace.err"; then
		fact "waits seen by eBPF: $ebpf_waits, of them the job's for permits: $ebpf_mine, with the \
holder named: $ebpf_named" 'ebpf_named > 0'
		fact "$wait_text" "${#wait_text} > 0"
	else
		echo '  skip  no waits from eBPF here, for the reason above; the spans are there all the same'
	fi
	tree=$(trace_request)
	fact 'one request from end to end:' "${#tree} > 0"
	echo "$tree"
}
