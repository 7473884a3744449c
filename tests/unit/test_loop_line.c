/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Waiting in the loop for semaphores and queues that other processes use. */
#include <signal.h>

#include "loop_help.h"

/* Only against hanging for ever. */
TestSuite(loop_line, .timeout = 60);

/* Semaphores. */

Test(loop_line, free_permits_are_taken_at_once)
{
	struct weir_loop *loop = loop_make();
	struct weir_sem_stat stat;
	struct end end = END;
	struct place place;

	place_open(&place);
	cr_assert_eq(weir_loop_acquire(loop, &end.op, place.sem, 2, 0), 0);
	cr_assert_eq(end.calls, 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&end, 0);
	cr_assert_eq(weir_sem_stat(place.sem, &stat), 0);
	cr_assert_eq(stat.held_here, 2);
	cr_assert_eq(weir_sem_release(place.sem, 2), 0);
	loop_end(loop);
	place_close(&place);
}

/* Hold both permits until somebody waits. */
static int hold_until_wanted(struct place *place, int tell)
{
	struct weir_sem_stat stat = {0};

	if (weir_sem_acquire(place->sem, 2, NULL) < 0 || write(tell, "", 1) != 1)
		return 1;
	while (!stat.waiters) {
		if (weir_sem_stat(place->sem, &stat) < 0)
			return 2;
		pause_1ms();
	}
	return weir_sem_release(place->sem, 2) < 0 ? 3 : 0;
}

static void acquire_from_another_process(uint32_t flags)
{
	struct weir_loop *loop = loop_make_flags(flags);
	struct end first = END;
	struct end second = END;
	struct child child;
	struct place place;

	place_open(&place);
	child_start(&child, hold_until_wanted, &place);
	child_hear(&child);
	cr_assert_eq(weir_loop_acquire(loop, &first.op, place.sem, 1, NEVER), 0);
	cr_assert_eq(weir_loop_acquire(loop, &second.op, place.sem, 1, NEVER), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&first, 0);
	assert_end(&second, 0);
	cr_assert_lt(first.order, second.order);
	child_end(&child, 0);
	loop_end(loop);
	place_close(&place);
}

Test(loop_line, acquire_waits_for_another_process)
{
	acquire_from_another_process(0);
}

Test(loop_line, acquire_waits_for_another_process_without_futex)
{
	acquire_from_another_process(WEIR_LOOP_NO_FUTEX);
}

static int hold_and_die(struct place *place, int tell)
{
	if (weir_sem_acquire(place->sem, 2, NULL) < 0 || write(tell, "", 1) != 1)
		return 1;
	for (;;)
		pause();
}

static void acquire_from_the_dead(uint32_t flags)
{
	struct weir_loop *loop = loop_make_flags(flags);
	struct end end = END;
	struct child child;
	struct place place;

	place_open(&place);
	child_start(&child, hold_and_die, &place);
	child_hear(&child);
	cr_assert_eq(weir_loop_acquire(loop, &end.op, place.sem, 2, NEVER), 0);
	run_for(loop, 5 * MS);
	cr_assert_eq(end.calls, 0);
	kill(child.pid, SIGKILL);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&end, 0);
	child_end(&child, SIGKILL);
	loop_end(loop);
	place_close(&place);
}

Test(loop_line, acquire_gets_what_the_dead_held)
{
	acquire_from_the_dead(0);
}

Test(loop_line, acquire_gets_what_the_dead_held_without_futex)
{
	acquire_from_the_dead(WEIR_LOOP_NO_FUTEX);
}

/* Give back what was got, and count. */
static void give_back(struct weir_loop *loop, struct weir_op *op, int result)
{
	ended(loop, op, result);
	if (!result)
		((struct end *)op)->result = weir_sem_release(op->user, op->weight);
}

static void acquire_in_a_row(uint32_t flags)
{
	struct weir_loop *loop = loop_make_flags(flags);
	struct end row[16] = {0};
	struct place place;
	int i;

	place_open(&place);
	for (i = 0; i < 16; i++) {
		row[i].op.fn = give_back;
		row[i].op.user = place.sem;
		cr_assert_eq(weir_loop_acquire(loop, &row[i].op, place.sem, (uint32_t)(1 + i % 2),
					       NEVER),
			     0);
	}
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	for (i = 0; i < 16; i++) {
		assert_end(&row[i], 0);
		cr_assert_eq(row[i].order, i + 1);
	}
	loop_end(loop);
	place_close(&place);
}

Test(loop_line, a_release_in_the_loop_serves_the_next_in_its_line)
{
	acquire_in_a_row(0);
}

