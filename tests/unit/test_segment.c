/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <weir/shm/all.h>

#include "help.h"

TestSuite(segment, .fini = help_cleanup, .timeout = 60);

static int reopen(const char *path, char *why, size_t bytes)
{
	struct weir_segment *seg;
	struct weir_segment_opts opts = WEIR_OPTS(segment, .why = why, .why_bytes = bytes);
	int r = weir_segment_open(path, &opts, &seg);

	if (r == 0)
		weir_segment_close(seg);
	return r;
}

static void poke(off_t at, const void *data, size_t bytes)
{
	int fd = open(help_path, O_RDWR);

	cr_assert_eq(pwrite(fd, data, bytes, at), (ssize_t)bytes);
	close(fd);
}

Test(segment, is_created_once_and_opened_by_name)
{
	struct weir_segment *seg = help_segment();
	struct weir_segment *other;

	setenv("WEIR_DIR", help_dir, 1);
	cr_assert_eq(weir_segment_open("seg", NULL, &other), 0);
	weir_segment_close(other);
	cr_assert_eq(weir_segment_open("nope", NULL, &other), -ENOENT);
	cr_assert_eq(weir_segment_open("a b", NULL, &other), -EINVAL);
	cr_assert_eq(weir_segment_open("..", NULL, &other), -EINVAL);
	cr_assert_eq(weir_segment_open("seg",
				       &WEIR_OPTS(segment, .flags = WEIR_CREATE | WEIR_EXCLUSIVE),
				       &other),
		     -EEXIST);
	cr_assert_eq(weir_segment_open("seg", &WEIR_OPTS(segment, .flags = WEIR_CREATE), &other),
		     0);
	weir_segment_close(other);
	weir_segment_close(seg);
}

Test(segment, refuses_what_is_not_one)
{
	char why[256];
	uint64_t word = 0;

	weir_segment_close(help_segment());
	poke(0, &word, 8);
	cr_assert_eq(reopen(help_path, why, sizeof(why)), -EBADMSG);
	cr_assert(strstr(why, "WEIRSEG1"), "%s", why);
	cr_assert_eq(truncate(help_path, 100), 0);
	cr_assert_eq(reopen(help_path, why, sizeof(why)), -EBADMSG);
	cr_assert_eq(truncate(help_path, 0), 0);
	cr_assert_eq(reopen(help_path, why, sizeof(why)), -EBADMSG);
	unlink(help_path);
	cr_assert_eq(mkfifo(help_path, 0600), 0);
	cr_assert_eq(reopen(help_path, why, sizeof(why)), -EBADMSG);
	unlink(help_path);
	cr_assert_eq(symlink("/etc/passwd", help_path), 0);
	cr_assert_eq(reopen(help_path, why, sizeof(why)), -ELOOP);
}

Test(segment, names_the_first_field_that_differs)
{
	char why[256] = "";
	struct weir_segment *seg = help_segment();
	const struct weir_segment_shm *h = weir_segment_base(seg, NULL);
	const char *text = (const char *)h + h->text_off;
	const char *at = strstr(text, "\nslot_bytes 68 ");
	off_t off = at - (const char *)h;
	uint64_t stamp = h->stamp + 1;

	cr_assert(at);
	poke(off + 12, "72", 2);
	poke(offsetof(struct weir_segment_shm, stamp), &stamp, 8);
	cr_assert_eq(reopen(help_path, why, sizeof(why)), -EPROTO);
	cr_assert(strstr(why, "queue.slot_bytes") && strstr(why, "68 here, 72 in the segment"),
		  "%s", why);
	weir_segment_close(seg);
}

Test(segment, refuses_every_torn_header_and_never_crashes)
{
	struct weir_segment *seg = help_segment();
	uint8_t good[sizeof(struct weir_segment_shm)];
	char why[256];
	unsigned seed = (unsigned)getpid();

	printf("seed %u\n", seed);
	srand(seed);
	memcpy(good, weir_segment_base(seg, NULL), sizeof(good));
	weir_segment_close(seg);
	for (size_t off = 8; off < 136; off += 8) {
		for (int k = 0; k < 8; k++) {
			uint64_t v = (uint64_t)rand() << (k * 8) ^ (uint64_t)rand();

			poke((off_t)off, &v, 8);
			reopen(help_path, why, sizeof(why));
			poke(0, good, sizeof(good));
		}
	}
	cr_assert_eq(reopen(help_path, why, sizeof(why)), 0, "%s", why);
}

