/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Waiting lines: operations that wait for a semaphore or a queue, without blocking the loop. */
/*
 * 2026-11-24  A wake is a hint and may be lost with a killed process, so each line is looked at
 * after every batch of completions (which also notices what this thread released itself) and at the
 * latest every WEIR_RECOVERY_NS.  The dead are looked for inside weir_sem_poll() and
 * weir_queue_wait_recv() and _send(), which are therefore called also where nothing sleeps.
 *
 * 2026-11-24  A futex wait that nobody needs any more is recalled at once, and a wake that it got
 * nevertheless is passed on: it was meant for one sleeper, perhaps in another process.
 */
#include <stdlib.h>

#include "run/loop.h"

/* One attempt for the first in line.  -EAGAIN: it has to go on waiting. */
static int line_try(struct weir_line *line)
{
	struct weir_op *op = line->waiting.first;
	int r;

	switch (line->kind) {
	case LINE_TAKE:
		return weir_queue_try_take(line->object, op->msg);
	case LINE_LOAN:
		return weir_queue_try_loan(line->object, op->msg);
	default:
		break;
	}
	if (!line->started) {
		r = weir_sem_start(line->object, op->weight);
		if (r != -EINPROGRESS)
			return r;
		line->started = true;
	}
	r = weir_sem_poll(line->object, &line->want);
	if (r == -EINPROGRESS)
		return -EAGAIN;
	line->started = false;
	return r;
}

/* Serve from the front as long as it goes. */
static void line_serve(struct weir_loop *loop, struct weir_line *line)
{
	struct weir_op *op;
	int r;

	while ((op = line->waiting.first)) {
		r = line_try(line);
		if (r == -EAGAIN)
			return;
		weir__loop_list_remove(&line->waiting, op);
		weir__loop_ready(loop, op, r);
	}
}

/* Take `op` out of its line, to end with `why`, unless its permits came first: those it gets. */
void weir__loop_line_leave(struct weir_loop *loop, struct weir_op *op, int why)
{
	struct weir_line *line = op->line;
	int r;

	if (line->started && line->waiting.first == op) {
		line->started = false;
		r = weir_sem_stop(line->object);
		if (r != -ECANCELED)
			why = r;
	}
	weir__loop_list_remove(&line->waiting, op);
	weir__loop_ready(loop, op, why);
}

static void line_disarm(struct weir_loop *loop, struct weir_line *line)
{
	if (line->armed && !line->leaving)
		line->leaving = !weir__loop_recall(loop, line, LOOP_TAG_LINE);
}

/* The line's futex wait is over. */
void weir__loop_line_woken(struct weir_loop *loop, struct weir_line *line, int result)
{
	line->armed = false;
	line->leaving = false;
	if (!result && !line->waiting.first)
		weir__loop_futex_wake(loop, &line->wait);
	if (result < 0 && result != -EAGAIN && result != -ECANCELED && result != -EINTR)
		line->blind = true;
}

static bool line_can_sleep(const struct weir_loop *loop, const struct weir_line *line)
{
	return loop->futex && !line->blind;
}

/* Is it asleep where it should be, and not for too long? */
static bool line_asleep(const struct weir_loop *loop, const struct weir_line *line, uint64_t now_ns)
{
	if (now_ns >= line->look_ns)
		return false;
	if (!line_can_sleep(loop, line))
		return true;
	return line->armed && !line->leaving && line->wait.word == line->want.word &&
	       line->wait.value == line->want.value;
}

/* Have a queue say where to sleep; a semaphore said so when it was polled. */
static void line_where(struct weir_line *line)
{
	int r;

	if (line->kind == LINE_TAKE)
		r = weir_queue_wait_recv(line->object, &line->want);
	else
		r = weir_queue_wait_send(line->object, &line->want);
	if (r < 0)
		line->blind = true;
}

/* Go to sleep where line->want says.  A wait on something else is recalled first; its completion
 * brings us here again. */
static void line_sleep(struct weir_loop *loop, struct weir_line *line, uint64_t now_ns)
{
	line->look_ns = now_ns + LOOP_BLIND_NS;
	if (!line_can_sleep(loop, line))
		return;
	if (line->armed &&
	    (line->wait.word != line->want.word || line->wait.value != line->want.value))
		line_disarm(loop, line);
	if (line->armed || !weir__loop_futex_wait(loop, line))
		line->look_ns = now_ns + WEIR_RECOVERY_NS;
}

/* Serve, then sleep.  A queue is tried once more after it said where to sleep: before that, a
 * message may have come whose sender saw nobody to wake. */
