/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Create, attach, detach.
 *
 * A segment is made under no name, filled in, and then linked: nobody ever sees half of one, and a
 * creator that dies leaves nothing.  What is read at attach is copied out, range-checked and never
 * read again.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/layout.h>

#include "seg/seg.h"

#define PAGE	    4096u
#define EVENT_COUNT 256u

struct plan {
	uint64_t text_off;
	uint64_t dir_off;
	uint64_t proc_off;
	uint64_t thread_off;
	uint64_t event_off;
	uint64_t arena_off;
	uint64_t bytes;
	uint32_t dir_count;
	uint32_t proc_count;
	uint32_t thread_count;
};

static uint64_t round_up(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

__attribute__((format(printf, 2, 3))) static void explain(const struct weir_segment_opts *opts,
							  const char *format, ...)
{
	va_list args;

	if (!opts || !opts->why || !opts->why_bytes)
		return;
	va_start(args, format);
	vsnprintf(opts->why, opts->why_bytes, format, args);
	va_end(args);
}

static int plan_segment(const struct weir_segment_opts *opts, struct plan *p)
{
	uint64_t min;

	p->proc_count = opts->processes ? opts->processes : 64;
	p->thread_count = opts->threads ? opts->threads : 128;
	p->dir_count = opts->objects ? opts->objects : 128;
	p->bytes = round_up(opts->bytes ? opts->bytes : 4u << 20, PAGE);
	if (p->proc_count > 1024 || p->thread_count > 4095 || p->dir_count > 4096) {
		explain(opts, "at most 1024 processes, 4095 threads and 4096 objects");
		return -EINVAL;
	}
	p->text_off = sizeof(struct weir_segment_shm);
	p->dir_off = round_up(p->text_off + weir_layout_text_bytes, WEIR__UNIT);
	p->proc_off = round_up(p->dir_off + 8 * (uint64_t)p->dir_count, WEIR__UNIT);
	p->thread_off = p->proc_off + sizeof(struct weir_process_shm) * p->proc_count;
	p->event_off = p->thread_off + sizeof(struct weir_thread_shm) * p->thread_count;
	p->arena_off = p->event_off + sizeof(struct weir_event_shm) * EVENT_COUNT;
	min = p->arena_off + PAGE;
	if (p->bytes < min || p->bytes > UINT64_C(1) << 37) {
		explain(opts, "size %llu bytes: must be between %llu and 2^37",
			(unsigned long long)p->bytes, (unsigned long long)min);
		return -EINVAL;
	}
	return 0;
}

static int fill_header(struct weir_segment_shm *shm, const struct plan *p, const char *name)
{
	const char *base = strrchr(name, '/');
	int r = weir__boot_id(shm->boot_id);

	if (r == 0)
		r = weir__random(shm->hash_key, sizeof(shm->hash_key));
	if (r < 0)
		return r;
	shm->magic = WEIR__SEGMENT_MAGIC;
	shm->stamp = weir_layout_stamp;
	shm->bytes = p->bytes;
	shm->text_off = p->text_off;
	shm->text_bytes = weir_layout_text_bytes;
	shm->dir_off = p->dir_off;
	shm->proc_off = p->proc_off;
	shm->thread_off = p->thread_off;
	shm->event_off = p->event_off;
	shm->arena_off = p->arena_off;
	shm->dir_count = p->dir_count;
	shm->proc_count = p->proc_count;
	shm->thread_count = p->thread_count;
	shm->event_count = EVENT_COUNT;
	shm->created_ns = weir__now_ns();
	shm->creator_pid = (uint32_t)getpid();
	snprintf(shm->version, sizeof(shm->version), "%s", WEIR_VERSION);
	snprintf(shm->name, sizeof(shm->name), "%.31s", base ? base + 1 : name);
	memcpy((uint8_t *)shm + p->text_off, weir_layout_text, weir_layout_text_bytes);
	return 0;
}

/* Make the file; -EEXIST if somebody was quicker (then there is one to attach to). */
static int create_file(const char *name, const char *path, const struct weir_segment_opts *opts)
{
	char dir[4096];
	char *slash;
	struct plan p;
	void *base;
	int fd;
	int r = plan_segment(opts, &p);

	if (r < 0)
		return r;
	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	slash[slash == dir ? 1 : 0] = '\0';
	fd = weir__file_create(dir, p.bytes, opts->mode ? opts->mode : 0600);
	if (fd < 0) {
		explain(opts, "cannot make a file of %llu bytes in %s", (unsigned long long)p.bytes,
			dir);
		return fd;
	}
	r = weir__file_map(fd, p.bytes, &base);
	if (r < 0)
		goto out_close;
	r = fill_header(base, &p, name);
	WEIR_CRASH_POINT(segment_filled);
	if (r == 0)
		r = weir__file_publish(fd, path);
	weir__file_unmap(base, p.bytes);
out_close:
	weir__file_close(fd);
	return r;
}

static bool table_fits(uint64_t off, uint64_t count, uint64_t each, uint64_t end)
{
	return off % 8 == 0 && off >= sizeof(struct weir_segment_shm) && off <= end && count > 0 &&
	       count <= (end - off) / each;
}

/* Copy the tables' places out of the header; nothing of it is trusted. */
static int read_header(struct weir_segment *seg, const struct weir_segment_shm *h)
{
	if (!table_fits(h->dir_off, h->dir_count, 8, seg->bytes) || h->dir_count > 4096 ||
	    !table_fits(h->proc_off, h->proc_count, sizeof(struct weir_process_shm), seg->bytes) ||
	    h->proc_count > 1024 ||
	    !table_fits(h->thread_off, h->thread_count, sizeof(struct weir_thread_shm),
			seg->bytes) ||
	    h->thread_count > 4095 ||
	    !table_fits(h->event_off, h->event_count, sizeof(struct weir_event_shm), seg->bytes) ||
	    (h->event_count & (h->event_count - 1)) != 0 ||
	    !table_fits(h->arena_off, 1, WEIR__UNIT, seg->bytes) || h->arena_off % WEIR__UNIT != 0)
		return -EBADMSG;
	seg->dir = (WEIR_ATOMIC(uint64_t) *)(void *)(seg->base + h->dir_off);
	seg->dir_count = h->dir_count;
	seg->procs = (struct weir_process_shm *)(void *)(seg->base + h->proc_off);
	seg->proc_count = h->proc_count;
	seg->threads = (struct weir_thread_shm *)(void *)(seg->base + h->thread_off);
	seg->thread_count = h->thread_count;
	seg->events = (struct weir_event_shm *)(void *)(seg->base + h->event_off);
	seg->event_count = h->event_count;
	seg->arena_off = h->arena_off;
	return 0;
}

static int check_stamp(struct weir_segment *seg, const struct weir_segment_shm *h,
		       const struct weir_segment_opts *opts)
{
	char why[256] = "";

	if (h->stamp == weir_layout_stamp)
		return 0;
	if (h->text_off > seg->bytes || h->text_bytes > seg->bytes - h->text_off ||
	    weir_layout_diff(weir_layout_text, weir_layout_text_bytes,
			     (const char *)seg->base + h->text_off, h->text_bytes, why,
			     sizeof(why)) != 1)
		snprintf(why, sizeof(why), "layout stamp %016llx here, %016llx in the segment",
			 (unsigned long long)weir_layout_stamp, (unsigned long long)h->stamp);
	explain(opts, "%s", why);
	return -EPROTO;
}

static int check_segment(struct weir_segment *seg, const struct weir_segment_opts *opts)
{
	struct weir_segment_shm h;
	uint8_t boot[16];
	int r;

	if (seg->bytes < sizeof(h)) {
		explain(opts, "only %llu bytes: not a segment, or truncated",
			(unsigned long long)seg->bytes);
		return -EBADMSG;
	}
	memcpy(&h, seg->base, sizeof(h));
	if (h.magic != WEIR__SEGMENT_MAGIC) {
		explain(opts, "does not begin with WEIRSEG1: not a segment");
		return -EBADMSG;
	}
	if (h.bytes != seg->bytes) {
		explain(opts, "%llu bytes in the header, %llu in the file: truncated or grown",
			(unsigned long long)h.bytes, (unsigned long long)seg->bytes);
		return -EBADMSG;
	}
	r = check_stamp(seg, &h, opts);
	if (r < 0)
		return r;
	r = weir__boot_id(boot);
	if (r == 0 && memcmp(boot, h.boot_id, sizeof(boot)) != 0) {
		explain(opts, "made before the last reboot; remove it");
		return -ESTALE;
	}
	r = read_header(seg, &h);
	if (r < 0)
		explain(opts, "the tables in the header do not fit the file");
	return r;
}

static int attach_fd(int fd, const struct weir_segment_opts *opts, struct weir_segment **ret_seg)
{
	struct weir_segment *seg = calloc(1, sizeof(*seg));
	void *base;
	int r;

	if (!seg)
		return -ENOMEM;
	seg->fd = fd;
	if (opts && opts->role)
		snprintf(seg->role, sizeof(seg->role), "%.15s", opts->role);
	r = weir__file_vet(fd, &seg->bytes);
	if (r < 0) {
		explain(opts, r == -EPERM ? "belongs to another user, or everybody may write to it"
					  : "not a regular file");
		goto out_free;
	}
	if (seg->bytes == 0) {
		explain(opts, "empty: not a segment");
		r = -EBADMSG;
		goto out_free;
	}
	r = weir__file_map(fd, seg->bytes, &base);
	if (r < 0)
		goto out_free;
	seg->base = base;
	seg->shm = base;
	r = check_segment(seg, opts);
	if (r < 0)
		goto out_unmap;
	r = weir__participant_attach(seg);
	if (r < 0) {
		explain(opts, "no free process slot: all %u are alive", seg->proc_count);
		goto out_unmap;
	}
	*ret_seg = seg;
	return 0;
out_unmap:
	weir__file_unmap(base, seg->bytes);
out_free:
	free(seg);
	return r;
}

static int open_file(const char *name, const char *path, const struct weir_segment_opts *opts)
{
	uint32_t flags = opts ? opts->flags : 0;
	int r = -ENOENT;

	/* Bounded: another turn only if somebody created or removed the file meanwhile. */
	for (int turn = 0; turn < 64; turn++) {
		if (!(flags & WEIR_EXCLUSIVE)) {
			r = weir__file_open(path);
			if (r != -ENOENT || !(flags & WEIR_CREATE))
				return r;
		}
		r = create_file(name, path, opts);
		if (r == -EEXIST && (flags & WEIR_EXCLUSIVE))
			return r;
		if (r < 0 && r != -EEXIST)
			return r;
		flags &= ~(uint32_t)WEIR_EXCLUSIVE;
	}
	return r;
}

int weir_segment_open(const char *name, const struct weir_segment_opts *opts,
		      struct weir_segment **ret_seg)
{
	char path[4096];
	char dir[4096];
	int fd;
	int r;

	if (!name || !ret_seg || (opts && opts->size != sizeof(*opts)))
		return -EINVAL;
	if (!strchr(name, '/') && opts && (opts->flags & WEIR_CREATE)) {
		r = weir_segment_dir(1, dir, sizeof(dir));
		if (r < 0)
			return r;
	}
	r = weir_segment_path(name, path, sizeof(path));
	if (r < 0)
		return r;
	fd = open_file(name, path, opts);
	if (fd < 0)
		return fd;
	r = attach_fd(fd, opts, ret_seg);
	if (r < 0)
		weir__file_close(fd);
	return r;
}

int weir_segment_close(struct weir_segment *seg)
{
	if (!seg)
		return 0;
	weir__participant_detach(seg);
	weir__file_unmap(seg->base, seg->bytes);
	free(seg);
	return 0;
}

const void *weir_segment_base(const struct weir_segment *seg, size_t *ret_bytes)
{
	if (ret_bytes)
		*ret_bytes = seg->bytes;
	return seg->base;
}
