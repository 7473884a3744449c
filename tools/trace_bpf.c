/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The reader's side of the wait probe (bpf/wait.bpf.c).
 *
 * 2026-11, tracefs is often not mounted, and mounting it would change the machine.  Only the ids of
 * a few tracepoints are needed, so where there is no mount we take a private one: fsopen() and
 * fsmount() give a file descriptor and touch no mount table.
 *
 * 2026-11, records are sent without waking us (a wake-up costs 7 to 17 us, a record 0.1 us), so the
 * ring is looked at some twenty times a second; it has room for 4600 records.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/mount.h>
#include <linux/perf_event.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "trace.h"

/* Not ours, and converts as it likes. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "bpf/wait.skel.h"
#pragma GCC diagnostic pop

#define PROGRAMS 6

struct trace_bpf {
	struct wait_bpf *skel;
	struct ring_buffer *ring;
	struct bpf_link *links[PROGRAMS];
	uint64_t since_ns;
	trace_bpf_fn *fn;
	void *arg;
};

/* The last thing libbpf complained about; it has no other way to say why. */
static char complaint[TRACE_WHY_BYTES];

__attribute__((format(printf, 2, 0))) static int keep_complaint(enum libbpf_print_level level,
								const char *format, va_list args)
{
	char line[TRACE_WHY_BYTES];

	if (level != LIBBPF_WARN)
		return 0;
	vsnprintf(line, sizeof(line), format, args);
	line[strcspn(line, "\n")] = '\0';
	if (line[0] && !complaint[0])
		memcpy(complaint, line, sizeof(complaint));
	return 0;
}

/* --- tracepoints --------------------------------------------------------------------------- */

static int tracefs_private(void)
{
	int mount = -1;
	int fs = (int)syscall(SYS_fsopen, "tracefs", FSOPEN_CLOEXEC);

	if (fs < 0)
		return -errno;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mount = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	if (mount < 0)
		mount = -errno;
	close(fs);
	return mount;
}

/* A directory of tracefs that has events/: an fd or -errno. */
static int tracefs_open(const char **ret_where)
{
	static const char *const places[] = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int fd = open(places[i], O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (fd >= 0 && faccessat(fd, "events/syscalls", X_OK, AT_EACCESS) == 0) {
			*ret_where = places[i];
			return fd;
		}
		if (fd >= 0)
			close(fd);
	}
	*ret_where = "a private mount";
	return tracefs_private();
}

static int tracepoint_id(int tracefs, const char *name, uint64_t *ret_id)
{
	char path[128];
	char text[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "events/syscalls/%s/id", name);
	fd = openat(tracefs, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -EIO;
	text[n] = '\0';
	*ret_id = strtoull(text, NULL, 10);
	return *ret_id ? 0 : -EBADMSG;
}

int trace_bpf_tracepoint(const char *name, const char **ret_where)
{
	uint64_t id;
	int tracefs = tracefs_open(ret_where);
	int r = tracefs;

	if (tracefs >= 0) {
		r = tracepoint_id(tracefs, name, &id);
		close(tracefs);
	}
	return r;
}

static int tracepoint_attach(const struct bpf_program *prog, uint64_t id, struct bpf_link **ret)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_TRACEPOINT,
				       .size = sizeof(attr),
				       .config = id,
				       .sample_period = 1};
	int fd = (int)syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		return -errno;
	*ret = bpf_program__attach_perf_event(prog, fd);
	if (*ret)
		return 0; /* The link owns fd. */
	close(fd);
	return -errno;
}

/* --- attaching ----------------------------------------------------------------------------- */