static void line_look(struct weir_loop *loop, struct weir_line *line, uint64_t now_ns)
{
	line_serve(loop, line);
	if (line->waiting.first && line_asleep(loop, line, now_ns))
		return;
	if (line->waiting.first && line->kind != LINE_SEM) {
		line_where(line);
		line_serve(loop, line);
	}
	if (line->waiting.first)
		line_sleep(loop, line, now_ns);
	else
		line_disarm(loop, line);
}

/* End what has waited too long, and find out when the next one has. */
static void lines_expire(struct weir_loop *loop, uint64_t now_ns)
{
	struct weir_line *line;
	struct weir_op *next;
	struct weir_op *op;

	loop->deadline_ns = UINT64_MAX;
	for (line = loop->lines; line; line = line->next) {
		for (op = line->waiting.first; op; op = next) {
			next = op->next;
			if (op->deadline_ns <= now_ns)
				weir__loop_line_leave(loop, op, -ETIMEDOUT);
			else if (op->deadline_ns < loop->deadline_ns)
				loop->deadline_ns = op->deadline_ns;
		}
	}
}

void weir__loop_lines_look(struct weir_loop *loop, uint64_t now_ns)
{
	struct weir_line **link = &loop->lines;
	struct weir_line *line;

	if (loop->deadline_ns <= now_ns)
		lines_expire(loop, now_ns);
	while ((line = *link)) {
		line_look(loop, line, now_ns);
		if (line->waiting.first || line->armed) {
			link = &line->next;
			continue;
		}
		*link = line->next;
		free(line);
	}
}

/* When to look again at the latest. */
uint64_t weir__loop_lines_look_ns(const struct weir_loop *loop)
{
	uint64_t look_ns = loop->deadline_ns;
	const struct weir_line *line;

	for (line = loop->lines; line; line = line->next)
		if (line->waiting.first && line->look_ns < look_ns)
			look_ns = line->look_ns;
	return look_ns;
}

/* Leave all lines.  The waits in the ring complete later. */
void weir__loop_lines_abandon(struct weir_loop *loop)
{
	struct weir_line *line;

	for (line = loop->lines; line; line = line->next) {
		while (line->waiting.first)
			weir__loop_line_leave(loop, line->waiting.first, -ECANCELED);
		line_disarm(loop, line);
	}
}

void weir__loop_lines_free(struct weir_loop *loop)
{
	struct weir_line *line;

	while ((line = loop->lines)) {
		loop->lines = line->next;
		free(line);
	}
}

static struct weir_line *line_get(struct weir_loop *loop, enum line_kind kind, void *object)
{
	struct weir_line *line;

	for (line = loop->lines; line; line = line->next)
		if (line->object == object && line->kind == kind)
			return line;
	line = calloc(1, sizeof(*line));
	if (!line)
		return NULL;
	line->kind = kind;
	line->object = object;
	line->next = loop->lines;
	loop->lines = line;
	return line;
}

/* Join the line, and be served at once if nobody is before.  The function is called by the loop. */
static int line_join(struct weir_loop *loop, struct weir_op *op, enum line_kind kind, void *object)
{
	struct weir_line *line;
	int r;

	r = weir__loop_admit(loop, op);
	if (r < 0)
		return r;
	if (!object)
		return -EINVAL;
	line = line_get(loop, kind, object);
	if (!line)
		return -ENOMEM;
	op->line = line;
	op->state = LOOP_LINE;
	op->cancelled = 0;
	if (op->deadline_ns < loop->deadline_ns)
		loop->deadline_ns = op->deadline_ns;
	weir__loop_list_append(&line->waiting, op);
	loop->active++;
	line_serve(loop, line);
	return 0;
}

int weir_loop_acquire(struct weir_loop *loop, struct weir_op *op, struct weir_sem *sem,
		      uint32_t weight, uint64_t timeout_ns)
{
	uint64_t now_ns;

	if (!op || !weight || weight > WEIR_SEM_WEIGHT_MAX)
		return -EINVAL;
	now_ns = weir_now_ns();
	op->weight = weight;
	op->deadline_ns = timeout_ns < UINT64_MAX - now_ns ? now_ns + timeout_ns : UINT64_MAX;
	return line_join(loop, op, LINE_SEM, sem);
}

int weir_loop_take(struct weir_loop *loop, struct weir_op *op, struct weir_queue *queue,
		   struct weir_msg *ret_msg)
{
	if (!op || !ret_msg)
		return -EINVAL;
	op->msg = ret_msg;
	op->deadline_ns = UINT64_MAX;
	return line_join(loop, op, LINE_TAKE, queue);
}

int weir_loop_loan(struct weir_loop *loop, struct weir_op *op, struct weir_queue *queue,
		   struct weir_msg *ret_msg)
{
	if (!op || !ret_msg)
		return -EINVAL;
	op->msg = ret_msg;
	op->deadline_ns = UINT64_MAX;
	return line_join(loop, op, LINE_LOAN, queue);
}
