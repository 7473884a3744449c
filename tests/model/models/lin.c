/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Linearizability in C11's memory: each execution is a history, and tests/lin's checker must find
 * an order for it that the sequential specification allows.  Calls and returns are stamped by a
 * seq_cst counter, so what returned before another was called is also visible to it; between calls
 * that overlap everything is as weak as C11 allows.
 */
#include "../../lin/history.h"
#include "help.h"

#define STEPS 4
#define LOG   10

struct step {
	uint8_t kind; /* KINDS: no more */
	uint32_t arg;
};
#define END              \
	{                \
		KINDS, 0 \
	}

static const struct step (*script)[STEPS]; /* of each thread */
static WEIR_ATOMIC(uint32_t) * stamp;
static struct history history;
static struct party {
	struct weir_queue *queue;
	struct weir_sem *sem;
	struct weir_limiter *limiter;
	struct weir_msg msg;
	struct weir_msg loan;
	struct weir_sem *opened;
	uint32_t sent;
	uint32_t count;
	struct op op[LOG];
} party[3];
static uint64_t position; /* of the queue's next message, in setup */

static struct op *begin(int self, const struct step *step)
{
	struct op *op = &party[self].op[party[self].count++];

	EXPECT(party[self].count <= LOG);
	*op = (struct op){.kind = step->kind, .who = (uint8_t)self, .arg = step->arg};
	op->inv = weir_add_full(stamp, 1) + 1;
	return op;
}

static void end(struct op *op, int result)
{
	op->result = result;
	op->resp = weir_add_full(stamp, 1) + 1;
}

/* --- the operations --------------------------------------------------------------------------- */

static uint32_t id_of(const void *data, uint32_t bytes)
{
	uint64_t m = 0;

	if (bytes != sizeof(m))
		return GARBAGE;
	memcpy(&m, data, sizeof(m));
	return (uint32_t)m;
}

static int queue_op(struct party *p, struct op *op)
{
	uint32_t bytes = 0;
	uint64_t m = 0;
	int r;

	switch (op->kind) {
	case SEND:
		m = op->arg = op->who * 16u + ++p->sent;
		return weir_queue_try_send(p->queue, &m, sizeof(m));
	case RECV:
		r = weir_queue_try_recv(p->queue, &m, sizeof(m), &bytes);
		op->value = id_of(&m, bytes);
		return r;
	case LOAN:
		r = weir_queue_try_loan(p->queue, &p->loan);
		op->more[0] = p->loan.position - position;
		return r;
	case COMMIT:
	case ABORT:
		op->more[0] = p->loan.position - position;
		if (op->kind == ABORT)
			return weir_queue_abort(p->queue, &p->loan);
		m = op->arg = op->who * 16u + ++p->sent;
		memcpy(p->loan.data, &m, sizeof(m));
		p->loan.bytes = sizeof(m);
		return weir_queue_commit(p->queue, &p->loan);
	case TAKE:
		r = weir_queue_try_take(p->queue, &p->msg);
		if (r == 0)
			op->value = id_of(p->msg.data, p->msg.bytes);
		op->more[0] = p->msg.position - position;
		op->more[1] = p->msg.tries;
		return r;
	case DONE:
	case PUT_BACK:
		op->more[0] = p->msg.position - position;
		return op->kind == DONE ? weir_queue_done(p->queue, &p->msg)
					: weir_queue_put_back(p->queue, &p->msg);
	default:
		return weir_queue_shutdown(p->queue);
	}
}

static int sem_op(struct party *p, struct op *op)
{
	struct weir_wait wait;
	int r;

	switch (op->kind) {
	case TRY_ACQUIRE:
		return weir_sem_try_acquire(p->sem, op->arg);
	case RELEASE:
		return weir_sem_release(p->sem, op->arg);
	case RESIZE:
		return weir_sem_resize(p->sem, op->arg);
	default: /* REQUEST */
		r = weir_sem_start(p->sem, op->arg);
		if (r == -EINPROGRESS)
			r = weir_sem_poll(p->sem, &wait);
		return r == -EINPROGRESS ? weir_sem_stop(p->sem) : r;
	}
}

static int limiter_op(struct party *p, struct op *op)
{
	struct weir_verdict v;
	int r;

	op->now = weir_now_ns(); /* Time stands still. */
	if (op->kind == REFUND)
		return weir_limiter_refund(p->limiter, op->arg);
	op->more[0] = op->kind == RESERVE ? 2 * INTERVAL : 0; /* would wait so long */
	if (op->kind == RESERVE)
		return weir_limiter_reserve(p->limiter, op->arg, op->more[0], &op->more[1]);
	r = weir_limiter_allow(p->limiter, op->arg, &v);
	op->more[0] = v.retry_after_ns;
	op->more[1] = v.remaining;
	op->more[2] = v.reset_ns;
	return r;
}

