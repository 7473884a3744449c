/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The queue: every message once, each sender's in its order, whoever dies. */
#include "help.h"
#include "obj/queue_word.h"

#define SENT_MAX 4

static struct weir_queue *queue[BODIES_MAX];
static struct {
	uint64_t sent[BODIES_MAX];  /* messages that went in for certain */
	uint64_t maybe[BODIES_MAX]; /* the last one that was tried */
	uint64_t got[BODIES_MAX][SENT_MAX * 2];
	int count[BODIES_MAX];
} books;

static void make(int count)
{
	world_private(&books, sizeof(books));
	memset(&books, 0, sizeof(books));
	world_make(count);
	for (int i = 0; i < count; i++) {
		world_as(i);
		EXPECT(weir_queue_open(world_seg(i), "q", &WEIR_OPTS(queue, .slots = 2, .bytes = 8),
				       &queue[i]) == 0);
	}
	world_as(0);
}

/* --- what senders and receivers do ------------------------------------------------------------ */

/* Message k of `self`. */
static uint64_t message(int self, uint64_t k)
{
	return (uint64_t)(self + 1) * 1000 + k;
}

static int try_send(int self)
{
	uint64_t m = message(self, books.sent[self] + 1);
	int r;

	books.maybe[self] = books.sent[self] + 1;
	r = weir_queue_try_send(queue[self], &m, sizeof(m));
	if (r == 0)
		books.sent[self]++;
	else
		books.maybe[self] = 0;
	EXPECT(r == 0 || r == -EAGAIN || r == -ESHUTDOWN);
	return r;
}

static void got(int self, uint64_t m)
{
	EXPECT(books.count[self] < SENT_MAX * 2);
	books.got[self][books.count[self]++] = m;
}

static int try_recv(int self)
{
	uint32_t bytes = 0;
	uint64_t m = 0;
	int r = weir_queue_try_recv(queue[self], &m, sizeof(m), &bytes);

	EXPECT(r == 0 || r == -EAGAIN || r == -ESHUTDOWN);
	if (r == 0) {
		EXPECT(bytes == sizeof(m));
		got(self, m);
	}
	return r;
}

static void send(int self)
{
	struct weir_wait wait;

	while (try_send(self) != 0) { /* Ends: somebody makes room. */
		EXPECT(weir_queue_wait_send(queue[self], &wait) == 0);
		if (try_send(self) == 0)
			return;
		sleep_at(&wait);
	}
}

static void recv(int self)
{
	struct weir_wait wait;

	while (try_recv(self) != 0) { /* Ends: somebody sends. */
		EXPECT(weir_queue_wait_recv(queue[self], &wait) == 0);
		if (try_recv(self) == 0)
			return;
		sleep_at(&wait);
	}
}

/* --- the books -------------------------------------------------------------------------------- */

/* Every message that went in came out once; one whose sender or receiver died may have. */
static void balance(int who, bool receiver_died)
{
	int times[BODIES_MAX][SENT_MAX + 1] = {0};
	uint64_t last[BODIES_MAX];

	EXPECT(weir_segment_recover(world_seg(who), NULL) == 0);
	while (try_recv(who) == 0) { /* Ends: it gets emptier. */
	}
	for (int i = 0; i < BODIES_MAX; i++) {
		memset(last, 0, sizeof(last));
		for (int k = 0; k < books.count[i]; k++) {
			uint64_t sender = books.got[i][k] / 1000 - 1;
			uint64_t number = books.got[i][k] % 1000;

			EXPECT(sender < BODIES_MAX && number >= 1 && number <= SENT_MAX);
			EXPECT(number > last[sender]); /* each sender's order */
			last[sender] = number;
			times[sender][number]++;
		}
	}
	for (int i = 0; i < BODIES_MAX; i++) {
		for (uint64_t k = 1; k <= SENT_MAX; k++) {
			bool open = k == books.maybe[i] && k > books.sent[i] && model_dead(i);

			EXPECT(times[i][k] <= 1 || receiver_died);
			if (k <= books.sent[i] && !receiver_died)
				EXPECT(times[i][k] == 1);
			if (k > books.sent[i] && !open)
				EXPECT(times[i][k] == 0);
		}
	}
	for (int k = 0; k < 2; k++) /* and the ring is whole */
		EXPECT(weir_queue_try_send(queue[who], &times, 8) == 0);
	EXPECT(weir_queue_try_send(queue[who], &times, 8) == -EAGAIN);
}

