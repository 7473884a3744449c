/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * weir check: do the books agree?
 *
 * A copy of a busy segment is not of one moment, so a sum may be off in it although nothing is
 * wrong. Every finding has a key without numbers; only what is found in several looks in a row
 * counts.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snapshot.h"

#define LOOKS 5

/* Findings of one look: key -> {segment, object, text}. */
__attribute__((format(printf, 5, 6))) static void found(json_t *findings,
							const struct snapshot *snap,
							const char *object, const char *key,
							const char *format, ...)
{
	json_t *j = json_object();
	char text[256];
	char name[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	snprintf(name, sizeof(name), "%s:%s:%s", snap->name, object ? object : "", key);
	json_object_set_new(j, "segment", json_string(snap->name));
	json_object_set_new(j, "object", object ? json_string(object) : json_null());
	json_object_set_new(j, "text", json_string(text));
	json_object_set_new(findings, name, j);
}

/* --- the segment ------------------------------------------------------------------------- */

static void check_directory(const struct snapshot *snap, json_t *findings)
{
	const uint64_t *dir = (const void *)(snap->base + snap->header.dir_off);
	bool ended = false;

	for (uint32_t i = 0; i < snap->header.dir_count; i++) {
		if (ended && dir[i] != 0) {
			found(findings, snap, NULL, "dir-gap",
			      "directory entry %u is used behind an unused one", i);
			break;
		}
		ended = dir[i] == 0;
	}
	for (uint32_t i = 0; i < snap->object_count; i++) {
		const struct snap_object *o = &snap->objects[i];

		if (!o->at)
			found(findings, snap, o->name, "head", "%s", o->problem);
		for (uint32_t k = 0; k < i; k++) {
			if (o->at && snap->objects[k].at &&
			    strcmp(o->name, snap->objects[k].name) == 0)
				found(findings, snap, o->name, "twice",
				      "the directory has this name twice");
		}
	}
}

static bool is_published(const struct snapshot *snap, uint64_t off)
{
	for (uint32_t i = 0; i < snap->object_count; i++) {
		if (snap->objects[i].off == off)
			return true;
	}
	return false;
}

static void check_blocks(const struct snapshot *snap, json_t *findings)
{
	uint64_t off = snap->header.arena_off;
	uint32_t published = 0;

	while (off <= snap->bytes - 64) {
		const struct weir_object_shm *head = (const void *)(snap->base + off);
		uint64_t block = head->block;
		uint64_t bytes = weir_object_block_units(block) * 64;
		uint64_t state = weir_object_block_state(block);
		uint32_t owner = (uint32_t)weir_object_block_owner(block);

		if (block == 0)
			break;
		if (bytes == 0 || bytes > snap->bytes - off || state > WEIR_OBJECT_BLOCK_FREE ||
		    state == WEIR_OBJECT_BLOCK_VIRGIN) {
			found(findings, snap, NULL, "block",
			      "the block at %llu has %llu bytes and state %llu",
			      (unsigned long long)off, (unsigned long long)bytes,
			      (unsigned long long)state);
			return;
		}
		if (state == WEIR_OBJECT_BLOCK_BUILDING && !snapshot_thread(snap, owner).live)
			found(findings, snap, NULL, "orphan",
			      "the block at %llu is being built by nobody (thread slot %u)",
			      (unsigned long long)off, owner);
		published += is_published(snap, off);
		off += bytes;
	}
	for (uint32_t i = 0; i < snap->object_count; i++)
		published -= snap->objects[i].at != NULL && published > 0;
	if (published)
		found(findings, snap, NULL, "chain", "the chain of blocks misses objects");
}

static void check_threads(const struct snapshot *snap, json_t *findings)
{
	for (uint32_t i = 0; i < snap->header.thread_count; i++) {
		uint64_t word = snap->threads[i].word;
		uint32_t proc = (uint32_t)weir_thread_word_proc(word);

		if (weir_thread_word_state(word) != WEIR_THREAD_STATE_LIVE)
			continue;
		if (proc >= snap->header.proc_count)
			found(findings, snap, NULL, "thread-proc",
			      "thread slot %u names process slot %u, which does not exist", i,
			      proc);
		else if (snap->life[proc] == SNAP_FREE)
			found(findings, snap, NULL, "thread-free",
			      "thread slot %u is in use, its process slot %u is not", i, proc);
	}
	if (snap->header.thread_high > snap->header.thread_count)
		found(findings, snap, NULL, "thread-high", "thread_high is %u of %u",
		      (unsigned)snap->header.thread_high, snap->header.thread_count);
}

/* --- objects ----------------------------------------------------------------------------- */

static void check_sem(const struct snapshot *snap, const struct snap_object *o, json_t *findings)
{
	struct sem_view v;
	char why[96];

	if (!sem_view(snap, o, &v, why)) {
		found(findings, snap, o->name, "shape", "%s", why);
		return;
	}
	if (v.used != v.held)
		found(findings, snap, o->name, "sum", "%u permits are taken, the lanes hold %llu",
		      v.used, (unsigned long long)v.held);
	if (weir_sem_word_author(v.word) / 2 >= v.shm->lanes)
		found(findings, snap, o->name, "author",
		      "signed by lane %llu, which does not exist",
		      (unsigned long long)weir_sem_word_author(v.word) / 2);
	if (v.cap == 0 || v.cap > WEIR_SEM_PERMITS_MAX)
		found(findings, snap, o->name, "cap", "%u permits", v.cap);
	for (uint32_t i = 0; i < v.shm->lanes; i++) {
		if (weir_sem_lane_ledger_hold(v.lanes[i].ledger) && !snapshot_thread(snap, i).live)
			found(findings, snap, o->name, "orphan",
			      "lane %u holds permits of a thread that does not exist", i);
	}
}

static void check_queue(const struct snapshot *snap, const struct snap_object *o, json_t *findings)
{
	struct queue_view v;
	char why[96];

	if (!queue_view(snap, o, &v, why)) {
		found(findings, snap, o->name, "shape", "%s", why);
		return;
	}
	if (v.odd)
		found(findings, snap, o->name, "slots",
		      "%u slots have a state or a length that does not exist", v.odd);
	if (!queue_ends_fit(&v))
		found(findings, snap, o->name, "ends", "first is %llu, tail is %llu, %u slots",
		      (unsigned long long)v.first, (unsigned long long)v.tail, v.shm->slot_count);
	for (uint32_t i = 0; i < v.shm->slot_count; i++) {
		struct queue_claim claim;

		if (queue_claim(&v, i, &claim) && !snapshot_thread(snap, claim.owner).live)
			found(findings, snap, o->name, "orphan",
			      "slot %u belongs to a thread that does not exist", i);
	}
}

static void check_object(const struct snapshot *snap, const struct snap_object *o, json_t *findings)
{
	struct limiter_view limiter;
	struct breaker_view breaker;
	struct spans_view spans;
	char why[96] = "";

	if (!o->at)
		return; /* Told with the directory. */
	if (o->type == WEIR_OBJECT_TYPE_SEM)
		check_sem(snap, o, findings);
	else if (o->type == WEIR_OBJECT_TYPE_QUEUE)
		check_queue(snap, o, findings);
	else if ((o->type == WEIR_OBJECT_TYPE_LIMITER && !limiter_view(snap, o, &limiter, why)) ||
		 (o->type == WEIR_OBJECT_TYPE_BREAKER && !breaker_view(snap, o, &breaker, why)) ||
		 (o->type == WEIR_OBJECT_TYPE_SPANS && !spans_view(snap, o, &spans, why)))
		found(findings, snap, o->name, "shape", "%s", why);
}

/* --- several looks ----------------------------------------------------------------------- */

static int look(const struct cli *cli, json_t **ret_findings, uint64_t *ret_objects)
{
	struct snapshot *snaps;
	struct target target;
	size_t count;
	int status = snapshot_wanted(cli, cli->argv[0], &target, &snaps, &count);

	if (status)
		return status;
	*ret_findings = json_object();
	*ret_objects = 0;
	for (size_t n = 0; n < count; n++) {
		const struct snapshot *snap = &snaps[n];

		if (snap->error) {
			found(*ret_findings, snap, NULL, "error", "%s: %s", fail_words(snap->error),
			      snap->why);
			continue;
		}
		check_directory(snap, *ret_findings);
		check_blocks(snap, *ret_findings);
		check_threads(snap, *ret_findings);
		for (uint32_t i = 0; i < snap->object_count; i++) {
			if (!snapshot_matches(&target, &snap->objects[i]))
				continue;
			check_object(snap, &snap->objects[i], *ret_findings);
			++*ret_objects;
		}
	}
	snapshot_drop_all(snaps, count);
	return 0;
}

static int looks(const struct cli *cli, json_t **ret_findings, uint64_t *ret_objects)
{
	struct timespec pause = {.tv_nsec = 20000000};
	json_t *again;
	const char *key;
	json_t *j;
	void *next;
	int status = look(cli, ret_findings, ret_objects);

	for (int i = 1; status == 0 && i < LOOKS && json_object_size(*ret_findings); i++) {
		nanosleep(&pause, NULL);
		status = look(cli, &again, ret_objects);
		if (status)
			break;
		json_object_foreach_safe(*ret_findings, next, key, j)
		{
			if (!json_object_get(again, key))
				json_object_del(*ret_findings, key);
		}
		json_decref(again);
	}
	return status;
}

int weir_cmd_check(int argc, char **argv)
{
	json_t *findings;
	json_t *document;
	json_t *array;
	uint64_t objects;
	const char *key;
	json_t *j;
	struct cli cli;
	size_t count;
	int status;

	cli_parse(argc, argv, 0, 1, &cli);
	status = looks(&cli, &findings, &objects);
	if (status)
		return status;
	count = json_object_size(findings);
	array = json_array();
	json_object_foreach(findings, key, j)
	{
		json_array_append(array, j);
		if (!cli.json && !cli.quiet)
			printf("WRONG  %s%s%s  %s\n",
			       json_string_value(json_object_get(j, "segment")),
			       json_is_null(json_object_get(j, "object")) ? "" : ":",
			       json_is_null(json_object_get(j, "object"))
				       ? ""
				       : json_string_value(json_object_get(j, "object")),
			       json_string_value(json_object_get(j, "text")));
	}
	json_decref(findings);
	document = out_document("weir.check/1");
	json_object_set_new(document, "objects", out_u64(objects));
	json_object_set_new(document, "problems", array);
	if (cli.json)
		out_json(document, cli.json_lines);
	else
		json_decref(document);
	if (!cli.json && !cli.quiet)
		printf("%llu objects, %zu problems\n", (unsigned long long)objects, count);
	return count ? EXIT_NO : EXIT_DONE;
}
