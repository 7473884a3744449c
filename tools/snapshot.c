/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Taking a snapshot, and not believing it.
 *
 * Everything in the copy was written by somebody else.  The header's tables are checked once with
 * arithmetic that cannot wrap; an object is offered only if its block lies inside the arena.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "snapshot.h"

#define SEGMENT_MAGIC UINT64_C(0x3147455352494557) /* "WEIRSEG1" */
#define OBJECT_MAGIC  0x52494557u		   /* "WEIR" */
#define BYTES_MAX     (UINT64_C(1) << 30)
#define UNIT	      64u
#define LOCK_BASE     ((off_t)1 << 40)

__attribute__((format(printf, 3, 4))) static int refuse(struct snapshot *snap, int error,
							const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(snap->why, sizeof(snap->why), format, args);
	va_end(args);
	return error;
}

/* --- reading ----------------------------------------------------------------------------- */

int snapshot_again(struct snapshot *snap, uint64_t off, uint64_t bytes)
{
	if (off > snap->bytes || bytes > snap->bytes - off)
		return -EBADMSG;
	while (bytes > 0) {
		ssize_t n = pread(snap->fd, snap->base + off, bytes, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return refuse(snap, -errno, "cannot read it");
		if (n == 0)
			return refuse(snap, -EBADMSG, "it became shorter while it was read");
		off += (uint64_t)n;
		bytes -= (uint64_t)n;
	}
	return 0;
}

static int read_file(struct snapshot *snap)
{
	/* NONBLOCK: a planted FIFO must not hang us. */
	snap->fd = open(snap->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (snap->fd < 0)
		return -errno;
	if (fstat(snap->fd, &snap->st) < 0)
		return -errno;
	if (!S_ISREG(snap->st.st_mode))
		return refuse(snap, -EBADMSG, "not a regular file");
	snap->bytes = (uint64_t)snap->st.st_size;
	if (snap->bytes < sizeof(snap->header))
		return refuse(snap, -EBADMSG, "only %llu bytes: not a segment, or truncated",
			      (unsigned long long)snap->bytes);
	if (snap->bytes > BYTES_MAX)
		return refuse(snap, -EFBIG, "%llu bytes, and a look takes a copy of at most 1 GiB",
			      (unsigned long long)snap->bytes);
	snap->base = malloc(snap->bytes);
	if (!snap->base)
		return -ENOMEM;
	return snapshot_again(snap, 0, snap->bytes);
}

/* --- the header -------------------------------------------------------------------------- */

static bool fits(const struct snapshot *snap, uint64_t off, uint64_t count, uint64_t max,
		 uint64_t each)
{
	return off % 8 == 0 && off >= sizeof(struct weir_segment_shm) && off <= snap->bytes &&
	       count > 0 && count <= max && count <= (snap->bytes - off) / each;
}

static int check_stamp(struct snapshot *snap)
{
	const struct weir_segment_shm *h = &snap->header;

	if (h->stamp == weir_layout_stamp)
		return 0;
	if (h->text_off > snap->bytes || h->text_bytes > snap->bytes - h->text_off ||
	    weir_layout_diff(weir_layout_text, weir_layout_text_bytes,
			     (const char *)snap->base + h->text_off, h->text_bytes, snap->why,
			     sizeof(snap->why)) != 1)
		refuse(snap, 0, "layout stamp %016llx here, %016llx in the segment",
		       (unsigned long long)weir_layout_stamp, (unsigned long long)h->stamp);
	return -EPROTO;
}

static int check_boot(struct snapshot *snap)
{
	char text[64] = "";
	uint8_t boot[16] = {0};
	int digits = 0;
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (!file)
		return 0; /* Nobody can tell. */
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	for (const char *c = text; *c && digits < 32; c++) {
		int v = *c >= '0' && *c <= '9'	 ? *c - '0'
			: *c >= 'a' && *c <= 'f' ? *c - 'a' + 10
						 : -1;

		if (v < 0)
			continue;
		boot[digits / 2] = (uint8_t)(boot[digits / 2] << 4 | v);
		digits++;
	}
	if (digits == 32 && memcmp(boot, snap->header.boot_id, 16) != 0)
		return refuse(snap, -ESTALE, "its times and processes mean nothing any more");
	return 0;
}

static int check_header(struct snapshot *snap)
{
	const struct weir_segment_shm *h = &snap->header;
	int r;

	memcpy(&snap->header, snap->base, sizeof(snap->header));
	if (h->magic != SEGMENT_MAGIC)
		return refuse(snap, -EBADMSG, "does not begin with WEIRSEG1: not a segment");
	if (h->bytes != snap->bytes)
		return refuse(snap, -EBADMSG,
			      "%llu bytes in the header, %llu in the file: truncated or grown",
			      (unsigned long long)h->bytes, (unsigned long long)snap->bytes);
	r = check_stamp(snap);
	if (r == 0)
		r = check_boot(snap);
	if (r < 0)
		return r;
	if (!fits(snap, h->dir_off, h->dir_count, 4096, 8) ||
	    !fits(snap, h->proc_off, h->proc_count, 1024, sizeof(struct weir_process_shm)) ||
	    !fits(snap, h->thread_off, h->thread_count, 4095, sizeof(struct weir_thread_shm)) ||
	    !fits(snap, h->event_off, h->event_count, UINT32_MAX, sizeof(struct weir_event_shm)) ||
	    (h->event_count & (h->event_count - 1)) != 0 || !fits(snap, h->arena_off, 1, 1, UNIT) ||
	    h->arena_off % UNIT != 0)
		return refuse(snap, -EBADMSG, "the tables in the header do not fit the file");
	snap->procs = (const void *)(snap->base + h->proc_off);
	snap->threads = (const void *)(snap->base + h->thread_off);
	snap->events = (const void *)(snap->base + h->event_off);
	snap->thread_high = h->thread_high < h->thread_count ? h->thread_high : h->thread_count;
	return 0;
}

/* --- who is alive ------------------------------------------------------------------------ */

/* A process of our pid namespace that is certainly gone: the lock can be kept by a child that it
 * forked without our library. */
static bool pid_gone(const struct weir_process_shm *p)
{
	struct pollfd poller = {.events = POLLIN};
	struct stat st;
	bool gone;

	if (stat("/proc/self/ns/pid", &st) < 0 || st.st_ino != p->pidns || p->pid == 0 ||
	    p->pid > INT_MAX)
		return false;
	poller.fd = pidfd_open((pid_t)p->pid, 0);
	if (poller.fd < 0)
		return errno == ESRCH;
	gone = p->pidfs && fstat(poller.fd, &st) == 0 && st.st_ino != p->pidfs && st.st_ino > 1000;
	if (poll(&poller, 1, 0) == 1)
		gone = true;
	close(poller.fd);
	return gone;
}

enum snap_life snapshot_life(const struct snapshot *snap, uint32_t proc)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};
	const struct weir_process_shm *p = &snap->procs[proc];
	uint64_t word = p->word;
	uint64_t now;
	off_t at = (off_t)(snap->header.proc_off + proc * sizeof(*p) +
			   offsetof(struct weir_process_shm, word));

	if (weir_process_word_state(word) != WEIR_PROCESS_STATE_LIVE)
		return SNAP_FREE;
	lock.l_start = LOCK_BASE + (off_t)proc;
	if (fcntl(snap->fd, F_OFD_GETLK, &lock) < 0)
		return SNAP_LIVE;
	if (lock.l_type != F_UNLCK && !pid_gone(p))
		return SNAP_LIVE;
	/* It may have left in order, or been swept, since the copy was made. */
	if (pread(snap->fd, &now, sizeof(now), at) != (ssize_t)sizeof(now) || now != word)
		return SNAP_FREE;
	return SNAP_DEAD;
}