static void check_alive(void)
{
	world_as(0);
	balance(0, false);
}

/* --- trying ----------------------------------------------------------------------------------- */

static void setup_two(void)
{
	make(2);
}

static void send_three(int self)
{
	for (int i = 0; i < 3; i++)
		try_send(self);
}

static void recv_two(int self)
{
	for (int i = 0; i < 2; i++)
		try_recv(self);
}

const struct model queue_try = {.name = "queue-try",
				.what = "3 tries to send into 2 slots, 2 tries to receive",
				.body = {send_three, recv_two},
				.peers = 2,
				.setup = setup_two,
				.check = check_alive,
				.quick = true};

static void send_two(int self)
{
	try_send(self);
	try_send(self);
}

const struct model queue_senders = {.name = "queue-senders",
				    .what = "2 senders, 2 tries each, into 2 slots",
				    .body = {send_two, send_two},
				    .peers = 2,
				    .setup = setup_two,
				    .check = check_alive,
				    .quick = true};

static void setup_full(void)
{
	make(2);
	try_send(0);
	try_send(0);
}

static void send_one(int self)
{
	try_send(self);
}

static void recv_one(int self)
{
	try_recv(self);
}

static void recv_send(int self)
{
	try_recv(self);
	try_send(self);
}

const struct model queue_lap = {.name = "queue-lap",
				.what = "2 receive from a full ring and send into the next lap",
				.body = {recv_send, recv_send},
				.peers = 2,
				.setup = setup_full,
				.check = check_alive,
				.quick = true};

static void send_a_lap_more(int self)
{
	try_send(self);
	try_send(self);
	try_recv(self);
	try_send(self);
}

const struct model queue_lapped = {.name = "queue-lapped",
				   .what = "a slow sender, and one who sends a lap more",
				   .body = {send_one, send_a_lap_more},
				   .peers = 2,
				   .setup = setup_two,
				   .check = check_alive};

/* --- waiting ---------------------------------------------------------------------------------- */

/* One is there already. */
static void setup_one(void)
{
	make(2);
	EXPECT(try_send(0) == 0);
}

static void send_waiting(int self)
{
	send(self);
	send(self);
}

static void recv_waiting(int self)
{
	for (int i = 0; i < 3; i++)
		recv(self);
}

static void check_waited(void)
{
	EXPECT(books.sent[0] == 3 && books.count[1] == 3);
	check_alive();
}

const struct model queue_wait = {.name = "queue-wait",
				 .what = "3 messages through 2 slots, both sides wait",
				 .body = {send_waiting, recv_waiting},
				 .peers = 2,
				 .setup = setup_one,
				 .check = check_waited};

static void wait_for_one(int self)
{
	recv(self);
}

static void check_one_wait(void)
{
	EXPECT(books.sent[0] == 1 && books.count[1] == 1);
	check_alive();
}

const struct model queue_wait1 = {.name = "queue-wait1",
				  .what = "one message, the receiver waits",
				  .body = {send_one, wait_for_one},
				  .peers = 2,
				  .setup = setup_two,
				  .check = check_one_wait,
				  .quick = true};

static struct weir_msg late;

static void setup_late(void)
{
	make(2);
	EXPECT(weir_queue_try_loan(queue[0], &late) == 0);
	world_as(1);
	EXPECT(try_send(1) == 0);
}

static void commit_late(int self)
{
	struct weir_msg msg = late;

	*(uint64_t *)msg.data = message(self, ++books.sent[self]);
	msg.bytes = 8;
	EXPECT(weir_queue_commit(queue[self], &msg) == 0);
}

static void check_late(void)
{
	EXPECT(books.count[1] == 1 && books.got[1][0] == message(0, 1));
	check_alive();
}

const struct model queue_late = {.name = "queue-late",
				 .what = "a loan in front of a message, the receiver waits",
				 .body = {commit_late, wait_for_one},
				 .peers = 2,
				 .setup = setup_late,
				 .check = check_late,
				 .quick = true};

