/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Running another command the way timeout(1) and env(1) do.
 *
 * 2026-11: if we are killed with SIGKILL, what we hold comes back at once, so the command must not
 * go on as if it were still held: it gets SIGTERM (PR_SET_PDEATHSIG).  Its own children do not.
 * The lock that says we are alive is close-on-exec, so the command cannot keep it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools.h"

static struct weir_ctx *cancelled;
static volatile sig_atomic_t seen;

static void on_signal(int signal)
{
	seen = signal;
	weir_ctx_cancel(cancelled);
}

void run_cancel_on_signal(struct weir_ctx *ctx)
{
	struct sigaction act = {.sa_handler = on_signal};

	cancelled = ctx;
	sigemptyset(&act.sa_mask);
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
}

int run_signal_seen(void)
{
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	return seen;
}

static _Noreturn void become(char **argv, const sigset_t *mask, pid_t parent)
{
	int error;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent) /* Killed before we could ask for that. */
		_exit(EXIT_RUN_FAILED);
	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(argv[0], argv);
	error = errno;
	fail(error, NULL, "cannot run '%s'", argv[0]);
	_exit(error == ENOENT ? EXIT_RUN_UNKNOWN : EXIT_RUN_CANNOT);
}

/* Wait for the command, handing on the signals that were sent to us alone: what comes from the
 * terminal it gets anyway. */
static int wait_for(pid_t pid, const sigset_t *set)
{
	siginfo_t info;
	int status;

	for (;;) { /* Ends with the command. */
		if (sigwaitinfo(set, &info) < 0)
			continue;
		if (info.si_signo != SIGCHLD) {
			if (info.si_code != SI_KERNEL)
				kill(pid, info.si_signo);
			continue;
		}
		if (waitpid(pid, &status, WNOHANG) != pid)
			continue;
		if (WIFEXITED(status))
			return WEXITSTATUS(status);
		if (WIFSIGNALED(status))
			return 128 + WTERMSIG(status);
	}
}

int run_command(char **argv)
{
	pid_t parent = getpid();
	sigset_t before;
	sigset_t set;
	pid_t pid;

	signal(SIGCHLD, SIG_DFL); /* Ignored, as some parents leave it, we would hear of no end. */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, &before);
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		fail(errno, NULL, "cannot run '%s'", argv[0]);
		return EXIT_RUN_FAILED;
	}
	if (pid == 0)
		become(argv, &before, parent);
	return wait_for(pid, &set);
}
