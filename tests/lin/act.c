/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What participants do, and how it is written down. */
#include <errno.h>
#include <string.h>

#include "lin.h"

struct board *board;
struct party *me;
const struct profile *profile;

const char *const broken_names[BROKENS] = {"nothing",  "lifo",	   "loses", "doubles",
					   "one-more", "generous", "early", "forgets"};
const char *const concession_names[CONCESSIONS] = {"closing", "passed"};

const struct profile profiles[] = {
	{"queue", &spec_queue, {{SEND, 10}, {RECV, 9}, {SHUTDOWN, 1}}, 0, 100, {2, 4}},
	{"queue-loan",
	 &spec_queue,
	 {{SEND, 4}, {RECV, 4}, {LOAN, 6}, {TAKE, 8}, {SHUTDOWN, 1}},
	 0,
	 100,
	 {2, 4}},
	{"queue-wait",
	 &spec_queue,
	 {{SEND, 10}, {RECV, 9}, {TAKE, 3}, {SHUTDOWN, 1}},
	 WAITS,
	 100,
	 {2, 2}},
	{"sem", &spec_sem, {{TRY_ACQUIRE, 6}, {RELEASE, 4}}, 0, 100, {2, 3}},
	{"sem-line", &spec_sem, {{TRY_ACQUIRE, 3}, {RELEASE, 4}, {REQUEST, 6}}, 0, 100, {2, 3}},
	{"sem-wait", &spec_sem, {{TRY_ACQUIRE, 2}, {RELEASE, 5}, {REQUEST, 6}}, WAITS, 100, {2, 3}},
	{"sem-resize",
	 &spec_sem,
	 {{TRY_ACQUIRE, 3}, {RELEASE, 4}, {REQUEST, 4}, {RESIZE, 3}},
	 0,
	 100,
	 {2, 3}},
	{"limiter", &spec_limiter, {{ALLOW, 6}, {RESERVE, 2}, {REFUND, 2}}, 0, 600, {3, 8}},
	{"keyed", &spec_limiter, {{ALLOW, 1}}, KEYED, 60, {8, 8}},
	{"directory", &spec_directory, {{OPEN, 6}, {FIND, 2}, {UNLINK, 2}}, 0, 100, {0, 0}},
	{0},
};