Test(loop_line, a_release_in_the_loop_serves_the_next_in_its_line_without_futex)
{
	acquire_in_a_row(WEIR_LOOP_NO_FUTEX);
}

/* Ready again at once, until the timer has ended. */
static void be_busy(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct end *end = (struct end *)op;
	struct end *timer = op->user;

	end->calls++;
	end->result = result;
	cr_assert_eq(weir_sem_release(end->sem, 1), 0);
	if (!timer->calls)
		cr_assert_eq(weir_loop_acquire(loop, op, end->sem, 1, NEVER), 0);
}

Test(loop_line, an_operation_that_is_always_ready_does_not_starve_the_ring)
{
	struct weir_loop *loop = loop_make();
	struct end timer = END;
	struct end busy = {.op = {.fn = be_busy, .user = &timer}};
	struct place place;

	place_open(&place);
	busy.sem = place.sem;
	cr_assert_eq(weir_loop_after(loop, &timer.op, 2 * MS), 0);
	cr_assert_eq(weir_loop_acquire(loop, &busy.op, place.sem, 1, NEVER), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&timer, 0);
	cr_assert_gt(busy.calls, 1);
	loop_end(loop);
	place_close(&place);
}

Test(loop_line, an_acquire_that_waits_too_long_times_out_and_the_next_moves_up)
{
	struct weir_loop *loop = loop_make();
	struct end patient = {.op = {.fn = give_back}};
	struct end first = END;
	struct end second = END;
	struct place place;

	place_open(&place);
	patient.op.user = place.sem;
	cr_assert_eq(weir_sem_acquire(place.sem, 1, NULL), 0);
	cr_assert_eq(weir_loop_acquire(loop, &first.op, place.sem, 2, 1000 * MS), 0);
	cr_assert_eq(weir_loop_acquire(loop, &second.op, place.sem, 2, 1 * MS), 0);
	cr_assert_eq(weir_loop_acquire(loop, &patient.op, place.sem, 1, NEVER), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&first, -ETIMEDOUT);
	assert_end(&second, -ETIMEDOUT);
	assert_end(&patient, 0);
	cr_assert_lt(second.order, first.order);
	cr_assert_lt(first.order, patient.order);
	loop_end(loop);
	place_close(&place);
}

static int acquire_two(struct place *place, int tell)
{
	(void)tell;
	return weir_sem_acquire(place->sem, 2, NULL) < 0;
}

Test(loop_line, a_cancelled_acquire_leaves_the_line)
{
	struct weir_loop *loop = loop_make();
	struct end first = END;
	struct end second = END;
	struct child child;
	struct place place;

	place_open(&place);
	cr_assert_eq(weir_sem_acquire(place.sem, 2, NULL), 0);
	cr_assert_eq(weir_loop_acquire(loop, &first.op, place.sem, 1, NEVER), 0);
	cr_assert_eq(weir_loop_acquire(loop, &second.op, place.sem, 1, NEVER), 0);
	run_for(loop, 1 * MS);
	cr_assert_eq(weir_loop_cancel(loop, &second.op), 0);
	cr_assert_eq(weir_loop_cancel(loop, &first.op), 0);
	cr_assert_eq(ends, 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&first, -ECANCELED);
	assert_end(&second, -ECANCELED);
	cr_assert_eq(weir_sem_release(place.sem, 2), 0);
	child_start(&child, acquire_two, &place);
	child_end(&child, 0);
	loop_end(loop);
	place_close(&place);
}

