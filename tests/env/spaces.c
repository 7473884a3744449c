/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Namespaces: pid, user and time (F7, F10). */
#include <fcntl.h>
#include <sys/prctl.h>
#include <time.h>

#include "env.h"

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	MUST(fd >= 0);
	MUST(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void separate(int flags)
{
	if (unshare(flags) == 0)
		return;
	if (errno == EPERM || errno == EINVAL || errno == ENOSYS || errno == ENOSPC)
		skip("unshare(%#x): %s", (unsigned)flags, strerror(errno));
	broken("unshare(%#x): %s", (unsigned)flags, strerror(errno));
}

/* Root there is the caller out here. */
static void separate_user(int flags)
{
	char uids[32];
	char gids[32];

	snprintf(uids, sizeof(uids), "0 %u 1", (unsigned)geteuid());
	snprintf(gids, sizeof(gids), "0 %u 1", (unsigned)getegid());
	separate(CLONE_NEWUSER | flags);
	write_file("/proc/self/setgroups", "deny");
	write_file("/proc/self/uid_map", uids);
	write_file("/proc/self/gid_map", gids);
}

/* --- F7: pid and user namespaces ------------------------------------------------------------- */

static bool with_user;

/* Pid 1 there.  It sees the outer holder alive, holds something itself, and dies. */
static void inner(void)
{
	struct weir_ctx ctx;

	IS(getpid(), 1);
	for (int i = 0; i < 5; i++) {
		weir_ctx_init(&ctx, NULL, 30 * MS);
		IS(weir_sem_acquire(sem, 2, &ctx), -ETIMEDOUT);
		IS(recover().processes, 0);
	}
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	say(0, 1);
	until_said(1, 1); /* The outer holder is killed now. */
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	say(0, 2);
	until_said(1, 2);
}

static void outer(void)
{
	pid_t pid;

	if (with_user) {
		separate_user(CLONE_NEWPID);
	} else {
		separate(CLONE_NEWPID);
	}
	pid = child(inner);
	board->flag[2] = pid;
	_exit(reap(pid) != 0);
}

static void hold_one(void)
{
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	say(3, 1);
	forever();
}

static void liveness_both_ways(void)
{
	struct weir_ctx ctx;
	pid_t holder;
	pid_t pid;
	uint64_t start;
	int status;

	seg_make(2);
	holder = child(hold_one);
	until_said(3, 1);
	pid = child(outer);
	while (!__atomic_load_n(&board->flag[0], __ATOMIC_ACQUIRE)) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			_exit(WEXITSTATUS(status));
		sleep_ms(1);
	}
	for (int i = 0; i < 5; i++) { /* It is alive, seen from outside. */
		weir_ctx_init(&ctx, NULL, 30 * MS);
		IS(weir_sem_acquire(sem, 1, &ctx), -ETIMEDOUT);
		IS(recover().processes, 0);
	}
	end(holder);
	say(1, 1); /* Only the inner one looks. */
	start = weir_now_ns();
	until_said(0, 2);
	IS(used(), 2);
	IS(kill(board->flag[2], SIGKILL), 0); /* Its number out here. */
	IS(weir_sem_acquire(sem, 2, NULL), 0);
	note("each death seen from the other side, together %llu ms",
	     (unsigned long long)since_ms(start));
	MUST(since_ms(start) < 1000);
	reap(pid);
}

static void pid_namespace(void)
{
	liveness_both_ways();
}

static void user_and_pid_namespace(void)
{
	with_user = true;
	liveness_both_ways();
}

/* In a user namespace of its own, with root mapped: by name, as any other. */
static void open_in_user_namespace(void)
{
	struct weir_segment *own;
	struct weir_sem *own_sem;

	separate_user(0);
	IS(weir_segment_open(env_path, NULL, &own), 0);
	IS(weir_sem_open(own, "sem", NULL, &own_sem), 0);
	IS(weir_sem_acquire(own_sem, 2, NULL), 0);
	say(0, 1);
	forever();
}

static void user_namespace(void)
{
	pid_t pid;
	int status;

	seg_make(2);
	pid = child(open_in_user_namespace);
	while (!__atomic_load_n(&board->flag[0], __ATOMIC_ACQUIRE)) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			_exit(WEXITSTATUS(status));
		sleep_ms(1);
	}
	IS(recover().processes, 0);
	IS(used(), 2);
	end(pid);
	IS(recover().permits, 2);
}

/* --- time namespaces ------------------------------------------------------------------------- */

/* A program that begins in the time namespace: reads its offset before main. */
static pid_t role_with_offset(const char *role, long long seconds)
{
	char text[64];
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		separate(CLONE_NEWTIME);
		snprintf(text, sizeof(text), "monotonic %lld 0", seconds);
		write_file("/proc/self/timens_offsets", text);
		pid = exec_role(role); /* Its children are in it. */
		_exit(WEXITSTATUS(reap(pid)));
	}
	return pid;
}

static void join_by_name(void)
{
	IS(weir_segment_open(env_path, NULL, &seg), 0);
	IS(weir_sem_open(seg, "sem", NULL, &sem), 0);
}

static bool near(uint64_t ms, uint64_t wanted_ms)
{
	return ms >= wanted_ms && ms <= wanted_ms + 100;
}

