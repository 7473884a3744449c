/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The kill table.  A child does one operation, stepped with ptrace; it is killed with SIGKILL after
 * N instructions, for each N (or KILL_POINTS of them, evenly); then a survivor, a process of its
 * own, has to get on with the object.  The same for each peer.  docs/KILLS.md says what is counted.
 */
#include <errno.h>
#include <signal.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kill.h"

#define QUEUED	  3u
#define SENT	  100u /* the victim's message */
#define SEEN_MAX  32u
#define HUNG_MS	  (PATIENCE + 100)
#define STEPS_MAX 200000u

enum fate { FINE, WEDGED, LOST, DOUBLED, ROOM_LOST, FATES };

/* What outlives the victim and the survivor. */
struct note {
	volatile uint32_t returned;
	volatile uint64_t buffer; /* what the victim's receive delivered to */
	volatile uint32_t progress;
	volatile uint32_t fate;
	volatile bool done;
};

static struct note *note;
static uint8_t *area;
static uint32_t points_max = 2000; /* every instruction of what we have */

static void die(const char *what)
{
	fprintf(stderr, "kill: %s (errno %d)\n", what, errno);
	exit(2);
}
#define must(x) ((x) ? (void)0 : die(#x))

/* The vdso's, stepped, would never end: it looks again when the kernel's tick came in between. */
int clock_gettime(clockid_t clock, struct timespec *ret)
{
	return (int)syscall(SYS_clock_gettime, clock, ret);
}

/* --- the victim ------------------------------------------------------------------------------ */

extern const char kill_end[];
__attribute__((noinline)) static void operation(const struct peer *p, int which)
{
	bool ok;

	__asm__ volatile("int3" ::: "memory");
	ok = which == 0 ? p->put(area, SENT, 0)
			: p->get(area, (uint64_t *)(uintptr_t)&note->buffer, 0);
	note->returned = ok ? 1 : 2;
	__asm__ volatile(".globl kill_end\nkill_end: int3" ::: "memory");
}

static void wait_stop(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, __WALL) == pid);
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
		die("the victim ended by itself");
}

static bool at_end(pid_t pid)
{
	return (uint64_t)ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip), 0) ==
	       (uint64_t)(uintptr_t)kill_end;
}

/* Kill after `steps` instructions; returns how many there were before the end. */
static uint32_t victim(const struct peer *p, int which, uint32_t steps)
{
	uint32_t done = 0;
	pid_t pid;

	memset(note, 0, sizeof(*note));
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		uint64_t value;

		must(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
		if (p->join)
			p->join(area);
		if (p->kind != QUEUE && which == 0)
			must(p->get(area, &value, PATIENCE));
		operation(p, which);
		_exit(0);
	}
	wait_stop(pid);
	must(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL) == 0);
	while (done < steps && !at_end(pid)) {
		must(ptrace(PTRACE_SINGLESTEP, pid, 0, 0) == 0);
		wait_stop(pid);
		done++;
	}
	if (steps == STEPS_MAX && note->returned != 1)
		die("the operation itself failed");
	kill(pid, SIGKILL);
	must(waitpid(pid, NULL, __WALL) == pid);
	return done;
}

/* --- the survivor ---------------------------------------------------------------------------- */

/* Put in as much as goes in, and take it out. */
static enum fate refill(const struct peer *p)
{
	uint64_t value;
	uint32_t n;

	for (n = 0; n < ROOM && p->put(area, 200 + n, PATIENCE); n++)
		note->progress++;
	if (n < ROOM)
		return n == 0 ? WEDGED : ROOM_LOST;
	for (n = 0; n < ROOM; n++) {
		if (!p->get(area, &value, PATIENCE))
			return WEDGED;
		if (value != 200 + n)
			return DOUBLED;
		note->progress++;
	}
	return FINE;
}

/* Messages 1, 2, 3 were in; the victim sent SENT or received 1. */
static enum fate survive_queue(const struct peer *p, int which)
{
	bool returned = note->returned == 1;
	uint32_t first = which == 1 && returned ? 2 : 1;
	uint32_t seen[SENT + 1] = {0};
	uint32_t missing = QUEUED + 1 - first + (which == 0 && returned);
	uint64_t value;
	enum fate fate = FINE;

	while (missing > 0 && p->get(area, &value, PATIENCE)) {
		note->progress++;
		if (value > SENT || seen[value]++ || value < first)
			return DOUBLED;
		missing -= value != SENT || returned;
		/* Before it returned it may have it already, and then nobody else must. */
		if (which == 1 && !returned && missing == 1 && !seen[1] && note->buffer == 1)
			missing = 0;
	}
	if (p->recover)
		p->recover(area);
	while (p->get(area, &value, 0)) {
		note->progress++;
		if (value > SENT || seen[value]++ || value < first)
			return DOUBLED;
	}
	fate = refill(p);
	if (fate == FINE && missing > 0)
		return LOST;
	return fate;
}

static enum fate survive_permits(const struct peer *p)
{
	uint32_t all = p->kind == LOCK ? 1 : PERMITS;
	uint32_t n;
	uint64_t value;

