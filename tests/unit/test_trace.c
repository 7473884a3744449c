/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Trace ids and the traceparent header, against the rules of W3C Trace Context level 1. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir/ctx.h>

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN  "00f067aa0ba902b7"

static int parse(const char *text, struct weir_trace *ret)
{
	return weir_traceparent_parse(text, strlen(text), ret);
}

Test(trace, reads_the_example_of_the_standard)
{
	static const uint8_t trace_id[16] = {0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6,
					     0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36};
	static const uint8_t span_id[8] = {0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7};
	struct weir_trace trace;

	cr_assert_eq(parse("00-" TRACE "-" SPAN "-01", &trace), 0);
	cr_assert_arr_eq(trace.trace_id, trace_id, sizeof(trace_id));
	cr_assert_arr_eq(trace.span_id, span_id, sizeof(span_id));
	cr_assert_eq(trace.flags, 1);
}

Test(trace, accepts_what_the_standard_accepts)
{
	static const struct {
		const char *text;
		uint8_t flags;
	} good[] = {
		{"00-" TRACE "-" SPAN "-00", 0},
		{"00-" TRACE "-" SPAN "-01", 1},
		{"00-" TRACE "-" SPAN "-ff", 1}, /* unknown flags are dropped */
		{"00-" TRACE "-" SPAN "-fe", 0},
		{"01-" TRACE "-" SPAN "-01", 1},
		{"cc-" TRACE "-" SPAN "-01-what-the-future-brings", 1},
		{"cc-" TRACE "-" SPAN "-01-", 1},
		{"fe-" TRACE "-" SPAN "-01-.", 1},
		{"00-00000000000000000000000000000001-0000000000000001-00", 0},
	};
	struct weir_trace trace;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		cr_assert_eq(parse(good[i].text, &trace), 0, "%s", good[i].text);
		cr_assert_eq(trace.flags, good[i].flags, "%s", good[i].text);
	}
}

Test(trace, refuses_what_the_standard_refuses)
{
	static const char *const bad[] = {
		"",
		"00",
		"ff-" TRACE "-" SPAN "-01",
		"0-" TRACE "-" SPAN "-01",
		"000-" TRACE "-" SPAN "-01",
		".0-" TRACE "-" SPAN "-01",
		"0.-" TRACE "-" SPAN "-01",
		"00-" TRACE "-" SPAN "-01.",
		"00-" TRACE "-" SPAN "-01-",
		"00-" TRACE "-" SPAN "-01-what-the-future-brings",
		"cc-" TRACE "-" SPAN "-01.what-the-future-brings",
		"cc-" TRACE "-" SPAN "-010",
		"00-00000000000000000000000000000000-" SPAN "-01",
		"00-" TRACE "-0000000000000000-01",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
		"00-" TRACE "-00F067AA0BA902B7-01",
		"00-" TRACE "-" SPAN "-0A",
		"0A-" TRACE "-" SPAN "-01",
		"00-.bf92f3577b34da6a3ce929d0e0e4736-" SPAN "-01",
		"00-" TRACE "-.0f067aa0ba902b7-01",
		"00-" TRACE "-" SPAN "-.0",
		"00-" TRACE "-" SPAN "-0.",
		"00-" TRACE "-" SPAN "-1",
		"00-4bf92f3577b34da6a3ce929d0e0e473-" SPAN "-001",
		"00_" TRACE "-" SPAN "-01",
		"00-" TRACE "_" SPAN "-01",
		"00-" TRACE "-" SPAN "_01",
		" 00-" TRACE "-" SPAN "-01",
		"00-" TRACE "-" SPAN "-01 ",
	};
	struct weir_trace trace;
	struct weir_trace before;

	memset(&before, 0x5a, sizeof(before));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		trace = before;
		cr_assert_eq(parse(bad[i], &trace), -EINVAL, "%s", bad[i]);
		cr_assert_eq(memcmp(&trace, &before, sizeof(trace)), 0, "%s", bad[i]);
	}
}

Test(trace, never_reads_beyond_the_length)
{
	const char *text = "cc-" TRACE "-" SPAN "-01.";
	struct weir_trace trace;

	cr_assert_eq(weir_traceparent_parse(text, 55, &trace), 0);
	cr_assert_eq(weir_traceparent_parse(text, 56, &trace), -EINVAL);
	for (size_t n = 0; n < 55; n++)
		cr_assert_eq(weir_traceparent_parse(text, n, &trace), -EINVAL);
}

Test(trace, what_is_written_reads_back)
{
	char text[WEIR_TRACEPARENT_BYTES];
	struct weir_trace trace;
	struct weir_trace back;

	cr_assert_eq(parse("00-" TRACE "-" SPAN "-01", &trace), 0);
	weir_traceparent_format(&trace, text);
	cr_assert_str_eq(text, "00-" TRACE "-" SPAN "-01");
	for (int i = 0; i < 1000; i++) {
		cr_assert_eq(weir_trace_new(&trace), 0);
		weir_traceparent_format(&trace, text);
		cr_assert_eq(parse(text, &back), 0);
		cr_assert_eq(memcmp(&trace, &back, sizeof(trace)), 0);
	}
}

Test(trace, a_child_keeps_the_trace_and_changes_the_span)
{
	struct weir_trace parent;
	struct weir_trace child;

	cr_assert_eq(weir_trace_new(&parent), 0);
	parent.flags = 0;
	cr_assert_eq(weir_trace_child(&parent, &child), 0);
	cr_assert_arr_eq(child.trace_id, parent.trace_id, 16);
	cr_assert_neq(memcmp(child.span_id, parent.span_id, 8), 0);
	cr_assert_eq(child.flags, 0);
	cr_assert_eq(weir_trace_child(&child, &child), 0);
	cr_assert_arr_eq(child.trace_id, parent.trace_id, 16);
}

Test(trace, a_forked_child_does_not_repeat_the_ids_of_its_parent)
{
	struct weir_trace here;
	struct weir_trace there;
	int fds[2];
	pid_t pid;

	cr_assert_eq(weir_trace_new(&here), 0);
	cr_assert_eq(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		weir_trace_new(&there);
		_exit(write(fds[1], &there, sizeof(there)) == sizeof(there) ? 0 : 1);
	}
	cr_assert_eq(read(fds[0], &there, sizeof(there)), (ssize_t)sizeof(there));
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	cr_assert_eq(weir_trace_new(&here), 0);
	cr_assert_neq(memcmp(&here, &there, sizeof(here)), 0);
}
