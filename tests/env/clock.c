/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The wall clock and signals: F11, F12. */
#include <linux/futex.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/user.h>
#include <time.h>
#include <weir/run.h>

#include "env.h"

#define WAIT_MS	  60
#define ALLOWANCE 150

/*
 * The program's own: the library is linked statically and gets these.  As system calls they show
 * under ptrace, and a signal at every instruction cannot keep a read of the vdso from ending.
 */
int clock_gettime(clockid_t clock, struct timespec *ret)
{
	return (int)syscall(SYS_clock_gettime, clock, ret);
}

int gettimeofday(struct timeval *ret, void *zone)
{
	return (int)syscall(SYS_gettimeofday, ret, zone);
}

time_t time(time_t *ret)
{
	return (time_t)syscall(SYS_time, ret);
}

/* --- every call that blocks ------------------------------------------------------------------ */

static struct weir_queue *empty;
static struct weir_queue *full;
static struct weir_limiter *limiter;
static struct weir_loop *loop;

static int acquire(struct weir_ctx *ctx)
{
	return weir_sem_acquire(sem, 1, ctx);
}

static int receive_one(struct weir_ctx *ctx)
{
	uint64_t message;
	uint32_t bytes;

	return weir_queue_recv(empty, &message, 8, &bytes, ctx);
}

static int take_one(struct weir_ctx *ctx)
{
	struct weir_msg msg;

	return weir_queue_take(empty, &msg, ctx);
}

static int send_one(struct weir_ctx *ctx)
{
	uint64_t message = 0;

	return weir_queue_send(full, &message, 8, ctx);
}

static int loan_one(struct weir_ctx *ctx)
{
	struct weir_msg msg;

	return weir_queue_loan(full, &msg, ctx);
}

/* Both wait for their token: 0 after the time, whatever ctx says. */
static int limit(struct weir_ctx *ctx)
{
	(void)ctx;
	return weir_limiter_wait(limiter, 1, NULL);
}

static int limit_in_ctx(struct weir_ctx *ctx)
{
	ctx->deadline_ns += 10000 * MS;
	return weir_limiter_wait(limiter, 1, ctx);
}

static void taken(struct weir_loop *l, struct weir_op *op, int result)
{
	(void)l;
	(void)op;
	(void)result;
}

static int run_loop(struct weir_ctx *ctx)
{
	static struct weir_op op;
	static struct weir_msg msg;

	if (op.fn == NULL) {
		op.fn = taken;
		IS(weir_loop_take(loop, &op, empty, &msg), 0);
	}
	return weir_loop_run(loop, ctx);
}

static int stage_fn(void *user, const struct weir_msg *msg, struct weir_msg *out)
{
	(void)user;
	(void)msg;
	(void)out;
	return 0;
}

static int run_stage(struct weir_ctx *ctx)
{
	return weir_stage_run(&(struct weir_stage_opts){.size = sizeof(struct weir_stage_opts),
							.in = empty,
							.fn = stage_fn},
			      ctx);
}

static const struct {
	const char *name;
	int (*call)(struct weir_ctx *ctx);
	int wanted;
} blocking[] = {
	{"sem_acquire", acquire, -ETIMEDOUT},  {"queue_recv", receive_one, -ETIMEDOUT},
	{"queue_take", take_one, -ETIMEDOUT},  {"queue_send", send_one, -ETIMEDOUT},
	{"queue_loan", loan_one, -ETIMEDOUT},  {"limiter_wait", limit, 0},
	{"limiter_wait ctx", limit_in_ctx, 0}, {"loop_run", run_loop, -ETIMEDOUT},
	{"stage_run", run_stage, -ETIMEDOUT},
};
#define BLOCKING (sizeof(blocking) / sizeof(*blocking))

