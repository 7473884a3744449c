/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Places to sleep, and contexts: no wake is lost. */
#include "help.h"

static struct weir_waitq_shm *q;
static WEIR_ATOMIC(uint32_t) * flag;
static struct weir_ctx *ctx;
static int *data;

static void setup(void)
{
	world_make(4);
	q = world_shared("waitq", sizeof(*q));
	flag = world_shared("flag", sizeof(*flag));
	data = world_shared("data", sizeof(*data));
	ctx = world_shared("ctx", sizeof(*ctx));
	weir__waitq_init(q, q);
	EXPECT(weir_ctx_init(ctx, NULL, UINT64_MAX) == 0);
}

/* As at weir__waitq_prepare(): the flag, the last look, the sleep. */
static int wait_for(struct weir_ctx *context)
{
	for (;;) { /* Ends: when the flag is set, or ctx has ended. */
		uint32_t value = weir__waitq_prepare(q);
		int r;

		if (weir_load_full(flag))
			return 0;
		r = weir__waitq_sleep(q, value, context);
		if (r < 0)
			return r;
	}
}

static void waiter(int self)
{
	(void)self;
	EXPECT(wait_for(NULL) == 0);
	EXPECT(*data == 7);
}

static void waker(int self)
{
	(void)self;
	*data = 7;
	weir_store_full(flag, 1);
	weir__waitq_wake(q);
}

static void wake_only(int self)
{
	(void)self;
	weir__waitq_wake(q);
}

const struct model waitq_wake = {.name = "waitq-wake",
				 .what = "one sleeps, one wakes",
				 .body = {waiter, waker},
				 .peers = 2,
				 .setup = setup,
				 .spurious = 1,
				 .quick = true};

const struct model waitq_wake2 = {.name = "waitq-wake2",
				  .what = "two sleep, one wakes both",
				  .body = {waiter, waiter, waker, recover},
				  .peers = 3,
				  .setup = setup,
				  .killable = 1};

const struct model waitq_wakers = {.name = "waitq-wakers",
				   .what = "one sleeps; of two who wake one has nothing to say",
				   .body = {waiter, waker, wake_only},
				   .peers = 3,
				   .setup = setup,
				   .timeouts = 1};

/* --- contexts --------------------------------------------------------------------------------- */

static void waiter_ctx(int self)
{
	struct weir_ctx child;
	int r;

	(void)self;
	EXPECT(weir_ctx_init(&child, ctx, UINT64_MAX) == 0);
	r = wait_for(&child);
	EXPECT(r == 0 || r == -ECANCELED);
	if (r == -ECANCELED)
		EXPECT(*data == 3);
}

static void canceller(int self)
{
	(void)self;
	*data = 3;
	EXPECT(weir_ctx_cancel(ctx) == 0);
}

const struct model ctx_cancel = {.name = "ctx-cancel",
				 .what = "a sleeper's parent context is cancelled",
				 .body = {waiter_ctx, canceller},
				 .peers = 2,
				 .setup = setup,
				 .quick = true};

const struct model ctx_cancel2 = {.name = "ctx-cancel2",
				  .what = "cancelled while another wakes for nothing",
				  .body = {waiter_ctx, canceller, wake_only},
				  .peers = 3,
				  .setup = setup,
				  .timeouts = 1};

static void hear_ctx(int self)
{
	(void)self;
	EXPECT(wait_for(ctx) == -ECANCELED);
}

static void cancel_it(int self)
{
	(void)self;
	EXPECT(weir_ctx_cancel(ctx) == 0);
}

const struct model ctx_kill = {.name = "ctx-kill",
			       .what = "who cancels dies anywhere; so does who does it again",
			       .body = {hear_ctx, cancel_it, cancel_it, cancel_it},
			       .peers = 2,
			       .setup = setup,
			       .killable = 2 | 4,
			       .quick = true};