/* --- three and four --------------------------------------------------------------------------- */

static void setup_three(void)
{
	make(3);
}

const struct model queue_2p1c = {.name = "queue-2p1c",
				 .what = "2 senders, 1 receiver",
				 .body = {send_one, send_two, recv_two},
				 .peers = 3,
				 .setup = setup_three,
				 .check = check_alive,
				 .preempt = 2};

static void setup_four(void)
{
	make(4);
}

const struct model queue_2p2c = {.name = "queue-2p2c",
				 .what = "2 senders, 2 receivers",
				 .body = {send_two, send_one, recv_one, recv_two},
				 .peers = 4,
				 .setup = setup_four,
				 .check = check_alive,
				 .preempt = 2};

/* --- loans ------------------------------------------------------------------------------------ */

static void take_put_back(int self)
{
	struct weir_msg msg;

	if (weir_queue_try_take(queue[self], &msg) == 0)
		EXPECT(weir_queue_put_back(queue[self], &msg) == 0);
}

static void loan_abort(int self)
{
	struct weir_msg msg;

	if (weir_queue_try_loan(queue[self], &msg) == 0)
		EXPECT(weir_queue_abort(queue[self], &msg) == 0);
}

/* A message that was put back may have been overtaken: only the count is checked. */
static void check_count(void)
{
	world_as(0);
	while (try_recv(0) == 0) { /* Ends: it gets emptier. */
	}
	EXPECT((uint64_t)(books.count[0] + books.count[1]) == books.sent[0] + books.sent[1]);
}

const struct model queue_put_back = {.name = "queue-put-back",
				     .what = "one puts a message back while the other receives",
				     .body = {recv_two, take_put_back},
				     .peers = 2,
				     .setup = setup_full,
				     .check = check_count,
				     .quick = true};

static struct weir_msg both[2];

static void setup_both(void)
{
	setup_full();
	for (int i = 0; i < 2; i++)
		EXPECT(weir_queue_try_take(queue[0], &both[i]) == 0);
}

/* The first goes back and is perhaps taken again before the second goes back. */
static void both_back(int self)
{
	struct weir_msg msg[2] = {both[0], both[1]};
	struct weir_msg again;
	int r;

	EXPECT(weir_queue_put_back(queue[self], &msg[0]) == 0);
	r = weir_queue_try_take(queue[self], &again);
	if (r == 0)
		got(self, *(uint64_t *)again.data);
	EXPECT(weir_queue_put_back(queue[self], &msg[1]) == 0);
	if (r == 0)
		EXPECT(weir_queue_done(queue[self], &again) == 0);
}

const struct model queue_both_back = {.name = "queue-both-back",
				      .what = "one puts two messages back while the other receives",
				      .body = {both_back, recv_two},
				      .peers = 2,
				      .setup = setup_both,
				      .check = check_count,
				      .quick = true};

/* 0 is at work on the second message, 1 on the first, for the second time. */
static void setup_over(void)
{
	make(3);
	for (int i = 0; i < 2; i++)
		EXPECT(try_send(0) == 0);
	world_as(1);
	EXPECT(weir_queue_try_take(queue[1], &both[0]) == 0);
	world_as(0);
	EXPECT(weir_queue_try_take(queue[0], &both[1]) == 0);
	world_as(1);
	EXPECT(weir_queue_put_back(queue[1], &both[0]) == 0);
	EXPECT(weir_queue_try_take(queue[1], &both[0]) == 0);
	world_as(0);
}

static void second_back(int self)
{
	struct weir_msg msg = both[1];

	EXPECT(weir_queue_put_back(queue[self], &msg) == 0);
}

static void first_done(int self)
{
	struct weir_msg msg = both[0];

	EXPECT(weir_queue_done(queue[self], &msg) == 0);
}

static void check_over(void)
{
	world_as(0);
	while (try_recv(0) == 0) { /* Ends: it gets emptier. */
	}
	EXPECT(books.count[0] + books.count[2] == 1);
}

const struct model queue_over = {
	.name = "queue-over",
	.what = "one puts a message back; another, done, steps to it, for a third",
	.body = {second_back, first_done, recv_one},
	.peers = 3,
	.setup = setup_over,
	.check = check_over,
	.quick = true};