/* The programs on system calls, in pairs: what exists is attached, and futex must exist. */
static int attach_calls(struct trace_bpf *bpf, char why[TRACE_WHY_BYTES])
{
	const struct bpf_program *progs[] = {
		bpf->skel->progs.enter_futex, bpf->skel->progs.exit_futex,
		bpf->skel->progs.enter_futex_waitv, bpf->skel->progs.exit_futex_waitv};
	static const char *const names[] = {"sys_enter_futex", "sys_exit_futex",
					    "sys_enter_futex_waitv", "sys_exit_futex_waitv"};
	const char *where;
	int tracefs = tracefs_open(&where);
	int r = 0;

	if (tracefs < 0) {
		snprintf(why, TRACE_WHY_BYTES, "tracefs is not mounted and cannot be: %s",
			 strerror(-tracefs));
		return tracefs;
	}
	for (int i = 0; i < 4; i++) {
		uint64_t id = 0;

		r = tracepoint_id(tracefs, names[i], &id);
		if (r == -ENOENT && i >= 2) {
			r = 0; /* Before 5.16. */
			continue;
		}
		if (r == 0)
			r = tracepoint_attach(progs[i], id, &bpf->links[i]);
		if (r < 0) {
			snprintf(why, TRACE_WHY_BYTES, "cannot attach to tracepoint %s: %s",
				 names[i], strerror(-r));
			break;
		}
	}
	close(tracefs);
	return r;
}

static int attach_scheduler(struct trace_bpf *bpf, char why[TRACE_WHY_BYTES])
{
	const struct bpf_program *progs[] = {bpf->skel->progs.sched_switch,
					     bpf->skel->progs.sched_waking};

	for (int i = 0; i < 2; i++) {
		bpf->links[4 + i] = bpf_program__attach(progs[i]);
		if (bpf->links[4 + i])
			continue;
		snprintf(why, TRACE_WHY_BYTES, "cannot attach to %s: %s",
			 bpf_program__name(progs[i]), strerror(errno));
		return -errno;
	}
	return 0;
}

static int record_came(void *arg, void *data, size_t bytes)
{
	struct trace_bpf *bpf = arg;

	if (bytes >= sizeof(struct weir_wait_record))
		bpf->fn(bpf->arg, data);
	return 0;
}

/* What can be told before trying. */
static int check_privilege(char why[TRACE_WHY_BYTES])
{
	bool admin = trace_has_capability(CAP_SYS_ADMIN);

	if (!admin && !(trace_has_capability(CAP_BPF) && trace_has_capability(CAP_PERFMON))) {
		snprintf(why, TRACE_WHY_BYTES,
			 "needs CAP_BPF and CAP_PERFMON, which user %u does not have; run as root",
			 (unsigned)geteuid());
		return -EPERM;
	}
	if (access("/sys/kernel/btf/vmlinux", R_OK) < 0) {
		snprintf(why, TRACE_WHY_BYTES,
			 "the kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)");
		return -EOPNOTSUPP;
	}
	return 0;
}

static int load(struct trace_bpf *bpf, char why[TRACE_WHY_BYTES])
{
	int r;

	bpf->skel = wait_bpf__open();
	r = bpf->skel ? wait_bpf__load(bpf->skel) : -errno;
	if (r == 0) {
		bpf->ring = ring_buffer__new(bpf_map__fd(bpf->skel->maps.records), record_came, bpf,
					     NULL);
		r = bpf->ring ? 0 : -errno;
	}
	if (r < 0)
		snprintf(why, TRACE_WHY_BYTES, "the kernel refuses the probe: %s (%.180s)",
			 strerror(-r), complaint[0] ? complaint : "no details");
	return r;
}

int trace_bpf_open(struct trace_bpf **ret_bpf, char why[TRACE_WHY_BYTES])
{
	struct trace_bpf *bpf;
	int r = check_privilege(why);

	if (r < 0)
		return r;
	bpf = calloc(1, sizeof(*bpf));
	if (!bpf)
		return -ENOMEM;
	complaint[0] = '\0';
	libbpf_set_print(keep_complaint);
	r = load(bpf, why);
	/* The scheduler first: a wait must not begin unseen by it. */
	if (r == 0)
		r = attach_scheduler(bpf, why);
	if (r == 0)
		r = attach_calls(bpf, why);
	if (r < 0) {
		trace_bpf_close(bpf);
		return r;
	}
	bpf->since_ns = weir_now_ns();
	*ret_bpf = bpf;
	return 0;
}