static int directory_op(int self, struct party *p, struct op *op)
{
	struct weir_sem_opts opts = WEIR_OPTS(sem, .permits = 2 + op->arg);
	int r;

	if (op->kind == UNLINK)
		return weir_object_unlink(world_seg(self), "x");
	r = weir_sem_open(world_seg(self), "x", op->kind == OPEN ? &opts : NULL, &p->opened);
	if (r == 0) /* A handle's first member is the view: the segment, the object. */
		op->value = (uint32_t)(((uint8_t **)p->opened)[1] - world_seg(self)->base);
	return r;
}

static int once(int self, const struct step *step)
{
	struct party *p = &party[self];
	struct op *op = begin(self, step);
	int r;

	if (step->kind <= SHUTDOWN)
		r = queue_op(p, op);
	else if (step->kind <= RESIZE)
		r = sem_op(p, op);
	else if (step->kind <= REFUND)
		r = limiter_op(p, op);
	else
		r = directory_op(self, p, op);
	end(op, r);
	return r;
}

/* The body.  Who was refused has nothing to commit, give back or call done. */
static void act(int self)
{
	const struct step *step = script[self];
	bool has = true;

	for (; step->kind != KINDS; step++) {
		bool gives = step->kind == COMMIT || step->kind == ABORT || step->kind == DONE ||
			     step->kind == PUT_BACK || step->kind == RELEASE;

		if (has || !gives)
			has = once(self, step) == 0;
	}
}

/* --- before and after ------------------------------------------------------------------------- */

static void open_object(int self, const struct spec *spec, uint32_t capacity)
{
	struct weir_segment *seg = world_seg(self);
	struct party *p = &party[self];
	int r = 0;

	if (spec == &spec_queue)
		r = weir_queue_open(seg, "q", &WEIR_OPTS(queue, .slots = capacity, .bytes = 8),
				    &p->queue);
	if (spec == &spec_sem)
		r = weir_sem_open(seg, "s", &WEIR_OPTS(sem, .permits = capacity), &p->sem);
	if (spec == &spec_limiter)
		r = weir_limiter_open(
			seg, "l",
			&WEIR_OPTS(limiter, .count = 1, .period_ns = INTERVAL, .burst = capacity),
			&p->limiter);
	EXPECT(r == 0);
}

static void begin_world(const struct spec *spec, const struct step (*steps)[STEPS],
			uint32_t capacity)
{
	static struct profile profile;

	stamp = world_shared("stamp", sizeof(*stamp));
	world_private(party, sizeof(party));
	memset(&history, 0, sizeof(history));
	memset(party, 0, sizeof(party));
	profile.spec = spec;
	script = steps;
	history.profile = &profile;
	history.capacity = capacity;
	history.dead[0] = history.dead[1] = -1;
	world_make(3);
	for (int i = 0; i < 3; i++) {
		world_as(i);
		open_object(i, spec, capacity);
	}
	world_as(0);
}

/* The queue; where it is tells a loan, given up. */
static void begin_queue(const struct step (*steps)[STEPS])
{
	begin_world(&spec_queue, steps, 2);
	EXPECT(weir_queue_try_loan(party[0].queue, &party[0].loan) == 0);
	position = party[0].loan.position + 1;
	EXPECT(weir_queue_abort(party[0].queue, &party[0].loan) == 0);
}

/* One message is in it. */
static void begin_with_one(const struct step (*steps)[STEPS])
{
	uint64_t m = 0x80;

	begin_queue(steps);
	history.prefill = 1;
	EXPECT(weir_queue_try_send(party[0].queue, &m, sizeof(m)) == 0);
}

/* Thread `who` has two permits. */
static void begin_held(const struct step (*steps)[STEPS], int who, uint32_t permits)
{
	begin_world(&spec_sem, steps, permits);
	world_as(who);
	EXPECT(once(who, &(struct step){TRY_ACQUIRE, 2}) == 0);
}

static void judge(void)
{
	uint8_t part;

	history.count = 0;
	for (int i = 0; i < 3; i++) {
		for (uint32_t k = 0; k < party[i].count; k++)
			history.op[history.count++] = party[i].op[k];
	}
	if (check(&history, &part) == LINEARIZABLE)
		return;
	history_print(&history, stdout);
	model_fail("not linearizable");
}