static void blocking_make(void)
{
	uint64_t message = 0;
	int r;

	seg_make(2);
	IS(weir_sem_acquire(sem, 2, NULL), 0);
	IS(weir_queue_open(seg, "empty", &WEIR_OPTS(queue, .slots = 2, .bytes = 8), &empty), 0);
	IS(weir_queue_open(seg, "full", &WEIR_OPTS(queue, .slots = 2, .bytes = 8), &full), 0);
	while (weir_queue_try_send(full, &message, 8) == 0)
		;
	IS(weir_limiter_open(seg, "limiter",
			     &WEIR_OPTS(limiter, .count = 1, .period_ns = WAIT_MS * MS, .burst = 1),
			     &limiter),
	   0);
	r = weir_loop_create(NULL, &loop);
	if (r == -ENOSYS || r == -EPERM)
		skip("no io_uring here");
	IS(r, 0);
}

/* Each waits as long as it should: not less, and not much more. */
static uint64_t wait_in_each(void)
{
	uint64_t worst = 0;

	for (size_t i = 0; i < BLOCKING; i++) {
		struct weir_ctx ctx;
		uint64_t start;
		uint64_t ns;
		int r;

		do { /* The token is taken after this: no wait for the next is shorter. */
			start = weir_now_ns();
		} while (weir_limiter_allow(limiter, 1, NULL) != 0);
		weir_ctx_init(&ctx, NULL, WAIT_MS * MS);
		r = blocking[i].call(&ctx);
		ns = weir_now_ns() - start;
		if (r != blocking[i].wanted)
			broken("%s: %d, not %d", blocking[i].name, r, blocking[i].wanted);
		if (ns < WAIT_MS * MS || ns > (WAIT_MS + ALLOWANCE) * MS)
			broken("%s: took %llu us", blocking[i].name, (unsigned long long)ns / 1000);
		worst = ns > worst ? ns : worst;
	}
	return worst;
}

/* --- F11 ------------------------------------------------------------------------------------- */

static const char *wall_clock(const struct user_regs_struct *r)
{
	switch (r->orig_rax) {
	case SYS_clock_gettime:
		return r->rdi == CLOCK_REALTIME || r->rdi == CLOCK_REALTIME_COARSE ||
				       r->rdi == CLOCK_TAI
			       ? "clock_gettime"
			       : NULL;
	case SYS_gettimeofday:
		return "gettimeofday";
	case SYS_time:
		return "time";
	case SYS_futex:
		return r->rsi & FUTEX_CLOCK_REALTIME ? "futex" : NULL;
	case 449: /* futex_waitv */
		return r->r8 == CLOCK_REALTIME && r->r10 ? "futex_waitv" : NULL;
	case SYS_clock_nanosleep:
		return r->rdi == CLOCK_REALTIME ? "clock_nanosleep" : NULL;
	case SYS_timerfd_create:
		return r->rdi == CLOCK_REALTIME ? "timerfd_create" : NULL;
	case SYS_timer_create:
		return r->rdi == CLOCK_REALTIME ? "timer_create" : NULL;
	}
	return NULL;
}

static void canary(void)
{
	struct timespec t = {.tv_nsec = 1};

	IS(ptrace(PTRACE_TRACEME, 0, NULL, NULL), 0);
	raise(SIGSTOP);
	clock_nanosleep(CLOCK_REALTIME, 0, &t, NULL);
	time(NULL);
	/* Relative to no clock that anybody sets. */
	syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, NULL);
}

static void traced_waits(void)
{
	blocking_make();
	IS(ptrace(PTRACE_TRACEME, 0, NULL, NULL), 0);
	raise(SIGSTOP);
	wait_in_each();
}