const struct model queue_abort = {.name = "queue-abort",
				  .what = "a loan is given up between two sends",
				  .body = {send_two, loan_abort},
				  .peers = 2,
				  .setup = setup_two,
				  .check = check_count,
				  .quick = true};

static void setup_void(void)
{
	make(2);
	for (int i = 0; i < 2; i++)
		loan_abort(0);
	for (int i = 0; i < 2; i++) { /* The first of eight refusals is looked at twice. */
		world_as(i);
		EXPECT(try_recv(i) == -EAGAIN);
	}
	world_as(0);
}

static void check_void(void)
{
	EXPECT(books.sent[0] == 1 && books.sent[1] == 1);
	check_alive();
}

const struct model queue_void = {.name = "queue-void",
				 .what = "two send where two loans were given up",
				 .body = {send_one, send_one},
				 .peers = 2,
				 .setup = setup_void,
				 .check = check_void,
				 .quick = true};

/* --- closing ---------------------------------------------------------------------------------- */

static bool said_drained;

static void shut(int self)
{
	EXPECT(weir_queue_shutdown(queue[self]) == 0);
	for (int i = 0; i < 2; i++)
		said_drained |= try_recv(self) == -ESHUTDOWN;
}

static void setup_shut(void)
{
	world_private(&said_drained, sizeof(said_drained));
	said_drained = false;
	make(2);
}

static void check_shut(void)
{
	world_as(0);
	EXPECT(books.count[1] == 0);
	if (said_drained)
		EXPECT(try_recv(0) == -ESHUTDOWN); /* nothing came in after that */
	while (try_recv(0) == 0) {		   /* Ends: it gets emptier. */
	}
	EXPECT((uint64_t)books.count[0] == books.sent[1]);
}

const struct model queue_shutdown = {.name = "queue-shutdown",
				     .what = "closed under a sender: drained means drained",
				     .body = {shut, send_two},
				     .peers = 2,
				     .setup = setup_shut,
				     .check = check_shut,
				     .quick = true};

/* --- dying ------------------------------------------------------------------------------------ */

extern const struct model queue_kill_sender;
extern const struct model queue_kill_receiver;

static void setup_kill(void)
{
	make(4);
}

static void check_kill_sender(void)
{
	balance(survivor(&queue_kill_sender), false);
}

const struct model queue_kill_sender = {
	.name = "queue-kill-sender",
	.what = "a sender dies anywhere; so does who recovers; another sends",
	.body = {send_two, send_two, recover, recover},
	.peers = 2,
	.setup = setup_kill,
	.check = check_kill_sender,
	.killable = 1 | 4,
	.quick = true};

static void setup_kill_full(void)
{
	make(4);
	try_send(0);
	try_send(0);
}

/* Work on a message before it is off the queue. */
static void take_work_done(int self)
{
	struct weir_msg msg;
	uint64_t m;

	if (weir_queue_try_take(queue[self], &msg) < 0)
		return;
	memcpy(&m, msg.data, sizeof(m));
	got(self, m);
	EXPECT(weir_queue_done(queue[self], &msg) == 0);
}

/* Each was worked on at least once, and twice only if the first one died. */
static void check_kill_receiver(void)
{
	int times[2] = {0};

	balance(survivor(&queue_kill_receiver), true);
	for (int i = 0; i < BODIES_MAX; i++) {
		for (int k = 0; k < books.count[i]; k++)
			times[books.got[i][k] - message(0, 1)]++;
	}
	EXPECT(times[0] >= 1 && times[1] >= 1 && times[0] + times[1] <= 3);
}

const struct model queue_kill_receiver = {
	.name = "queue-kill-receiver",
	.what = "a receiver dies anywhere; so does who recovers; another receives",
	.body = {take_work_done, take_work_done, recover, recover},
	.peers = 2,
	.setup = setup_kill_full,
	.check = check_kill_receiver,
	.killable = 1 | 4,
	.quick = true};

extern const struct model queue_kill_loan;

static void work_on_two(int self)
{
	take_work_done(self);
	take_work_done(self);
}