Test(segment, is_refused_after_a_reboot_and_from_strangers)
{
	char why[256];
	uint8_t boot[16] = {1, 2, 3};

	weir_segment_close(help_segment());
	cr_assert_eq(chmod(help_path, 0666), 0);
	cr_assert_eq(reopen(help_path, why, sizeof(why)), -EPERM);
	cr_assert_eq(chmod(help_path, 0600), 0);
	poke(offsetof(struct weir_segment_shm, boot_id), boot, 16);
	cr_assert_eq(reopen(help_path, why, sizeof(why)), -ESTALE);
}

Test(segment, a_full_file_system_is_an_error_and_leaves_nothing)
{
	struct weir_segment *seg;
	char path[128];
	char why[256];

	if (geteuid() != 0)
		cr_skip_test("needs root to mount a small tmpfs");
	weir_segment_close(help_segment());
	unlink(help_path);
	cr_assert_eq(unshare(CLONE_NEWNS), 0);
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	cr_assert_eq(mount("t", help_dir, "tmpfs", 0, "size=256k"), 0);
	snprintf(path, sizeof(path), "%s/x", help_dir);
	cr_assert_eq(weir_segment_open(path,
				       &WEIR_OPTS(segment, .flags = WEIR_CREATE, .why = why,
						  .why_bytes = sizeof(why)),
				       &seg),
		     -ENOSPC);
	cr_assert_eq(access(path, F_OK), -1);
	cr_assert_eq(umount(help_dir), 0);
}

Test(segment, impossible_options_are_refused)
{
	struct weir_segment *seg;
	char why[256];

	weir_segment_close(help_segment());
	unlink(help_path);
	cr_assert_eq(weir_segment_open(help_path,
				       &WEIR_OPTS(segment, .flags = WEIR_CREATE, .threads = 9999,
						  .why = why, .why_bytes = 256),
				       &seg),
		     -EINVAL);
	cr_assert_eq(weir_segment_open(help_path,
				       &WEIR_OPTS(segment, .flags = WEIR_CREATE, .bytes = 5,
						  .why = why, .why_bytes = 256),
				       &seg),
		     -EINVAL);
	cr_assert_eq(weir_segment_open(NULL, NULL, &seg), -EINVAL);
	cr_assert_eq(access(help_path, F_OK), -1);
}

Test(segment, get_or_create_is_exactly_once_across_processes)
{
	enum { PROCS = 8, NAMES = 20 };
	struct weir_segment *seg = help_segment();
	volatile int *go = help_shared(64);
	pid_t pids[PROCS];
	struct weir_sem *sem;
	struct weir_sem_stat s;
	char name[16];

	for (int i = 0; i < PROCS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			help_until(go, 1);
			for (int n = 0; n < NAMES; n++) {
				snprintf(name, sizeof(name), "n%d", n);
				if (weir_sem_open(seg, name, &WEIR_OPTS(sem, .permits = PROCS),
						  &sem) != 0 ||
				    weir_sem_try_acquire(sem, 1) != 0)
					_exit(1);
			}
			__atomic_add_fetch(go + 1, 1, __ATOMIC_SEQ_CST);
			pause();
		}
	}
	help_say(go, 1);
	help_until(go + 1, PROCS);
	for (int n = 0; n < NAMES; n++) {
		snprintf(name, sizeof(name), "n%d", n);
		cr_assert_eq(weir_sem_open(seg, name, NULL, &sem), 0);
		weir_sem_stat(sem, &s);
		cr_assert_eq(s.used, PROCS, "everybody must have the same one");
	}
	for (int i = 0; i < PROCS; i++)
		help_kill(pids[i]);
	weir_segment_close(seg);
}

Test(segment, creators_racing_end_up_in_the_same_segment)
{
	enum { PROCS = 8 };
	volatile int *go = help_shared(64);
	pid_t pids[PROCS];

	weir_segment_close(help_segment());
	for (int round = 0; round < 10; round++) {
		unlink(help_path);
		help_say(go, 0);
		for (int i = 0; i < PROCS; i++) {
			pids[i] = fork();
			if (pids[i] == 0) {
				struct weir_segment *seg;
				struct weir_queue *q;
				uint64_t v = 1;

				help_until(go, 1);
				if (weir_segment_open(help_path,
						      &WEIR_OPTS(segment, .flags = WEIR_CREATE),
						      &seg) != 0)
					_exit(1);
				if (weir_queue_open(seg, "q",
						    &WEIR_OPTS(queue, .slots = 64, .bytes = 8),
						    &q) != 0)
					_exit(2);
				_exit(weir_queue_try_send(q, &v, 8) ? 3 : 0);
			}
		}
		help_say(go, 1);
		for (int i = 0; i < PROCS; i++)
			cr_assert_eq(help_wait(pids[i]), 0);
		struct weir_segment *seg;
		struct weir_queue *q;
		struct weir_queue_stat s;

		cr_assert_eq(weir_segment_open(help_path, NULL, &seg), 0);
		cr_assert_eq(weir_queue_open(seg, "q", NULL, &q), 0);
		weir_queue_stat(q, &s);
		cr_assert_eq(s.depth, PROCS);
		weir_segment_close(seg);
	}
}

