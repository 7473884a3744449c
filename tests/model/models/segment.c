/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Participants, the directory, the arena: what everything else stands on. */
#include "help.h"

static struct weir_queue *queue[BODIES_MAX];
static int results[BODIES_MAX];
static void *blocks[BODIES_MAX];

static const struct weir_segment *any(void)
{
	return world_seg(0) ? world_seg(0) : world_seg(2);
}

static uint64_t raw(const void *word)
{
	return *(const volatile uint64_t *)word;
}

/* Nobody dead is left in the tables, and everybody who lives is there. */
static void check_tables(int who, int live)
{
	const struct weir_segment *seg = any();
	int processes = 0;
	int lost = 0;

	EXPECT(weir_segment_recover(world_seg(who), NULL) == 0);
	for (uint32_t i = 0; i < seg->proc_count; i++)
		processes += weir_process_word_state(raw(&seg->procs[i].word)) ==
			     WEIR_PROCESS_STATE_LIVE;
	for (uint32_t i = 0; i < seg->thread_count; i++) {
		uint64_t word = raw(&seg->threads[i].word);
		uint64_t process = raw(&seg->procs[weir_thread_word_proc(word)].word);

		lost += weir_thread_word_state(word) == WEIR_THREAD_STATE_LIVE &&
			weir_process_word_state(process) != WEIR_PROCESS_STATE_LIVE;
	}
	EXPECT(processes == live);
	EXPECT(lost == 0);
}

static int live_count(const struct model *m)
{
	int n = 0;

	for (int i = 0; i < BODIES_MAX && m->body[i]; i++)
		n += !model_dead(i);
	return n;
}

/* --- thread slots ----------------------------------------------------------------------------- */

extern const struct model join_kill;

static void setup_join(void)
{
	world_private(results, sizeof(results));
	for (int i = 0; i < 4; i++)
		world_attach(i, 6);
	for (int i = 2; i < 4; i++) {
		world_as(i);
		EXPECT(weir_segment_join(world_seg(i)) == 0);
	}
}

static void join(int self)
{
	results[self] = weir__self(world_seg(self));
	EXPECT(results[self] >= 0);
}

static void check_join(void)
{
	if (!model_dead(0))
		EXPECT(results[0] != results[1]);
	check_tables(survivor(&join_kill), live_count(&join_kill));
}

const struct model join_kill = {.name = "join-kill",
				.what = "two threads take slots; one dies anywhere",
				.body = {join, join, recover, recover},
				.peers = 2,
				.setup = setup_join,
				.check = check_join,
				.killable = 1 | 4,
				.quick = true};

/* --- process slots ---------------------------------------------------------------------------- */

extern const struct model attach_kill;

static void setup_attach(void)
{
	for (int i = 0; i < 4; i++) {
		if (i == 1)
			continue;
		world_attach(i, 4);
		EXPECT(weir_segment_join(world_seg(i)) == 0);
	}
}

static void do_nothing(int self)
{
	join(self);
}

/* Its slot may be that of the dead one: found free only when all is given back. */
static void attach(int self)
{
	struct weir_segment *seg;

	EXPECT(weir_segment_open("/model", NULL, &seg) == 0);
	EXPECT(weir_segment_join(seg) == 0);
	results[self] = (int)seg->proc_slot;
}

static void check_attach(void)
{
	check_tables(survivor(&attach_kill) == 1 ? 2 : survivor(&attach_kill),
		     live_count(&attach_kill));
}

const struct model attach_kill = {.name = "attach-kill",
				  .what = "one attaches while another dies and is swept",
				  .body = {do_nothing, attach, recover, recover},
				  .peers = 2,
				  .setup = setup_attach,
				  .check = check_attach,
				  .killable = 1 | 2 | 4};

/* --- the arena -------------------------------------------------------------------------------- */

extern const struct model arena_kill;

static void setup_arena(void)
{
	world_private(blocks, sizeof(blocks));
	memset(blocks, 0, sizeof(blocks));
	world_make(4);
}

static void claim(int self)
{
	uint32_t slot = (uint32_t)weir__self(world_seg(self));
	void *first;

	EXPECT(weir__arena_claim(world_seg(self), slot, 128, &first) == 0);
	((uint64_t *)first)[8] = 42; /* plain: it must be ours alone */
	weir__arena_settle(first, WEIR_OBJECT_BLOCK_FREE);
	EXPECT(weir__arena_claim(world_seg(self), slot, 128, &blocks[self]) == 0);
	EXPECT(((uint64_t *)blocks[self])[8] == 0);
	((uint64_t *)blocks[self])[8] = 43;
}