void trace_bpf_close(struct trace_bpf *bpf)
{
	if (!bpf)
		return;
	/* The calls first, as in attaching but backwards. */
	for (int i = 0; i < PROGRAMS; i++)
		bpf_link__destroy(bpf->links[i]);
	ring_buffer__free(bpf->ring);
	wait_bpf__destroy(bpf->skel);
	free(bpf);
}

/* --- use ----------------------------------------------------------------------------------- */

/* Ask the probe under which key it sees the file: see learn_key there. */
static int learn_key(struct trace_bpf *bpf, int fd, struct weir_wait_key *ret_key)
{
	static const struct timespec at_once;
	const uint32_t *word = mmap(NULL, sizeof(*word), PROT_READ, MAP_SHARED, fd, 0);
	struct weir_wait_key key;
	uint32_t val;

	if (word == MAP_FAILED)
		return -errno;
	/* Any value that is not there: the call must fail and not sleep. */
	val = ~*word ^ (uint32_t)weir_now_ns();
	if (val == *word)
		val = ~val;
	memset(&bpf->skel->bss->learn_key, 0, sizeof(key));
	bpf->skel->bss->learn_val = val;
	__atomic_store_n(&bpf->skel->bss->learn_word, (uint64_t)(uintptr_t)word, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, word, FUTEX_WAIT, val, &at_once, NULL, 0);
	__atomic_store_n(&bpf->skel->bss->learn_word, 0, __ATOMIC_SEQ_CST);
	memcpy(&key, &bpf->skel->bss->learn_key, sizeof(key));
	munmap((void *)(uintptr_t)word, sizeof(*word));
	if (key.ino == 0)
		return -EBUSY;
	*ret_key = key;
	return 0;
}

int trace_bpf_watch(struct trace_bpf *bpf, int fd, struct weir_wait_key *ret_key)
{
	uint32_t one = 1;
	int r = -EBUSY;

	/* Busy when another thread of ours changes the address space; there is hardly one. */
	for (int i = 0; i < 10 && r == -EBUSY; i++)
		r = learn_key(bpf, fd, ret_key);
	if (r < 0)
		return r;
	return bpf_map_update_elem(bpf_map__fd(bpf->skel->maps.files), ret_key, &one, BPF_ANY);
}

int trace_bpf_read(struct trace_bpf *bpf, trace_bpf_fn *fn, void *arg)
{
	int n;

	bpf->fn = fn;
	bpf->arg = arg;
	n = ring_buffer__consume(bpf->ring);
	return n < 0 ? n : 0;
}

static uint64_t missed_runs(const struct bpf_program *prog)
{
	struct bpf_prog_info info = {0};
	uint32_t bytes = sizeof(info);

	if (bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &bytes) < 0)
		return 0;
	return info.recursion_misses;
}

void trace_bpf_counts(const struct trace_bpf *bpf, struct weir_wait_counts *ret,
		      uint64_t *ret_missed)
{
	int cpus = libbpf_num_possible_cpus();
	struct weir_wait_counts *each;
	struct bpf_program *prog;
	uint32_t zero = 0;

	memset(ret, 0, sizeof(*ret));
	*ret_missed = 0;
	bpf_object__for_each_program(prog, bpf->skel->obj) *ret_missed += missed_runs(prog);
	each = cpus > 0 ? calloc((size_t)cpus, sizeof(*each)) : NULL;
	if (!each)
		return;
	if (bpf_map_lookup_elem(bpf_map__fd(bpf->skel->maps.counts), &zero, each) == 0) {
		for (int i = 0; i < cpus; i++) {
			ret->calls += each[i].calls;
			ret->emitted += each[i].emitted;
			ret->reserve_failed += each[i].reserve_failed;
			ret->storage_failed += each[i].storage_failed;
			ret->unreadable += each[i].unreadable;
			ret->vma_busy += each[i].vma_busy;
		}
	}
	free(each);
}

uint64_t trace_bpf_since(const struct trace_bpf *bpf)
{
	return bpf->since_ns;
}