Test(segment, names_and_types_are_kept_apart)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem;
	struct weir_queue *q;

	cr_assert_eq(weir_sem_open(seg, "x", &WEIR_OPTS(sem, .permits = 1), &sem), 0);
	cr_assert_eq(weir_queue_open(seg, "x", &WEIR_OPTS(queue, .slots = 2, .bytes = 1), &q),
		     -EEXIST);
	cr_assert_eq(weir_object_unlink(seg, "x"), 0);
	cr_assert_eq(weir_object_unlink(seg, "x"), -ENOENT);
	cr_assert_eq(weir_queue_open(seg, "x", &WEIR_OPTS(queue, .slots = 2, .bytes = 1), &q), 0);
	cr_assert_eq(weir_queue_open(seg, "y",
				     &WEIR_OPTS(queue, .slots = 1 << 20, .bytes = 1 << 20), &q),
		     -ENOSPC);
	weir_segment_close(seg);
}

Test(segment, works_on_after_its_name_is_gone)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem;
	pid_t pid;

	cr_assert_eq(weir_sem_open(seg, "s", &WEIR_OPTS(sem, .permits = 1), &sem), 0);
	cr_assert_eq(weir_segment_unlink(help_path), 0);
	pid = fork();
	if (pid == 0)
		_exit(weir_sem_try_acquire(sem, 1) != 0);
	cr_assert_eq(help_wait(pid), 0);
	cr_assert_eq(weir_sem_acquire(sem, 1, NULL), 0, "the dead child's permit");
	weir_segment_close(seg);
}

/* In its own pid namespace a process has pid 1, like one in another: numbers prove nothing. */
Test(segment, liveness_is_right_across_pid_namespaces)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem;
	volatile int *flag = help_shared(64);
	struct weir_ctx ctx;
	pid_t outer;

	if (geteuid() != 0)
		cr_skip_test("needs root for a pid namespace");
	cr_assert_eq(weir_sem_open(seg, "s", &WEIR_OPTS(sem, .permits = 2), &sem), 0);
	outer = fork();
	if (outer == 0) {
		if (unshare(CLONE_NEWPID) != 0)
			_exit(1);
		pid_t inner = fork();

		if (inner == 0) {
			if (weir_sem_acquire(sem, 2, NULL) != 0)
				_exit(2);
			help_say(flag, 1);
			help_until(flag + 1, 1);
			kill(getpid(), SIGKILL);
			_exit(0); /* Pid 1 ignores its own SIGKILL: this is the death then. */
		}
		waitpid(inner, NULL, 0);
		_exit(0);
	}
	help_until(flag, 1);
	weir_ctx_init(&ctx, NULL, 100 * MS);
	cr_assert_eq(weir_sem_acquire(sem, 1, &ctx), -ETIMEDOUT, "it is alive");
	help_say(flag + 1, 1);
	cr_assert_eq(weir_sem_acquire(sem, 2, NULL), 0);
	help_wait(outer);
	weir_segment_close(seg);
}

/* A child in a time namespace of its own, a day ahead. */
static pid_t fork_tomorrow(void)
{
	const char day[] = "monotonic 86400 0\nboottime 86400 0\n";
	pid_t pid;
	int fd;

	if (unshare(CLONE_NEWTIME) != 0)
		return -1;
	fd = open("/proc/self/timens_offsets", O_WRONLY);
	cr_assert_eq(write(fd, day, sizeof(day) - 1), (ssize_t)sizeof(day) - 1);
	close(fd);
	pid = fork();
	return pid;
}

Test(segment, time_is_the_same_in_a_child_in_another_time_namespace)
{
	volatile uint64_t *seen = help_shared(64);
	pid_t pid;

	if (geteuid() != 0)
		cr_skip_test("needs root for a time namespace");
	pid = fork_tomorrow();
	if (pid == 0) {
		*seen = weir_now_ns();
		_exit(0);
	}
	cr_assert_eq(help_wait(pid), 0);
	cr_assert_lt(weir_now_ns() - *seen, 60000 * MS, "%lld ns ahead",
		     (long long)(*seen - weir_now_ns()));
}

/* Where the kernel has no pidfs, the second evidence must not be taken in by shifted start times.
 */