uint64_t draw(uint64_t *rng)
{
	uint64_t z = *rng += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static bool chance(uint32_t of)
{
	return pick(&me->rng, of) == 0;
}

struct op *op_begin(uint8_t kind)
{
	struct log *log = &board->log[me->index];
	struct op *op = &log->op[log->count++];

	must(log->count <= LOG_MAX);
	*op = (struct op){.kind = kind, .who = (uint8_t)me->index};
	me->op = op;
	return op;
}

static void called(struct op *op)
{
	if (lin_enter)
		lin_enter();
	op->inv = weir_add_full(&board->stamp, 1) + 1;
}

void op_end(struct op *op, int result)
{
	op->result = result;
	op->resp = weir_add_full(&board->stamp, 1) + 1;
	me->op = NULL;
	board->inside[me->index] = false;
}

uint32_t message_make(uint32_t id, uint8_t data[MSG_BYTES])
{
	uint32_t bytes = 9 + id % (MSG_BYTES - 9);

	for (uint32_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)(id + i * 5);
	return bytes;
}

static uint32_t message_id(const void *data, uint32_t bytes)
{
	uint8_t want[MSG_BYTES];
	uint32_t id = bytes ? *(const uint8_t *)data : GARBAGE;

	return bytes == message_make(id, want) && memcmp(data, want, bytes) == 0 ? id : GARBAGE;
}

/* --- queue ------------------------------------------------------------------------------- */

static struct weir_ctx *patience(struct weir_ctx *ctx)
{
	static const uint64_t ns[] = {0, 1000, 30000000, 90000000};

	weir_ctx_init(ctx, NULL, ns[pick(&me->rng, 4)]);
	return ctx;
}

static void send(void)
{
	struct op *op = op_begin(SEND);
	uint8_t data[MSG_BYTES];
	struct weir_ctx ctx;
	uint32_t bytes;
	int r;

	op->arg = me->index * 16 + ++me->sent;
	bytes = message_make(op->arg, data);
	called(op);
	if (broken == LOSES && chance(1000)) {
		op_end(op, 0);
		return;
	}
	if (broken == EARLY && chance(100)) {
		op_end(op, 0);
		if (lin_point)
			lin_point();
		weir_queue_try_send(me->queue, data, bytes);
		return;
	}
	if (profile->flags & WAITS)
		r = weir_queue_send(me->queue, data, bytes, patience(&ctx));
	else
		r = weir_queue_try_send(me->queue, data, bytes);
	if (broken == DOUBLES && r == 0 && chance(100))
		weir_queue_try_send(me->queue, data, bytes);
	op_end(op, r);
}

static void receive(bool any_room)
{
	struct op *op = op_begin(RECV);
	uint8_t data[MSG_BYTES];
	struct weir_ctx ctx;
	uint32_t bytes = 0;
	uint32_t room = !any_room && chance(12) ? 8 : sizeof(data); /* all messages are longer */
	int r;

	op->arg = room == 8;
	called(op);
	if (profile->flags & WAITS)
		r = weir_queue_recv(me->queue, data, room, &bytes, patience(&ctx));
	else
		r = weir_queue_try_recv(me->queue, data, room, &bytes);
	if (r == 0)
		op->value = message_id(data, bytes);
	op_end(op, r);
}

static void loan(void)
{
	struct op *op = op_begin(LOAN);
	int r;

	called(op);
	r = weir_queue_try_loan(me->queue, &me->loan);
	op->more[0] = me->loan.position - board->position;
	me->loaned = r == 0;
	op_end(op, r);
}

static void give_loan(void)
{
	struct op *op = op_begin(chance(4) ? ABORT : COMMIT);
	int r;

	op->more[0] = me->loan.position - board->position;
	me->loaned = false;
	if (op->kind == COMMIT) {
		op->arg = me->index * 16 + ++me->sent;
		me->loan.bytes = message_make(op->arg, me->loan.data);
	}
	called(op);
	r = op->kind == COMMIT ? weir_queue_commit(me->queue, &me->loan)
			       : weir_queue_abort(me->queue, &me->loan);
	op_end(op, r);
}

static void take(void)
{
	struct op *op = op_begin(TAKE);
	struct weir_msg *m = &me->message;
	struct weir_ctx ctx;
	int r;

	called(op);
	if (profile->flags & WAITS)
		r = weir_queue_take(me->queue, m, patience(&ctx));
	else
		r = weir_queue_try_take(me->queue, m);
	if (r == 0) {
		op->value = message_id(m->data, m->bytes);
		op->more[0] = m->position - board->position;
		op->more[1] = m->tries;
	}
	me->taken = r == 0;
	op_end(op, r);
}

static void give_back(void)
{
	struct op *op = op_begin(chance(3) ? PUT_BACK : DONE);
	int r;

	op->more[0] = me->message.position - board->position;
	me->taken = false;
	called(op);
	r = op->kind == DONE ? weir_queue_done(me->queue, &me->message)
			     : weir_queue_put_back(me->queue, &me->message);
	op_end(op, r);
}

/* --- semaphore --------------------------------------------------------------------------- */

static void try_acquire(uint32_t weight)
{
	struct op *op = op_begin(TRY_ACQUIRE);
	int r;

	op->arg = weight;
	called(op);
	r = weir_sem_try_acquire(me->sem, op->arg);
	if (r == 0)
		me->hold += op->arg;
	op_end(op, r);
}

static void release(void)
{
	struct op *op = op_begin(RELEASE);
	int r;

	op->arg = 1 + pick(&me->rng, me->hold ? me->hold : 1);
	called(op);
	r = weir_sem_release(me->sem, op->arg);
	if (r == 0)
		me->hold -= op->arg;
	op_end(op, r);
}

static void request_end(struct op *op, int result)
{
	me->request = NULL;
	if (result == 0)
		me->hold += op->arg;
	op_end(op, result);
}

static void request(void)
{
	struct op *op = op_begin(REQUEST);
	struct weir_ctx ctx;
	int r;

	op->arg = 1 + pick(&me->rng, 2);
	called(op);
	if ((profile->flags & WAITS) && !chance(3)) {
		r = weir_sem_acquire(me->sem, op->arg, patience(&ctx));
		request_end(op, r);
		return;
	}
	r = weir_sem_start(me->sem, op->arg);
	if (r != -EINPROGRESS) {
		request_end(op, r);
		return;
	}
	me->request = op;
	me->op = NULL;
	board->inside[me->index] = false;
}

static void ask(bool stop)
{
	struct op *op = me->request;
	struct weir_wait wait;
	int r;

	me->op = op;
	if (lin_enter)
		lin_enter();
	r = stop ? weir_sem_stop(me->sem) : weir_sem_poll(me->sem, &wait);
	if (r != -EINPROGRESS)
		request_end(op, r);
	me->op = NULL;
	board->inside[me->index] = false;
}

static void resize(void)
{
	struct op *op = op_begin(RESIZE);

	op->arg = 2 + pick(&me->rng, 3);
	called(op);
	op_end(op, weir_sem_resize(me->sem, op->arg));
}

/* --- limiter ----------------------------------------------------------------------------- */

static void allow(uint8_t key)
{
	struct op *op = op_begin(ALLOW);
	struct weir_verdict v = {0};
	int r;

	op->part = key;
	op->arg = chance(24) ? world.capacity + 1 : 1 + pick(&me->rng, 2);
	called(op);
	if (profile->flags & KEYED)
		r = weir_limiter_allow_key(me->keyed, key ? "b" : "a", 1, op->arg, &v);
	else
		r = weir_limiter_allow(me->limiter, op->arg, &v);
	op->more[0] = v.retry_after_ns;
	op->more[1] = v.remaining;
	op->more[2] = v.reset_ns;
	if (broken == GENEROUS && r < 0 && chance(100))
		r = 0;
	op_end(op, r);
}

static void reserve(void)
{
	static const uint64_t waits[] = {0, 400, 1700, 9000};
	struct op *op = op_begin(RESERVE);

	op->arg = 1 + pick(&me->rng, 2);
	op->more[0] = waits[pick(&me->rng, 4)];
	called(op);
	op_end(op, weir_limiter_reserve(me->limiter, op->arg, op->more[0], &op->more[1]));
}

static void refund(void)
{
	struct op *op = op_begin(REFUND);

	op->arg = 1 + pick(&me->rng, 2);
	called(op);
	op_end(op, weir_limiter_refund(me->limiter, op->arg));
}

/* --- directory --------------------------------------------------------------------------- */

static const char *const names[NAMES] = {"x", "y"};

/* The object a handle stands for: its first member is the view, which begins like this. */
struct view {
	struct weir_segment *seg;
	const uint8_t *object;
};

static uint32_t object_of(const void *handle)
{
	const struct view *view = handle;

	return (uint32_t)(view->object - me->seg->base);
}

static int open_one(uint32_t what, const char *name, uint32_t *ret_object)
{
	struct weir_sem_opts sem_opts = WEIR_OPTS(sem, .permits = 2 + what);
	struct weir_queue_opts queue_opts = WEIR_OPTS(queue, .slots = 2, .bytes = 16);
	struct weir_queue *queue;
	struct weir_sem_stat stat;
	struct weir_sem *sem;
	int r;

	if (what == 3) {
		r = weir_queue_open(me->seg, name, &queue_opts, &queue);
		if (r == 0)
			*ret_object = object_of(queue);
		if (r == 0)
			weir_queue_close(queue);
		return r;
	}
	r = weir_sem_open(me->seg, name, what ? &sem_opts : NULL, &sem);
	if (r < 0)
		return r;
	*ret_object = object_of(sem);
	weir_sem_stat(sem, &stat);
	if (stat.permits < 3 || stat.permits > 4 || (what && stat.permits != 2 + what))
		*ret_object = 0; /* It is not whole. */
	weir_sem_close(sem);
	return 0;
}

static void directory(uint8_t kind, uint8_t name, uint32_t what)
{
	struct op *op = op_begin(kind);
	int r;

	op->part = name;
	op->arg = what;
	called(op);
	if (kind == UNLINK)
		r = weir_object_unlink(me->seg, names[name]);
	else
		r = open_one(op->arg, names[name], &op->value);
	op_end(op, r);
}

/* --- anybody ----------------------------------------------------------------------------- */

void party_begin(struct party *p, uint32_t ops)
{
	p->rng = board->seed ^ (p->index + 1) * UINT64_C(0xd1342543de82ef95);
	p->op = NULL;
	p->request = NULL;
	p->hold = 0;
	p->sent = 0;
	p->left = ops;
	p->loaned = false;
	p->taken = false;
	/* relaxed: ours; so that a history depends on nothing but its seed. */
	weir_store_relaxed(&p->seg->swept_ns, CLOCK_START);
}

void party_recover(struct party *p)
{
	struct op *op = op_begin(RECOVER);

	(void)p;
	called(op);
	op_end(op, broken == FORGETS ? 0 : weir_segment_recover(me->seg, NULL));
}

static uint8_t choose(void)
{
	const struct chance *c = profile->chances;
	uint32_t sum = 0;
	uint32_t at;

	for (uint32_t i = 0; c[i].weight; i++)
		sum += c[i].weight;
	at = pick(&me->rng, sum);
	while (at >= c->weight)
		at -= c++->weight;
	return c->kind;
}

static void act_queue(uint8_t kind)
{
	struct op *op;

	switch (kind) {
	case SEND:
		send();
		break;
	case RECV:
		if (me->taken)
			give_back();
		else
			receive(false);
		break;
	case LOAN:
		if (me->loaned)
			give_loan();
		else
			loan();
		break;
	case TAKE:
		if (me->taken)
			give_back();
		else
			take();
		break;
	default:
		op = op_begin(SHUTDOWN);
		called(op);
		op_end(op, weir_queue_shutdown(me->queue));
	}
}

static void act_sem(uint8_t kind)
{
	if (kind == RELEASE && (me->hold || chance(8)))
		release();
	else if (kind == RESIZE)
		resize();
	else if (me->request)
		ask(chance(4));
	else if (kind == REQUEST)
		request();
	else
		try_acquire(1 + pick(&me->rng, 2));
}

void party_act(struct party *p)
{
	uint8_t kind;

	me = p;
	kind = choose();
	if (weir_load_full(&board->dead) >= 0 && chance(3)) {
		party_recover(p);
		return;
	}
	if (profile->spec == &spec_queue)
		act_queue(kind);
	else if (profile->spec == &spec_sem)
		act_sem(kind);
	else if (profile->spec == &spec_directory)
		directory(kind, (uint8_t)pick(&p->rng, NAMES),
			  kind == OPEN ? 1 + pick(&p->rng, 3) : 0);
	else if (kind == RESERVE)
		reserve();
	else if (kind == REFUND)
		refund();
	else
		allow(profile->flags & KEYED ? (uint8_t)pick(&p->rng, KEYS) : 0);
}

static void release_all(void)
{
	struct op *op;

	if (me->hold == 0)
		return;
	op = op_begin(RELEASE);
	op->arg = me->hold;
	called(op);
	op_end(op, weir_sem_release(me->sem, op->arg));
	me->hold = 0;
}

bool party_waits(struct party *p)
{
	me = p;
	release_all();
	if (p->request)
		ask(false);
	return p->request;
}

/* Nothing stays open. */
void party_finish(struct party *p)
{
	me = p;
	if (p->request)
		ask(true);
	if (p->loaned)
		give_loan();
	if (p->taken)
		give_back();
	release_all();
}

void party_drain(struct party *p)
{
	struct log *log = &board->log[p->index];
	int64_t diff = 0;

	me = p;
	if (profile->spec == &spec_queue) {
		do {
			receive(true);
		} while (log->op[log->count - 1].result == 0);
		for (uint32_t i = 0; i < world.capacity; i++)
			send();
	} else if (profile->spec == &spec_sem) {
		do {
			try_acquire(1);
		} while (log->op[log->count - 1].result == 0);
		if (weir_sem_check(p->sem, &diff) != 0)
			board->wrong = "the semaphore's books do not add up";
	} else if (profile->spec == &spec_directory) {
		for (uint8_t i = 0; i < NAMES; i++)
			directory(OPEN, i, 1);
	} else {
		for (uint8_t i = 0; i < (profile->flags & KEYED ? KEYS : 1); i++)
			allow(i);
	}
}