static void put_back_loan(int self)
{
	take_put_back(self);
	loan_abort(self);
}

/* What was put back, or never committed, is neither lost nor made up; what a receiver that died had
 * is worked on again. */
static void check_kill_loan(void)
{
	int who = survivor(&queue_kill_loan);
	int times[2] = {0};

	EXPECT(weir_segment_recover(world_seg(who), NULL) == 0);
	while (try_recv(who) == 0) { /* Ends: it gets emptier. */
	}
	for (int i = 0; i < BODIES_MAX; i++) {
		for (int k = 0; k < books.count[i]; k++)
			times[books.got[i][k] - message(0, 1)]++;
	}
	EXPECT(times[0] >= 1 && times[1] >= 1);
	EXPECT(times[0] + times[1] <= 2 + model_dead(1));
	for (int k = 0; k < 2; k++)
		EXPECT(weir_queue_try_send(queue[who], &times, 8) == 0);
}

const struct model queue_kill_loan = {
	.name = "queue-kill-loan",
	.what = "one puts back and gives up a loan, another receives; one dies",
	.body = {put_back_loan, work_on_two, recover, recover},
	.peers = 2,
	.setup = setup_kill_full,
	.check = check_kill_loan,
	.killable = 1 | 2 | 4,
	.preempt = 2};

/* --- two who sweep, and a newcomer in the dead one's slot --------------------------------------
 */

static void setup_reuse(void)
{
	world_private(&books, sizeof(books));
	memset(&books, 0, sizeof(books));
	for (int i = 0; i < 4; i++) {
		world_attach(i, 6);
		if (i < 3)
			EXPECT(weir_segment_join(world_seg(i)) == 0);
		EXPECT(weir_queue_open(world_seg(i), "q", &WEIR_OPTS(queue, .slots = 2, .bytes = 8),
				       &queue[i]) == 0);
	}
	world_as(0);
}

static void recover_and_send(int self)
{
	recover(self);
	send_two(self);
}

static void check_reuse(void)
{
	world_as(3);
	balance(3, false);
}

const struct model queue_reuse = {
	.name = "queue-reuse",
	.what = "two sweep a sender; a newcomer sends from its thread slot",
	.body = {send_one, recover, recover_and_send, send_one},
	.peers = 1,
	.together = true,
	.setup = setup_reuse,
	.check = check_reuse,
	.killable = 1,
	.preempt = 2};

static void setup_reuse_full(void)
{
	setup_reuse();
	try_send(0);
	try_send(0);
}

/* The newcomer works on what the dead one had or on the next; nobody gets what it works on. */
static void check_reuse_full(void)
{
	int times[2] = {0};

	world_as(3);
	EXPECT(weir_segment_recover(world_seg(3), NULL) == 0);
	while (try_recv(3) == 0) { /* Ends: it gets emptier. */
	}
	for (int i = 0; i < BODIES_MAX; i++) {
		for (int k = 0; k < books.count[i]; k++)
			times[books.got[i][k] - message(0, 1)]++;
	}
	EXPECT(times[0] >= 1 && times[1] >= 1);
	EXPECT(times[0] + times[1] - (model_dead(0) ? books.count[0] : 0) <= 2);
}

const struct model queue_reuse_take = {.name = "queue-reuse-take",
				       .what = "the same with a receiver",
				       .body = {take_work_done, recover, recover, take_work_done},
				       .peers = 1,
				       .together = true,
				       .setup = setup_reuse_full,
				       .check = check_reuse_full,
				       .killable = 1,
				       .preempt = 2};

/* --- two who recover, and one of them dies ------------------------------------------------------
 */

extern const struct model queue_race;

static void send_back_abort(int self)
{
	EXPECT(try_send(self) == 0);
	take_put_back(self);
	loan_abort(self);
}

static void check_race(void)
{
	balance(survivor(&queue_race), false);
}

const struct model queue_race = {.name = "queue-race",
				 .what = "two recover at once, and one of them dies in it",
				 .body = {send_back_abort, recover, recover},
				 .peers = 1,
				 .together = true,
				 .setup = setup_kill,
				 .check = check_race,
				 .killable = 1 | 2,
				 .preempt = 2};