static int after(uint8_t kind, uint32_t arg)
{
	return once(0, &(struct step){kind, arg});
}

/* Everything that is there comes out, and there is all the room. */
static void check_queue(void)
{
	world_as(0);
	while (after(RECV, 0) == 0) { /* Ends: it gets emptier. */
	}
	after(SEND, 0);
	after(SEND, 0);
	judge();
}

static void check_sem(void)
{
	world_as(0);
	while (after(TRY_ACQUIRE, 1) == 0) { /* Ends: it gets fuller. */
	}
	judge();
}

static void check_limiter(void)
{
	world_as(0);
	while (after(ALLOW, 1) == 0) { /* Ends: it gets emptier. */
	}
	judge();
}

static void check_directory(void)
{
	world_as(0);
	after(OPEN, 1);
	judge();
}

/* --- the models ------------------------------------------------------------------------------- */

#define SCRIPT(id, begin_it, ...)                                     \
	static const struct step id##_steps[][STEPS] = {__VA_ARGS__}; \
	static void id##_setup(void)                                  \
	{                                                             \
		begin_it;                                             \
	}

/* clang-format off */
SCRIPT(queue, begin_queue(queue_steps),
	{{SEND, 0}, {SEND, 0}, END},
	{{RECV, 0}, {RECV, 0}, END})
SCRIPT(loan, begin_queue(loan_steps),
	{{LOAN, 0}, {COMMIT, 0}, END},
	{{LOAN, 0}, {ABORT, 0}, END})
SCRIPT(back, begin_with_one(back_steps),
	{{TAKE, 0}, {PUT_BACK, 0}, END},
	{{SEND, 0}, {RECV, 0}, END})
SCRIPT(closing, begin_with_one(closing_steps),
	{{SEND, 0}, {SHUTDOWN, 0}, {SEND, 0}, END},
	{{RECV, 0}, {RECV, 0}, {RECV, 0}, END})
SCRIPT(three, begin_queue(three_steps),
	{{SEND, 0}, {RECV, 0}, END},
	{{SEND, 0}, {SEND, 0}, END},
	{{TAKE, 0}, {DONE, 0}, {RECV, 0}, END})
SCRIPT(sem, begin_world(&spec_sem, sem_steps, 2),
	{{TRY_ACQUIRE, 1}, {RELEASE, 1}, {TRY_ACQUIRE, 2}, END},
	{{TRY_ACQUIRE, 2}, {RELEASE, 1}, {TRY_ACQUIRE, 1}, END})
SCRIPT(line, begin_held(line_steps, 0, 2),
	{{RELEASE, 2}, END},
	{{REQUEST, 1}, END})
SCRIPT(resize, begin_held(resize_steps, 1, 3),
	{{TRY_ACQUIRE, 1}, {RELEASE, 1}, END},
	{{RELEASE, 1}, {RESIZE, 2}, END})
SCRIPT(limiter, begin_world(&spec_limiter, limiter_steps, 3),
	{{ALLOW, 2}, {REFUND, 1}, {ALLOW, 1}, END},
	{{ALLOW, 1}, {RESERVE, 1}, {ALLOW, 2}, END})
SCRIPT(directory, begin_world(&spec_directory, directory_steps, 0),
	{{OPEN, 1}, {UNLINK, 0}, {FIND, 0}, END},
	{{OPEN, 1}, {FIND, 0}, {UNLINK, 0}, END})
/* clang-format on */

#define MODEL(id, title, about, bodies, look)                                       \
	const struct model lin_##id = {.name = "lin-" title,                        \
				       .what = "histories of " about,               \
				       .body = {act, act, bodies > 2 ? act : NULL}, \
				       .peers = bodies,                             \
				       .setup = id##_setup,                         \
				       .check = look,                               \
				       .quick = bodies == 2}

MODEL(queue, "queue", "two messages and two receives", 2, check_queue);
MODEL(loan, "queue-loan", "loans, committed and given up", 2, check_queue);
MODEL(back, "queue-back", "a message that is put back beside a send and a receive", 2, check_queue);
MODEL(closing, "queue-close", "a queue that is shut down", 2, check_queue);
MODEL(three, "queue-three", "three who send and receive", 3, check_queue);
MODEL(sem, "sem", "a semaphore that nobody waits for", 2, check_sem);
MODEL(line, "sem-line", "a request that may be left", 2, check_sem);
MODEL(resize, "sem-resize", "a resize", 2, check_sem);
MODEL(limiter, "limiter", "a limiter, with reserve and refund", 2, check_limiter);
MODEL(directory, "directory", "get-or-create, find and unlink", 2, check_directory);