/* All system calls of a child: how many have to do with the wall clock, and how many sleep. */
static uint32_t listing(void (*fn)(void), uint32_t *ret_sleeps, const char **ret_first)
{
	pid_t pid = child(fn);
	uint32_t found = 0;
	bool entry = true;
	int status = reap(pid);

	*ret_sleeps = 0;
	while (WIFSTOPPED(status)) {
		struct user_regs_struct regs;
		int sig = WSTOPSIG(status);

		if (sig == SIGTRAP) {
			IS(ptrace(PTRACE_GETREGS, pid, NULL, &regs), 0);
			if (entry && wall_clock(&regs)) {
				*ret_first = found ? *ret_first : wall_clock(&regs);
				found++;
			}
			*ret_sleeps +=
				entry && (regs.orig_rax == SYS_futex || regs.orig_rax == 449 ||
					  regs.orig_rax == SYS_clock_nanosleep);
			entry = !entry;
		}
		MUST(ptrace(PTRACE_SYSCALL, pid, NULL,
			    sig == SIGTRAP || sig == SIGSTOP ? 0 : sig) == 0);
		status = reap(pid);
	}
	IS(status, 0);
	return found;
}

static void no_time_out_uses_the_wall_clock(void)
{
	const char *first = "";
	uint32_t sleeps;

	IS(listing(canary, &sleeps, &first), 2); /* The listing sees them. */
	MUST(sleeps == 2);
	if (listing(traced_waits, &sleeps, &first) != 0)
		broken("%s with the wall clock", first);
	MUST(sleeps >= BLOCKING);
	note("%u sleeps in %zu calls, none by it", sleeps, BLOCKING);
}

/* --- F12 ------------------------------------------------------------------------------------- */

static volatile int signals;

static void on_signal(int s)
{
	(void)s;
	signals++;
}

/* Every millisecond, and system calls are not restarted. */
static void signals_begin(void)
{
	struct sigaction action = {.sa_handler = on_signal};
	struct itimerval every = {.it_interval = {.tv_usec = 1000}, .it_value = {.tv_usec = 1000}};

	IS(sigaction(SIGALRM, &action, NULL), 0);
	IS(setitimer(ITIMER_REAL, &every, NULL), 0);
}

static void deadlines_with_signals(void)
{
	uint64_t worst;

	blocking_make();
	signals_begin();
	worst = wait_in_each();
	note("%d signals in %zu calls, at worst %llu us late", signals, BLOCKING,
	     (unsigned long long)(worst - WAIT_MS * MS) / 1000);
	MUST(signals >= 100);
}

static void wait_for_ever(void)
{
	struct weir_msg msg;

	signals_begin();
	IS(weir_sem_acquire(sem, 1, NULL), 0);
	IS(weir_queue_take(empty, &msg, NULL), 0);
	IS(weir_queue_done(empty, &msg), 0);
	MUST(signals >= 50);
	board->value[0] = (uint64_t)signals;
}

/* Without a deadline: no signal looks like an end of the wait. */
static void no_deadline_with_signals(void)
{
	uint64_t message = 0;
	pid_t pid;

	blocking_make();
	pid = child(wait_for_ever);
	sleep_ms(100);
	IS(weir_sem_release(sem, 2), 0);
	sleep_ms(100);
	IS(weir_queue_try_send(empty, &message, 8), 0);
	IS(reap(pid), 0);
	note("%llu signals", (unsigned long long)board->value[0]);
}

static void create_with_signals(void)
{
	struct weir_segment *big;
	char path[100];

	seg_make(1);
	snprintf(path, sizeof(path), "%s/big", env_dir);
	signals_begin();
	for (int i = 0; i < 3; i++) {
		IS(weir_segment_open(path,
				     &WEIR_OPTS(segment, .flags = WEIR_CREATE | WEIR_EXCLUSIVE,
						.bytes = 96 << 20),
				     &big),
		   0);
		IS(weir_segment_close(big), 0);
		IS(weir_segment_unlink(path), 0);
	}
	note("3 segments of 96 MiB, %d signals", signals);
	MUST(signals >= 5);
}

const struct row clock_rows[] = {
	{"F11", "no time-out uses the wall clock", no_time_out_uses_the_wall_clock},
	{"F12", "absolute deadlines, with a signal each millisecond", deadlines_with_signals},
	{"F12", "waits without a deadline, with a signal each millisecond",
	 no_deadline_with_signals},
	{"F12", "a segment is made, with a signal each millisecond", create_with_signals},
	{NULL, NULL, NULL},
};