Test(segment, liveness_is_right_across_time_namespaces_without_pidfs)
{
	struct weir_segment *seg = help_segment();
	const struct weir_segment_shm *h = weir_segment_base(seg, NULL);
	const struct weir_process_shm *p = (const void *)((const uint8_t *)h + h->proc_off);
	uint64_t none = 0;
	uint64_t word = p->word;
	pid_t pid;

	if (geteuid() != 0)
		cr_skip_test("needs root for a time namespace");
	cr_assert_eq(p->pid, (uint32_t)getpid());
	poke((off_t)(h->proc_off + offsetof(struct weir_process_shm, pidfs)), &none, 8);
	pid = fork_tomorrow();
	if (pid == 0)
		_exit(weir_segment_recover(seg, NULL) != 0);
	cr_assert_eq(help_wait(pid), 0);
	cr_assert_eq(p->word, word, "a live process was swept");
	weir_segment_close(seg);
}

struct exiting {
	struct weir_sem *sem;
	pthread_barrier_t barrier;
};

static void *take_and_end(void *arg)
{
	struct exiting *e = arg;

	pthread_barrier_wait(&e->barrier);
	weir_sem_try_acquire(e->sem, 1);
	pthread_barrier_wait(&e->barrier);
	return NULL;
}

/* A thread that ends gives back what it has, be the segment there or just being closed. */
Test(segment, a_thread_may_end_while_another_closes)
{
	struct exiting e;
	struct weir_segment *keep = help_segment();
	struct weir_sem *sem;
	struct weir_sem_stat stat;

	cr_assert_eq(weir_sem_open(keep, "s", &WEIR_OPTS(sem, .permits = 9), &sem), 0);
	pthread_barrier_init(&e.barrier, NULL, 5);
	for (int round = 0; round < 300; round++) {
		struct weir_segment *seg;
		pthread_t threads[4];

		cr_assert_eq(weir_segment_open(help_path, NULL, &seg), 0);
		cr_assert_eq(weir_sem_open(seg, "s", NULL, &e.sem), 0);
		for (int i = 0; i < 4; i++)
			pthread_create(&threads[i], NULL, take_and_end, &e);
		pthread_barrier_wait(&e.barrier);
		pthread_barrier_wait(&e.barrier);
		if (round % 2)
			sched_yield();
		weir_segment_close(seg);
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
	}
	weir_sem_stat(sem, &stat);
	cr_assert_eq(stat.used, 0);
	weir_segment_close(keep);
}

/* One round of everything that must not make a system call. */
static int one_round(struct weir_sem *sem, struct weir_queue *q, struct weir_limiter *limiter,
		     struct weir_breaker *breaker)
{
	struct weir_call call;
	uint64_t v = 0;
	uint32_t n;

	return weir_sem_acquire(sem, 1, NULL) || weir_sem_release(sem, 1) ||
	       weir_queue_try_send(q, &v, 8) || weir_queue_try_recv(q, &v, 8, &n) ||
	       weir_limiter_allow(limiter, 1, NULL) ||
	       weir_limiter_allow(limiter, 1000, NULL) != -EAGAIN ||
	       weir_breaker_allow(breaker, &call, NULL) || weir_breaker_done(breaker, &call, 0);
}

/* From here on any call but exit is death.  (Strict seccomp takes the time stamp counter away too,
 * which the clock in user space reads.) */
static bool calls_end(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = {.len = 4, .filter = code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

Test(segment, no_system_call_where_nothing_waits)
{
	struct weir_segment *seg = help_segment();
	struct weir_sem *sem;
	struct weir_queue *q;
	struct weir_limiter *limiter;
	struct weir_breaker *breaker;
	pid_t pid;

	cr_assert_eq(weir_sem_open(seg, "s", &WEIR_OPTS(sem, .permits = 1), &sem), 0);
	cr_assert_eq(weir_queue_open(seg, "q", &WEIR_OPTS(queue, .slots = 4, .bytes = 8), &q), 0);
	cr_assert_eq(weir_limiter_open(seg, "l",
				       &WEIR_OPTS(limiter, .count = 500, .period_ns = 1000 * MS),
				       &limiter),
		     0);
	cr_assert_eq(weir_breaker_open(seg, "b", &WEIR_OPTS(breaker), &breaker), 0);
	pid = fork();
	if (pid == 0) {
		weir_segment_join(seg);
		if (!calls_end())
			_exit(1);
		for (int i = 0; i < 100; i++) {
			if (one_round(sem, q, limiter, breaker))
				syscall(SYS_exit, 2);
		}
		syscall(SYS_exit, 0);
	}
	cr_assert_eq(help_wait(pid), 0);
	weir_segment_close(seg);
}