static uint64_t raw_monotonic(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Of this process: who waits for the right time sleeps, and does not spin until then. */
static uint64_t cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void time_role(void)
{
	struct weir_limiter *limiter;
	struct weir_breaker *breaker;
	struct weir_queue *queue;
	struct weir_call call;
	struct weir_ctx ctx;
	uint64_t start;
	uint64_t cpu = cpu_ms();
	uint64_t retry_ns;
	uint64_t message;
	uint32_t bytes;

	join_by_name();
	board->value[2] = raw_monotonic(); /* To be sure that we are in it. */
	/* The clock is that of the others. */
	MUST(weir_now_ns() >= board->value[0] && weir_now_ns() - board->value[0] < 5000 * MS);
	start = weir_now_ns();
	weir_ctx_init(&ctx, NULL, 100 * MS);
	IS(weir_sem_acquire(sem, 2, &ctx), -ETIMEDOUT);
	MUST(near(since_ms(start), 100));
	/* A deadline that was made outside. */
	start = board->ctx.deadline_ns - 200 * MS;
	IS(weir_sem_acquire(sem, 2, &board->ctx), -ETIMEDOUT);
	MUST(near(since_ms(start), 200));
	IS(weir_queue_open(seg, "queue", NULL, &queue), 0);
	start = weir_now_ns();
	weir_ctx_init(&ctx, NULL, 60 * MS);
	IS(weir_queue_recv(queue, &message, 8, &bytes, &ctx), -ETIMEDOUT);
	MUST(near(since_ms(start), 60));
	IS(weir_limiter_open(seg, "limiter", NULL, &limiter), 0);
	start = weir_now_ns(); /* The parent takes what there is: the first may wait, the second
				  must. */
	IS(weir_limiter_wait(limiter, 1, NULL), 0);
	IS(weir_limiter_wait(limiter, 1, NULL), 0);
	MUST(since_ms(start) >= 95 && since_ms(start) <= 400);
	MUST(cpu_ms() - cpu < 150);
	IS(weir_breaker_open(seg, "breaker", NULL, &breaker), 0);
	IS(weir_breaker_allow(breaker, &call, &retry_ns), -EAGAIN); /* Opened outside, 60 s. */
	MUST(retry_ns > 40000 * MS && retry_ns <= 60000 * MS);
	/* And a deadline of ours for those outside; and a permit that they must see. */
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	board->value[1] = weir_now_ns();
	weir_ctx_init(&board->ctx, NULL, 200 * MS);
	say(0, 1);
	forever();
}

static void one_offset(long long seconds, const char *name)
{
	struct weir_limiter *limiter;
	struct weir_breaker *breaker;
	struct weir_queue *queue;
	struct weir_call call;
	uint64_t here = raw_monotonic();
	uint64_t start;
	int status;
	pid_t pid;

	IS(weir_queue_open(seg, "queue", &WEIR_OPTS(queue, .slots = 2, .bytes = 8), &queue), 0);
	IS(weir_limiter_open(seg, "limiter",
			     &WEIR_OPTS(limiter, .count = 10, .period_ns = 1000 * MS, .burst = 1),
			     &limiter),
	   0);
	IS(weir_breaker_open(
		   seg, "breaker",
		   &WEIR_OPTS(breaker, .min_calls = 1, .failure_pct = 1, .open_ms = 60000),
		   &breaker),
	   0);
	if (weir_breaker_allow(breaker, &call, NULL) == 0)
		IS(weir_breaker_done(breaker, &call, 1), 0);
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	say(0, 0);
	board->value[0] = weir_now_ns();
	weir_ctx_init(&board->ctx, NULL, 1000 * MS);
	board->ctx.deadline_ns = weir_now_ns() + 600 * MS;
	pid = role_with_offset(name, seconds);
	while (!__atomic_load_n(&board->flag[0], __ATOMIC_ACQUIRE)) {
		weir_limiter_allow(limiter, 1, NULL);
		if (waitpid(pid, &status, WNOHANG) == pid)
			_exit(WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
		sleep_ms(1);
	}
	start = board->value[1];
	IS(weir_sem_acquire(sem, 2, &board->ctx), -ETIMEDOUT);
	MUST(near(since_ms(start), 200));
	MUST(board->value[2] / 1000 + 5 >= here / 1000 + (uint64_t)seconds);
	MUST(board->value[2] / 1000 <= here / 1000 + (uint64_t)seconds + 5);
	IS(recover().processes, 0);
	end(pid); /* The role goes with its parent. */
	for (int i = 0; i < 100 && used() > 1; i++) {
		recover();
		sleep_ms(10);
	}
	IS(used(), 1);
	IS(weir_sem_release(sem, 1), 0);
}

static void a_day_ahead(void)
{
	seg_make(2);
	one_offset(86400, "time");
	note("permit, queue, limit, breaker and shared deadline");
}

static void behind(void)
{
	long long back = (long long)raw_monotonic() / 2000;

	seg_make(2);
	one_offset(-back, "time");
	note("%lld s behind: the same", back);
}

const struct role space_roles[] = {{"time", time_role}, {NULL, NULL}};

const struct row space_rows[] = {
	{"F7", "a pid namespace, liveness both ways", pid_namespace},
	{"F7", "a user and a pid namespace, liveness both ways", user_and_pid_namespace},
	{"F7", "a user namespace opens by name", user_namespace},
	{"F7", "a time namespace behind ours, deadlines both ways", behind},
	{"F10", "a time namespace a day ahead, deadlines both ways", a_day_ahead},
	{NULL, NULL, NULL},
};