	for (n = 0; n < all && p->get(area, &value, PATIENCE); n++)
		note->progress++;
	if (n < all)
		return p->kind == LOCK ? WEDGED : LOST;
	if (p->recover)
		p->recover(area);
	return p->get(area, &value, 0) ? DOUBLED : FINE;
}

static enum fate survive(const struct peer *p, int which)
{
	uint32_t progress = UINT32_MAX;
	int64_t since = 0;
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (p->join)
			p->join(area);
		note->fate = p->kind == QUEUE ? survive_queue(p, which) : survive_permits(p);
		note->done = true;
		_exit(0);
	}
	for (;;) {
		pid_t got = waitpid(pid, NULL, WNOHANG);

		if (got == pid)
			return note->done ? (enum fate)note->fate : WEDGED;
		if (progress != note->progress) {
			progress = note->progress;
			since = kill_now_ms();
		}
		if (kill_now_ms() - since > HUNG_MS) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			return WEDGED;
		}
		usleep(100);
	}
}

/* --- the table ------------------------------------------------------------------------------- */

static void prepare(const struct peer *p)
{
	memset(area, 0, AREA_BYTES);
	must(p->make(area));
	for (uint32_t i = 1; p->kind == QUEUE && i <= QUEUED; i++)
		must(p->put(area, i, PATIENCE));
}

static bool row(const struct peer *p, int which, bool tell, uint32_t count[FATES])
{
	uint32_t points = 0;
	uint32_t total;

	memset(count, 0, FATES * sizeof(*count));
	prepare(p);
	total = victim(p, which, STEPS_MAX);
	p->drop(area);
	for (uint32_t i = 0; i < points_max; i++) {
		uint32_t n = (uint32_t)((uint64_t)total * i / (points_max - 1));
		enum fate fate;

		if (points_max > total + 1 && i > total)
			break;
		if (points_max > total + 1)
			n = i;
		prepare(p);
		victim(p, which, n);
		fate = survive(p, which);
		p->drop(area);
		count[fate]++;
		points++;
		if (tell && fate != FINE)
			printf("  after %u: fate %u, returned %u\n", n, fate, note->returned);
	}
	printf("| %s | %s | %u | %u | %u | %u | %u | %u |\n", p->name, p->call[which], total,
	       points, count[WEDGED], count[LOST], count[DOUBLED], count[ROOM_LOST]);
	fflush(stdout);
	return count[FINE] == points;
}

static bool list(const struct peer *peers, const char *only, bool tell)
{
	uint32_t count[FATES];
	bool fine = true;

	for (const struct peer *p = peers; p->name; p++) {
		if (only && !strstr(p->name, only))
			continue;
		for (int which = 0; which < 2; which++)
			fine &= row(p, which, tell, count);
	}
	return fine;
}

/* Ours have no fault, and the faults that were put in are seen. */
static bool check(void)
{
	uint32_t count[FATES];
	uint32_t passed = 0;
	uint32_t failed = 0;

	for (const struct peer *p = peers_weir; p->name; p++) {
		for (int which = 0; which < 2; which++)
			*(row(p, which, true, count) ? &passed : &failed) += 1;
	}
	row(&peers_control[0], 1, false, count);
	*(count[LOST] && !count[WEDGED] && !count[DOUBLED] ? &passed : &failed) += 1;
	row(&peers_control[1], 0, false, count);
	*(count[DOUBLED] && !count[WEDGED] && !count[LOST] ? &passed : &failed) += 1;
	row(&peers_control[2], 0, false, count);
	*(count[WEDGED] && !count[LOST] && !count[DOUBLED] ? &passed : &failed) += 1;
	printf("%u passed, %u failed\n", passed, failed);
	return failed == 0;
}

/* Tracer, victim and survivor run by turns. */
static void one_processor(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)sched_getcpu(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void *shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED);
	return p;
}

static int missing;

__attribute__((unused)) static void left_out(const char *package)
{
	printf("left out: %s was not installed when this was built; install it and make again\n",
	       package);
	missing++;
}

int main(int argc, char **argv)
{
	const char *only = argc > 1 && argv[1][0] ? argv[1] : NULL;
	bool tell = argc > 2;
	bool ours;

	if (getenv("KILL_POINTS"))
		points_max = (uint32_t)strtoul(getenv("KILL_POINTS"), NULL, 10);
	must(points_max >= 2);
	note = shared(sizeof(*note));
	area = shared(AREA_BYTES);
	one_processor();
	printf("| peer | operation | instructions | points | wedged | lost | doubled | room lost "
	       "|\n"
	       "|---|---|---|---|---|---|---|---|\n");
	if (only && strcmp(only, "--check") == 0)
		return check() ? 0 : 1;
	ours = list(peers_weir, only, tell);
	list(peers_posix, only, tell);
#ifdef KILL_CK
	list(peers_ck, only, tell);
#else
	left_out("libck-dev");
#endif
#ifdef KILL_BOOST
	list(peers_boost, only, tell);
#else
	left_out("libboost-dev");
#endif
	if (!only)
		printf("reached peers left out: %d\n", missing);
	return ours ? 0 : 1;
}
