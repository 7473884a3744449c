/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A traced child, instruction by instruction. */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sweep.h"

/*
 * The C library's takes the time from the vdso, which reads it again when the kernel's tick came
 * in between.  Stepped, it always does, and would never end.  (Linked statically, so that the
 * library under test uses this one.)
 */
int clock_gettime(clockid_t clock, struct timespec *ret)
{
	return (int)syscall(SYS_clock_gettime, clock, ret);
}

/*
 * The markers: a breakpoint before the operation, and one whose address we know after it.  Between
 * them lie the call, the operation and the return.
 */
extern const char sweep_end_marker[];
__attribute__((noinline, noclone, noipa)) int marked(int (*op)(struct world *w), struct world *w)
{
	int r;

	__asm__ volatile("int3" ::: "memory");
	r = op(w);
	w->note->result = r;
	w->note->returned = 1;
	__asm__ volatile(".globl sweep_end_marker\nsweep_end_marker: int3" ::: "memory");
	return r;
}

static void wait_stop(pid_t pid)
{
	int status;
	pid_t got;

	do {
		got = waitpid(pid, &status, __WALL);
	} while (got < 0 && errno == EINTR);
	must(got == pid);
	if (!WIFSTOPPED(status))
		broken("the child ended: status %#x", (unsigned)status);
	if (WSTOPSIG(status) != SIGTRAP)
		broken("the child got signal %d", WSTOPSIG(status));
}

pid_t traced_start(void (*body)(struct world *w, const void *arg), struct world *w, const void *arg)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
		must(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
		body(w, arg);
		_exit(0);
	}
	wait_stop(pid);
	must(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL) == 0);
	return pid;
}

static uint64_t peek(pid_t pid, size_t offset)
{
	return (uint64_t)ptrace(PTRACE_PEEKUSER, pid, offset, 0);
}

static uint64_t where(pid_t pid)
{
	return peek(pid, offsetof(struct user, regs.rip));
}

static bool swap_at(pid_t pid, uint64_t rip)
{
	uint64_t text = (uint64_t)ptrace(PTRACE_PEEKTEXT, pid, rip, 0);

	if ((text & 0xff) != 0xf0) /* lock */
		return false;
	text >>= (text >> 12 & 0xf) == 4 ? 16 : 8; /* a REX prefix, or none */
	return (text & 0xfeff) == 0xb00f;	   /* cmpxchg */
}

bool traced_at_swap(pid_t pid)
{
	return swap_at(pid, where(pid));
}

bool traced_swapped(pid_t pid)
{
	return peek(pid, offsetof(struct user, regs.eflags)) >> 6 & 1; /* ZF */
}

#define SWAPS_MAX 512

/* The compare and swaps stepped so far. */
static struct {
	uint64_t rip;
	uint64_t done;
	uint64_t lost;
} swaps[SWAPS_MAX];

static void swap_count(uint64_t rip, bool lost)
{
	uint32_t i = 0;

	while (i < SWAPS_MAX && swaps[i].rip && swaps[i].rip != rip)
		i++;
	must(i < SWAPS_MAX);
	swaps[i].rip = rip;
	swaps[i].done++;
	swaps[i].lost += lost;
}

void traced_swaps(void)
{
	uint32_t lost = 0;
	uint32_t i;

	for (i = 0; i < SWAPS_MAX && swaps[i].rip; i++) {
		printf("swap %#lx: %lu, lost %lu\n", (unsigned long)swaps[i].rip,
		       (unsigned long)swaps[i].done, (unsigned long)swaps[i].lost);
		lost += swaps[i].lost != 0;
	}
	printf("sweep: %u compare and swaps, %u of them lost\n", i, lost);
}

bool traced_step(pid_t pid)
{
	static uint32_t steps;
	uint64_t rip = where(pid);
	bool swap;

	if (rip == (uint64_t)(uintptr_t)sweep_end_marker)
		return false;
	if (steps++ % 256 == 0)
		alarm(WATCH_SECONDS); /* Slow is not wedged. */
	swap = swap_at(pid, rip);
	must(ptrace(PTRACE_SINGLESTEP, pid, 0, 0) == 0);
	wait_stop(pid);
	if (swap)
		swap_count(rip, !traced_swapped(pid));
	return true;
}