static int look_for_life(struct snapshot *snap)
{
	snap->life = calloc(snap->header.proc_count, 1);
	if (!snap->life)
		return -ENOMEM;
	for (uint32_t i = 0; i < snap->header.proc_count; i++)
		snap->life[i] = (uint8_t)snapshot_life(snap, i);
	return 0;
}

/* --- objects ----------------------------------------------------------------------------- */

static const char *const types[] = {"none", "sem", "limiter", "breaker", "queue", "spans"};

const char *snapshot_type(uint32_t type)
{
	return type < sizeof(types) / sizeof(types[0]) ? types[type] : "?";
}

static void check_object(const struct snapshot *snap, struct snap_object *o)
{
	const struct weir_object_shm *head;
	char name[sizeof(head->name)];
	uint64_t block;

	if (o->off < snap->header.arena_off || o->off % UNIT != 0 || o->off > snap->bytes - UNIT) {
		snprintf(o->problem, sizeof(o->problem),
			 "entry %u: offset %llu is not in the arena", o->index,
			 (unsigned long long)o->off);
		return;
	}
	head = (const void *)(snap->base + o->off);
	memcpy(name, head->name, sizeof(name));
	block = head->block;
	o->type = head->type;
	o->bytes = weir_object_block_units(block) * UNIT;
	if (memchr(name, '\0', sizeof(name)) && weir_name_check(name) == 0)
		memcpy(o->name, name, sizeof(name));
	if (head->magic != OBJECT_MAGIC)
		snprintf(o->problem, sizeof(o->problem), "entry %u: no object head there",
			 o->index);
	else if (o->name[0] == '?')
		snprintf(o->problem, sizeof(o->problem), "entry %u: no sound name", o->index);
	else if (o->type == 0 || o->type >= sizeof(types) / sizeof(types[0]))
		snprintf(o->problem, sizeof(o->problem), "type %u does not exist", o->type);
	else if (o->bytes < 2 * UNIT || o->bytes > snap->bytes - o->off)
		snprintf(o->problem, sizeof(o->problem), "a block of %llu bytes does not fit",
			 (unsigned long long)o->bytes);
	else
		o->at = head;
}