static void check_arena(void)
{
	int who = survivor(&arena_kill);
	uint64_t off = any()->arena_off;
	int building = 0;

	EXPECT(weir_segment_recover(world_seg(who), NULL) == 0);
	EXPECT(model_dead(0) || blocks[0] != blocks[1]);
	for (; off; off = weir__arena_next(any(), off)) {
		uint64_t word = raw((const uint8_t *)any()->base + off);

		EXPECT(word == 0 || weir_object_block_units(word) == 2);
		building += weir_object_block_state(word) == WEIR_OBJECT_BLOCK_BUILDING;
	}
	EXPECT(building == !model_dead(0) + !model_dead(1));
}

const struct model arena_kill = {.name = "arena-kill",
				 .what = "two claim, free and claim blocks; one dies anywhere",
				 .body = {claim, claim, recover, recover},
				 .peers = 2,
				 .setup = setup_arena,
				 .check = check_arena,
				 .killable = 1 | 4,
				 .quick = true};

/* --- the directory ---------------------------------------------------------------------------- */

extern const struct model dir_kill;

static void setup_dir(void)
{
	world_private(queue, sizeof(queue));
	memset(queue, 0, sizeof(queue));
	world_make(4);
}

static const void *object_of(int self)
{
	return *(void *const *)((uint8_t *)queue[self] + 8); /* its view's shm */
}

static void get_or_create(int self)
{
	uint64_t m = (uint64_t)self + 1;

	EXPECT(weir_queue_open(world_seg(self), "q", &WEIR_OPTS(queue, .slots = 2, .bytes = 8),
			       &queue[self]) == 0);
	EXPECT(weir_queue_try_send(queue[self], &m, sizeof(m)) == 0);
}

/* One object, and every other block is free. */
static void check_dir(void)
{
	int who = survivor(&dir_kill);
	uint64_t off = any()->arena_off;
	int ready = 0;
	int building = 0;

	EXPECT(weir_segment_recover(world_seg(who), NULL) == 0);
	if (!model_dead(0))
		EXPECT(object_of(0) == object_of(1));
	for (; off; off = weir__arena_next(any(), off)) {
		uint64_t word = raw((const uint8_t *)any()->base + off);

		ready += weir_object_block_state(word) == WEIR_OBJECT_BLOCK_READY;
		building += weir_object_block_state(word) == WEIR_OBJECT_BLOCK_BUILDING;
	}
	EXPECT(ready == 1 && building == 0);
	EXPECT(raw(&any()->dir[0]) != 0 && raw(&any()->dir[1]) == 0);
}

const struct model dir_kill = {.name = "directory-kill",
			       .what = "two get or create one queue; one dies anywhere",
			       .body = {get_or_create, get_or_create, recover, recover},
			       .peers = 2,
			       .setup = setup_dir,
			       .check = check_dir,
			       .killable = 1 | 4,
			       .quick = true};

/* --- two who sweep, and a newcomer in the dead one's slot --------------------------------------
 */

static void setup_dir_reuse(void)
{
	world_private(queue, sizeof(queue));
	memset(queue, 0, sizeof(queue));
	for (int i = 0; i < 4; i++) {
		world_attach(i, 6);
		if (i < 3)
			EXPECT(weir_segment_join(world_seg(i)) == 0);
	}
	world_as(0);
}

/* What the newcomer has built and used is not given back. */
static void check_dir_reuse(void)
{
	uint32_t bytes;
	uint64_t m = 0;
	int got = 0;

	world_as(3);
	EXPECT(weir_segment_recover(world_seg(3), NULL) == 0);
	if (model_victim() < 0)
		return;
	while (weir_queue_try_recv(queue[3], &m, sizeof(m), &bytes) == 0) /* Ends: emptier. */
		got += m == 4;
	EXPECT(got == 1);
	EXPECT(weir_object_block_state(raw(object_of(3))) == WEIR_OBJECT_BLOCK_READY);
}

const struct model dir_reuse = {.name = "directory-reuse",
				.what = "two sweep a builder; a newcomer builds in its thread slot",
				.body = {get_or_create, recover, recover, get_or_create},
				.peers = 1,
				.together = true,
				.setup = setup_dir_reuse,
				.check = check_dir_reuse,
				.killable = 1,
				.preempt = 2};

static void setup_unlink(void)
{
	setup_dir();
	world_as(0);
	EXPECT(weir_queue_open(world_seg(0), "q", &WEIR_OPTS(queue, .slots = 2, .bytes = 8),
			       &queue[0]) == 0);
}

static void unlink_it(int self)
{
	EXPECT(weir_object_unlink(world_seg(self), "q") == 0);
}

static void check_unlink(void)
{
	world_as(0);
	EXPECT(raw(&any()->dir[0]) == 1);
	EXPECT((raw(&any()->dir[1]) != 0) == (object_of(0) != object_of(1)));
}

const struct model dir_unlink = {.name = "directory-unlink",
				 .what = "a name is removed while another opens it",
				 .body = {unlink_it, get_or_create},
				 .peers = 2,
				 .setup = setup_unlink,
				 .check = check_unlink,
				 .quick = true};