void traced_signal(pid_t pid, int sig)
{
	must(ptrace(PTRACE_SINGLESTEP, pid, 0, sig) == 0);
	wait_stop(pid);
}

void traced_interrupt(pid_t pid, int sig)
{
	int status;

	must(ptrace(PTRACE_CONT, pid, 0, sig) == 0); /* Pending now: the call does not sleep. */
	must(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == sig);
	must(ptrace(PTRACE_CONT, pid, 0, sig) == 0);
	wait_stop(pid);
}

bool traced_at_syscall(pid_t pid, long *ret_nr)
{
	uint64_t rip = where(pid);
	/* The child is our own image at the same place; what is not (the vdso) has no system calls
	 * that matter. */
	long text = ptrace(PTRACE_PEEKTEXT, pid, rip, 0);

	if ((text & 0xffff) != 0x050f)
		return false;
	*ret_nr = (long)peek(pid, offsetof(struct user, regs.rax));
	return true;
}

bool traced_call_sleeps(pid_t pid, long nr)
{
	uint64_t op = peek(pid, offsetof(struct user, regs.rsi)) & (uint32_t)FUTEX_CMD_MASK;

	return nr == SYS_futex_waitv ||
	       (nr == SYS_futex && (op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET));
}

/* Has it not come back after 2 ms? */
static bool blocks(pid_t pid)
{
	int status;

	for (int i = 0; i < 20; i++) {
		usleep(100);
		if (waitpid(pid, &status, __WALL | WNOHANG) == pid) {
			must(WIFSTOPPED(status));
			return false;
		}
	}
	return true;
}

bool traced_step_blocks(pid_t pid)
{
	must(ptrace(PTRACE_SINGLESTEP, pid, 0, 0) == 0);
	return blocks(pid);
}

long traced_to_call(pid_t pid)
{
	size_t rip = offsetof(struct user, regs.rip);

	must(ptrace(PTRACE_SYSCALL, pid, 0, 0) == 0);
	wait_stop(pid);
	if (peek(pid, rip) != (uint64_t)(uintptr_t)sweep_end_marker + 1)
		return (long)peek(pid, offsetof(struct user, regs.orig_rax));
	/* It was at its end sooner than others were; stand before the marker. */
	must(ptrace(PTRACE_POKEUSER, pid, rip, sweep_end_marker) == 0);
	return -1;
}

bool traced_call_blocks(pid_t pid, bool may)
{
	must(ptrace(PTRACE_SYSCALL, pid, 0, 0) == 0);
	if (may)
		return blocks(pid);
	wait_stop(pid);
	return false;
}

void traced_join(pid_t pid)
{
	wait_stop(pid);
}

void traced_run(pid_t pid)
{
	must(ptrace(PTRACE_CONT, pid, 0, 0) == 0);
	wait_stop(pid);
}

void traced_let_go(pid_t pid)
{
	int status;

	must(ptrace(PTRACE_DETACH, pid, 0, SIGSTOP) == 0);
	must(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	must(WSTOPSIG(status) == SIGSTOP);
}

void traced_go_on(pid_t pid)
{
	int status;

	must(ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_EXITKILL) == 0);
	must(kill(pid, SIGCONT) == 0);
	for (;;) { /* Ends: at the marker.  Before it are the stops of SIGSTOP and SIGCONT. */
		must(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
		if (status >> 8 == SIGTRAP)
			return;
		must(status >> 16 || WSTOPSIG(status) == SIGCONT);
		must(ptrace(PTRACE_CONT, pid, 0, status >> 16 ? 0 : SIGCONT) == 0);
	}
}

void traced_kill(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	do {
		errno = 0;
	} while ((waitpid(pid, &status, __WALL) != pid && errno == EINTR) ||
		 (errno == 0 && WIFSTOPPED(status)));
}