static int look_for_objects(struct snapshot *snap)
{
	const uint64_t *dir = (const void *)(snap->base + snap->header.dir_off);

	snap->objects = calloc(snap->header.dir_count, sizeof(*snap->objects));
	if (!snap->objects)
		return -ENOMEM;
	for (uint32_t i = 0; i < snap->header.dir_count && dir[i] != 0; i++) {
		struct snap_object *o = &snap->objects[snap->object_count];

		if (dir[i] == 1) /* Removed. */
			continue;
		snap->object_count++;
		o->name[0] = '?';
		o->index = i;
		o->off = dir[i];
		check_object(snap, o);
	}
	return 0;
}

/* --- the whole --------------------------------------------------------------------------- */

int snapshot_take(const char *name, struct snapshot *ret)
{
	const char *slash;
	int r;

	memset(ret, 0, sizeof(*ret));
	ret->fd = -1;
	r = weir_segment_path(name, ret->path, sizeof(ret->path));
	if (r == 0) {
		slash = strrchr(ret->path, '/');
		text_clean(ret->name, sizeof(ret->name), slash ? slash + 1 : ret->path, 63);
		r = read_file(ret);
	}
	ret->now_ns = weir_now_ns();
	if (r == 0)
		r = check_header(ret);
	if (r == 0)
		r = look_for_life(ret);
	if (r == 0)
		r = look_for_objects(ret);
	if (r < 0 && r != -ENOENT && ret->st.st_ino == 0)
		(void)lstat(ret->path, &ret->st);
	ret->error = r;
	return r;
}

void snapshot_drop(struct snapshot *snap)
{
	if (snap->fd >= 0)
		close(snap->fd);
	free(snap->base);
	free(snap->life);
	free(snap->objects);
	snap->fd = -1;
	snap->base = NULL;
	snap->life = NULL;
	snap->objects = NULL;
}

int snapshot_fail(const struct snapshot *snap)
{
	struct fault fault = {.path = snap->path, .why = snap->why};
	struct snapshot local = {.fd = -1};
	char hint[128];

	/* `weir show mail` after `weir rate take mail`: the object is meant. */
	if (snap->error == -ENOENT && weir_name_check(snap->name) == 0 &&
	    snapshot_take("local", &local) == 0 && snapshot_object(&local, snap->name)) {
		snprintf(hint, sizeof(hint), "there is an object of that name:  local:%s",
			 snap->name);
		fault.hint = hint;
	}
	snapshot_drop(&local);
	return fail(snap->error, &fault, "cannot look at segment '%s'", snap->name);
}

const struct snap_object *snapshot_object(const struct snapshot *snap, const char *name)
{
	for (uint32_t i = 0; i < snap->object_count; i++) {
		if (strcmp(snap->objects[i].name, name) == 0)
			return &snap->objects[i];
	}
	return NULL;
}

struct snap_thread snapshot_thread(const struct snapshot *snap, uint32_t slot)
{
	struct snap_thread t = {0};
	uint64_t word;

	if (slot >= snap->header.thread_count)
		return t;
	word = snap->threads[slot].word;
	t.live = weir_thread_word_state(word) == WEIR_THREAD_STATE_LIVE;
	t.tid = snap->threads[slot].tid;
	t.proc = (uint32_t)weir_thread_word_proc(word);
	if (!t.live || t.proc >= snap->header.proc_count)
		return (struct snap_thread){0};
	t.pid = snap->procs[t.proc].pid;
	t.dead = snap->life[t.proc] == SNAP_DEAD;
	return t;
}

void snapshot_object_name(const struct snapshot *snap, uint32_t id, char ret_name[32])
{
	uint64_t off = (uint64_t)id * UNIT;
	struct snap_object o = {.off = off, .name = "?"};

	if (id == 0)
		o.name[0] = '-';
	else
		check_object(snap, &o);
	memcpy(ret_name, o.name, sizeof(o.name));
}

uint32_t snapshot_count(const struct snapshot *snap, enum snap_life life)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < snap->header.proc_count; i++)
		n += snap->life[i] == life;
	return n;
}
