/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Stages: at least once, and the end is passed on. */
#include <signal.h>

#include "loop_help.h"

/* Only against hanging for ever. */
TestSuite(stage, .timeout = 60);

/* Stages. */

struct work {
	int seen;
	int idles;
	int fail_at; /* the number at which it fails; 0: never */
};

static int double_even(void *user, const struct weir_msg *msg, struct weir_msg *out)
{
	struct work *work = user;
	int number;

	memcpy(&number, msg->data, sizeof(number));
	if (number == work->fail_at)
		return -EIO;
	work->seen++;
	if (number % 2)
		return 0;
	number *= 2;
	if (out) {
		memcpy(out->data, &number, sizeof(number));
		out->bytes = sizeof(number);
	}
	return 1;
}

static int count_idle(void *user)
{
	((struct work *)user)->idles++;
	return 0;
}

static struct weir_queue *queue_out(struct place *place)
{
	struct weir_queue *out;

	cr_assert_eq(weir_queue_open(place->seg, "out", &WEIR_OPTS(queue, .slots = 4, .bytes = 64),
				     &out),
		     0);
	return out;
}

Test(stage, results_go_out_and_the_end_is_passed_on)
{
	struct work work = {0};
	struct weir_queue *out;
	struct child child;
	struct place place;
	uint32_t bytes;
	int number;
	int i;

	place_open(&place);
	out = queue_out(&place);
	for (i = 1; i <= 4; i++)
		cr_assert_eq(weir_queue_try_send(place.queue, &i, sizeof(i)), 0);
	child_start(&child, shut_down, &place);
	cr_assert_eq(
		weir_stage_run(&WEIR_OPTS(stage, .in = place.queue, .out = out, .fn = double_even,
					  .user = &work, .idle = count_idle),
			       NULL),
		0);
	cr_assert_eq(work.seen, 4);
	cr_assert_geq(work.idles, 1);
	for (i = 2; i <= 4; i += 2) {
		cr_assert_eq(weir_queue_recv(out, &number, sizeof(number), &bytes, NULL), 0);
		cr_assert_eq(number, 2 * i);
	}
	cr_assert_eq(weir_queue_recv(out, &number, sizeof(number), &bytes, NULL), -ESHUTDOWN);
	child_end(&child, 0);
	weir_queue_close(out);
	place_close(&place);
}

Test(stage, a_failing_function_puts_its_message_back)
{
	struct work work = {.fail_at = 2};
	struct weir_queue *out;
	struct place place;
	uint32_t bytes;
	int number;
	int i;

	place_open(&place);
	out = queue_out(&place);
	for (i = 1; i <= 3; i++)
		cr_assert_eq(weir_queue_try_send(place.queue, &i, sizeof(i)), 0);
	cr_assert_eq(weir_stage_run(&WEIR_OPTS(stage, .in = place.queue, .out = out,
					       .fn = double_even, .user = &work),
				    NULL),
		     -EIO);
	cr_assert_eq(work.seen, 1);
	cr_assert_eq(weir_queue_recv(place.queue, &number, sizeof(number), &bytes, NULL), 0);
	cr_assert_eq(number, 2);
	cr_assert_eq(weir_queue_try_recv(out, &number, sizeof(number), &bytes), -EAGAIN);
	/* Its slot was given up and blocks nobody. */
	cr_assert_eq(weir_queue_try_send(out, &number, sizeof(number)), 0);
	cr_assert_eq(weir_queue_try_recv(out, &number, sizeof(number), &bytes), 0);
	weir_queue_close(out);
	place_close(&place);
}

Test(stage, a_last_stage_needs_no_queue_out)
{
	struct work work = {0};
	struct place place;
	int i = 2;

	place_open(&place);
	cr_assert_eq(weir_queue_try_send(place.queue, &i, sizeof(i)), 0);
	cr_assert_eq(weir_queue_shutdown(place.queue), 0);
	cr_assert_eq(weir_stage_run(
			     &WEIR_OPTS(stage, .in = place.queue, .fn = double_even, .user = &work),
			     NULL),
		     0);
	cr_assert_eq(work.seen, 1);
	place_close(&place);
}