Test(loop_line, permits_that_came_before_the_cancel_are_delivered)
{
	struct weir_loop *loop = loop_make();
	struct weir_sem_stat stat;
	struct end end = END;
	struct place place;

	place_open(&place);
	cr_assert_eq(weir_sem_acquire(place.sem, 2, NULL), 0);
	cr_assert_eq(weir_loop_acquire(loop, &end.op, place.sem, 1, NEVER), 0);
	run_for(loop, 1 * MS);
	cr_assert_eq(weir_sem_release(place.sem, 2), 0);
	cr_assert_eq(weir_loop_cancel(loop, &end.op), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	cr_assert_eq(end.calls, 1);
	cr_assert_eq(weir_sem_stat(place.sem, &stat), 0);
	/* Handed over at the release, or not yet: either way the result tells the truth. */
	cr_assert(end.result == 0 || end.result == -ECANCELED);
	cr_assert_eq(stat.held_here, end.result ? 0 : 1);
	loop_end(loop);
	place_close(&place);
}

/* Queues. */

/* Messages 1 to 10, more than there is room for. */
static int send_ten(struct place *place, int tell)
{
	int i;

	(void)tell;
	pause_1ms();
	for (i = 1; i <= 10; i++)
		if (weir_queue_send(place->queue, &i, sizeof(i), NULL) < 0)
			return i;
	return 0;
}

struct taker {
	struct weir_op op; /* first */
	struct weir_queue *queue;
	struct weir_msg msg;
	int sum;
	int last;
	int result;
};

static void take_next(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct taker *taker = (struct taker *)op;
	int number;

	taker->result = result;
	if (result < 0)
		return;
	memcpy(&number, taker->msg.data, sizeof(number));
	taker->sum += number;
	taker->last = number;
	taker->result = weir_queue_done(taker->queue, &taker->msg);
	if (number < 10 && !taker->result)
		taker->result = weir_loop_take(loop, op, taker->queue, &taker->msg);
}

static void take_from_another_process(uint32_t flags)
{
	struct weir_loop *loop = loop_make_flags(flags);
	struct taker taker = {.op = {.fn = take_next}};
	struct child child;
	struct place place;

	place_open(&place);
	taker.queue = place.queue;
	cr_assert_eq(weir_loop_take(loop, &taker.op, place.queue, &taker.msg), 0);
	child_start(&child, send_ten, &place);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	cr_assert_eq(taker.result, 0);
	cr_assert_eq(taker.sum, 55);
	cr_assert_eq(taker.last, 10);
	child_end(&child, 0);
	loop_end(loop);
	place_close(&place);
}

Test(loop_line, take_waits_for_another_process)
{
	take_from_another_process(0);
}

Test(loop_line, take_waits_for_another_process_without_futex)
{
	take_from_another_process(WEIR_LOOP_NO_FUTEX);
}

static int recv_ten(struct place *place, int tell)
{
	uint32_t bytes;
	int number;
	int i;

	(void)tell;
	pause_1ms();
	for (i = 1; i <= 10; i++)
		if (weir_queue_recv(place->queue, &number, sizeof(number), &bytes, NULL) < 0 ||
		    number != i)
			return i;
	return 0;
}

static void loan_next(struct weir_loop *loop, struct weir_op *op, int result)
{
	struct taker *taker = (struct taker *)op;

	taker->result = result;
	if (result < 0)
		return;
	taker->last++;
	memcpy(taker->msg.data, &taker->last, sizeof(taker->last));
	taker->msg.bytes = sizeof(taker->last);
	taker->result = weir_queue_commit(taker->queue, &taker->msg);
	if (taker->last < 10 && !taker->result)
		taker->result = weir_loop_loan(loop, op, taker->queue, &taker->msg);
}

static void loan_to_another_process(uint32_t flags)
{
	struct weir_loop *loop = loop_make_flags(flags);
	struct taker giver = {.op = {.fn = loan_next}};
	struct child child;
	struct place place;

	place_open(&place);
	giver.queue = place.queue;
	cr_assert_eq(weir_loop_loan(loop, &giver.op, place.queue, &giver.msg), 0);
	child_start(&child, recv_ten, &place);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	cr_assert_eq(giver.result, 0);
	cr_assert_eq(giver.last, 10);
	child_end(&child, 0);
	loop_end(loop);
	place_close(&place);
}

Test(loop_line, loan_waits_for_room)
{
	loan_to_another_process(0);
}

Test(loop_line, loan_waits_for_room_without_futex)
{
	loan_to_another_process(WEIR_LOOP_NO_FUTEX);
}

Test(loop_line, takes_are_served_in_their_order)
{
	struct weir_loop *loop = loop_make();
	struct weir_msg msgs[3];
	struct end takes[3] = {END, END, END};
	struct place place;
	int i;

	place_open(&place);
	for (i = 0; i < 3; i++)
		cr_assert_eq(weir_loop_take(loop, &takes[i].op, place.queue, &msgs[i]), 0);
	run_for(loop, 1 * MS);
	for (i = 0; i < 3; i++)
		cr_assert_eq(weir_queue_try_send(place.queue, &i, sizeof(i)), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	for (i = 0; i < 3; i++) {
		assert_end(&takes[i], 0);
		cr_assert_eq(takes[i].order, i + 1);
		cr_assert_eq(memcmp(msgs[i].data, &i, sizeof(i)), 0);
		cr_assert_eq(weir_queue_done(place.queue, &msgs[i]), 0);
	}
	loop_end(loop);
	place_close(&place);
}

Test(loop_line, a_shutdown_ends_takes_and_loans)
{
	struct weir_loop *loop = loop_make();
	struct weir_msg msg;
	struct end take = END;
	struct end loan = END;
	struct child child;
	struct place place;

	place_open(&place);
	cr_assert_eq(weir_loop_take(loop, &take.op, place.queue, &msg), 0);
	child_start(&child, shut_down, &place);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&take, -ESHUTDOWN);
	cr_assert_eq(weir_loop_loan(loop, &loan.op, place.queue, &msg), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&loan, -ESHUTDOWN);
	child_end(&child, 0);
	loop_end(loop);
	place_close(&place);
}

static int take_and_die(struct place *place, int tell)
{
	struct weir_msg msg;

	if (weir_queue_take(place->queue, &msg, NULL) < 0 || write(tell, "", 1) != 1)
		return 1;
	for (;;)
		pause();
}

static void take_from_the_dead(uint32_t flags)
{
	struct weir_loop *loop = loop_make_flags(flags);
	struct end take = END;
	struct weir_msg msg;
	struct child child;
	struct place place;

	place_open(&place);
	cr_assert_eq(weir_queue_send(place.queue, "once", 4, NULL), 0);
	child_start(&child, take_and_die, &place);
	child_hear(&child);
	cr_assert_eq(weir_loop_take(loop, &take.op, place.queue, &msg), 0);
	run_for(loop, 1 * MS);
	cr_assert_eq(take.calls, 0);
	kill(child.pid, SIGKILL);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&take, 0);
	cr_assert_eq(msg.tries, 1);
	cr_assert_eq(msg.bytes, 4);
	cr_assert_eq(weir_queue_done(place.queue, &msg), 0);
	child_end(&child, SIGKILL);
	loop_end(loop);
	place_close(&place);
}

Test(loop_line, take_gets_the_message_of_the_dead)
{
	take_from_the_dead(0);
}

Test(loop_line, take_gets_the_message_of_the_dead_without_futex)
{
	take_from_the_dead(WEIR_LOOP_NO_FUTEX);
}

Test(loop_line, a_cancelled_take_takes_nothing)
{
	struct weir_loop *loop = loop_make();
	struct end take = END;
	struct weir_msg msg;
	struct place place;

	place_open(&place);
	cr_assert_eq(weir_loop_take(loop, &take.op, place.queue, &msg), 0);
	run_for(loop, 1 * MS);
	cr_assert_eq(weir_loop_cancel(loop, &take.op), 0);
	cr_assert_eq(weir_queue_try_send(place.queue, "stay", 4), 0);
	cr_assert_eq(weir_loop_run(loop, NULL), 0);
	assert_end(&take, -ECANCELED);
	cr_assert_eq(weir_queue_try_take(place.queue, &msg), 0);
	cr_assert_eq(weir_queue_done(place.queue, &msg), 0);
	loop_end(loop);
	place_close(&place);
}

/* Two loops in two processes, each message to one of them: nobody's wake gets lost for good. */
static int take_until_shutdown(struct place *place, int tell)
{
	struct taker taker = {.op = {.fn = take_next}, .queue = place->queue};
	struct weir_loop *loop;

	if (weir_loop_create(NULL, &loop) < 0)
		return 1;
	do {
		if (weir_loop_take(loop, &taker.op, place->queue, &taker.msg) < 0 ||
		    weir_loop_run(loop, NULL) < 0)
			return 2;
	} while (!taker.result);
	if (weir_loop_close(loop) < 0 || taker.result != -ESHUTDOWN)
		return 3;
	return write(tell, &taker.sum, sizeof(taker.sum)) != (ssize_t)sizeof(taker.sum);
}

Test(loop_line, two_loops_share_a_queue)
{
	struct child children[2];
	struct place place;
	int sums[2];
	int i;

	loop_end(loop_make()); /* skips */
	place_open(&place);
	for (i = 0; i < 2; i++)
		child_start(&children[i], take_until_shutdown, &place);
	for (i = 1; i <= 2000; i++)
		cr_assert_eq(weir_queue_send(place.queue, &i, sizeof(i), NULL), 0);
	cr_assert_eq(weir_queue_shutdown(place.queue), 0);
	for (i = 0; i < 2; i++) {
		cr_assert_eq(read(children[i].told[0], &sums[i], sizeof(int)),
			     (ssize_t)sizeof(int));
		child_end(&children[i], 0);
	}
	cr_assert_eq(sums[0] + sums[1], 2000 * 2001 / 2);
	place_close(&place);
}