Test(stage, the_context_ends_it)
{
	struct work work = {0};
	struct weir_ctx ctx;
	struct place place;

	place_open(&place);
	cr_assert_eq(weir_ctx_init(&ctx, NULL, 5 * MS), 0);
	cr_assert_eq(weir_stage_run(&WEIR_OPTS(stage, .in = place.queue, .fn = double_even,
					       .user = &work, .idle = count_idle),
				    &ctx),
		     -ETIMEDOUT);
	cr_assert_eq(work.idles, 1);
	cr_assert_eq(weir_stage_run(&WEIR_OPTS(stage, .in = place.queue), NULL), -EINVAL);
	place_close(&place);
}

static int stage_in_child(struct place *place, int tell)
{
	struct work work = {0};
	struct weir_queue *out;

	(void)tell;
	if (weir_queue_open(place->seg, "out", NULL, &out) < 0)
		return 1;
	return weir_stage_run(&WEIR_OPTS(stage, .in = place->queue, .out = out, .fn = double_even,
					 .user = &work),
			      NULL) < 0;
}

static int work_and_die(void *user, const struct weir_msg *msg, struct weir_msg *out)
{
	(void)user;
	(void)msg;
	(void)out;
	return raise(SIGKILL);
}

static int dying_stage(struct place *place, int tell)
{
	struct weir_queue *out;

	(void)tell;
	if (weir_queue_open(place->seg, "out", NULL, &out) < 0)
		return 1;
	return weir_stage_run(&WEIR_OPTS(stage, .in = place->queue, .out = out, .fn = work_and_die),
			      NULL) < 0;
}

Test(stage, what_a_dead_stage_was_at_is_done_by_the_next)
{
	struct weir_queue *out;
	struct child child;
	struct place place;
	uint32_t bytes;
	int number = 2;

	place_open(&place);
	out = queue_out(&place);
	cr_assert_eq(weir_queue_try_send(place.queue, &number, sizeof(number)), 0);
	child_start(&child, dying_stage, &place);
	child_end(&child, SIGKILL);
	child_start(&child, stage_in_child, &place);
	cr_assert_eq(weir_queue_recv(out, &number, sizeof(number), &bytes, NULL), 0);
	cr_assert_eq(number, 4);
	cr_assert_eq(weir_queue_shutdown(place.queue), 0);
	cr_assert_eq(weir_queue_recv(out, &number, sizeof(number), &bytes, NULL), -ESHUTDOWN);
	child_end(&child, 0);
	weir_queue_close(out);
	place_close(&place);
}

/* Takes the only message, says so, and dies once the stage must have seen the end of `in`. */
static int take_and_die_later(struct place *place, int tell)
{
	struct weir_msg msg;

	if (weir_queue_take(place->queue, &msg, NULL) < 0 || write(tell, "", 1) != 1)
		return 1;
	nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	return raise(SIGKILL);
}

Test(stage, a_message_in_the_hands_of_a_colleague_is_not_the_end)
{
	struct work work = {0};
	struct weir_queue *out;
	struct child child;
	struct place place;
	uint32_t bytes;
	int number = 2;

	place_open(&place);
	out = queue_out(&place);
	cr_assert_eq(weir_queue_try_send(place.queue, &number, sizeof(number)), 0);
	cr_assert_eq(weir_queue_shutdown(place.queue), 0);
	child_start(&child, take_and_die_later, &place);
	child_hear(&child);
	cr_assert_eq(weir_stage_run(&WEIR_OPTS(stage, .in = place.queue, .out = out,
					       .fn = double_even, .user = &work),
				    NULL),
		     0);
	cr_assert_eq(work.seen, 1);
	cr_assert_eq(weir_queue_recv(out, &number, sizeof(number), &bytes, NULL), 0);
	cr_assert_eq(number, 4);
	child_end(&child, SIGKILL);
	weir_queue_close(out);
	place_close(&place);
}
