/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The master: starts all processes, starts again what dies, ends them in order. */
/*
 * Only this example needs it.  The segment has no master: any process creates what is missing, and
 * whoever waits gives back what the dead held.
 *
 * Each worker has a listening socket of its own (SO_REUSEPORT spreads the connections over them),
 * which the master keeps: what waits to be accepted when a worker dies is accepted by the next one.
 *
 * Order of the end: workers (no new records), then the first queue is closed and every stage ends
 * when its queue is drained, then the upstream.
 */
#include "gateway.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum kind { KIND_UPSTREAM, KIND_WORKER, KIND_STAGE };

struct child {
	const char *name; /* of the pid file */
	enum kind kind;
	const char *command;
	const char *arg;
	pid_t pid; /* 0: not running */
	char fd_text[12];
};

static struct child children[] = {
	{"upstream", KIND_UPSTREAM, "upstream", NULL, 0, ""},
	{"worker-0", KIND_WORKER, "worker", NULL, 0, ""},
	{"worker-1", KIND_WORKER, "worker", NULL, 0, ""},
	{"worker-2", KIND_WORKER, "worker", NULL, 0, ""},
	{"worker-3", KIND_WORKER, "worker", NULL, 0, ""},
	{"parse", KIND_STAGE, "stage", "parse", 0, ""},
	{"filter", KIND_STAGE, "stage", "filter", 0, ""},
	{"batch", KIND_STAGE, "stage", "batch", 0, ""},
	{"write", KIND_STAGE, "write", NULL, 0, ""},
	{"job", KIND_WORKER, "job", NULL, 0, ""},
};

#define CHILDREN (sizeof(children) / sizeof(children[0]))

/* Ready when all pid files are there: each is written whole or not at all. */
static int write_pid(const struct gw *gw, const char *name, pid_t pid)
{
	char path[128];
	char temp[136];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.pid", gw->run, name);
	snprintf(temp, sizeof(temp), "%s.new", path);
	file = fopen(temp, "we");
	if (!file)
		return -errno;
	fprintf(file, "%d\n", (int)pid);
	fclose(file);
	return rename(temp, path) < 0 ? -errno : 0;
}

/* A fresh program: nothing of the master but the listening socket and the environment. */
static void child_exec(const struct child *child, pid_t master)
{
	const char *arg = child->fd_text[0] ? child->fd_text : child->arg;
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != master)
		_exit(1);
	path[n > 0 ? n : 0] = 0;
	execl(path, "example-gateway", child->command, arg, (char *)NULL);
	_exit(127);
}

static int child_start(const struct gw *gw, struct child *child)
{
	pid_t master = getpid();
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		child_exec(child, master);
	child->pid = pid;
	return write_pid(gw, child->name, pid);
}

static int listen_on(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM, 0); /* stays open over exec */

	if (fd < 0)
		return -errno;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 256) < 0)
		return -errno;
	return fd;
}

static int start_all(const struct gw *gw, int port)
{
	int fd;
	int r = 0;

	for (size_t i = 0; i < CHILDREN; i++) {
		if (strcmp(children[i].command, "worker"))
			continue;
		fd = listen_on(port);
		if (fd < 0)
			return gw_complain("listen", fd);
		snprintf(children[i].fd_text, sizeof(children[i].fd_text), "%d", fd);
	}
	for (size_t i = 0; i < CHILDREN && r == 0; i++)
		r = child_start(gw, &children[i]);
	return r < 0 ? gw_complain("start", r) : 0;
}

/* Collect the dead; start them again unless we are ending. */
static void reap(const struct gw *gw, bool again)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (size_t i = 0; i < CHILDREN; i++) {
			if (children[i].pid != pid)
				continue;
			children[i].pid = 0;
			if (WIFSIGNALED(status))
				printf("master: %s (%d) killed by signal %d\n", children[i].name,
				       (int)pid, WTERMSIG(status));
			else if (WEXITSTATUS(status) || again)
				printf("master: %s (%d) ended with %d\n", children[i].name,
				       (int)pid, WEXITSTATUS(status));
			if (again && WIFEXITED(status))
				usleep(200000); /* It would not start: do not spin. */
			if (again && child_start(gw, &children[i]) == 0)
				printf("master: %s is %d now\n", children[i].name,
				       (int)children[i].pid);
		}
	}
}

static bool running(enum kind kind)
{
	for (size_t i = 0; i < CHILDREN; i++)
		if (children[i].kind == kind && children[i].pid)
			return true;
	return false;
}

static void signal_all(enum kind kind, int signo)
{
	for (size_t i = 0; i < CHILDREN; i++)
		if (children[i].kind == kind && children[i].pid)
			kill(children[i].pid, signo);
}

/* Wait until no child of this kind runs, `seconds` at most; then they are killed. */
static int wait_for(const struct gw *gw, enum kind kind, int seconds)
{
	for (int i = 0; i < seconds * 100 && running(kind); i++) {
		usleep(10000);
		reap(gw, false);
	}
	if (!running(kind))
		return 0;
	fprintf(stderr, "master: not everybody ended in time\n");
	signal_all(kind, SIGKILL);
	usleep(100000);
	reap(gw, false);
	return -ETIMEDOUT;
}

static int stop_all(const struct gw *gw)
{
	int r;
	int left;

	signal_all(KIND_WORKER, SIGTERM);
	r = wait_for(gw, KIND_WORKER, 8);
	left = weir_queue_shutdown(gw->queues[GW_LOG]);
	if (r == 0)
		r = left;
	left = wait_for(gw, KIND_STAGE, 20);
	if (r == 0)
		r = left;
	signal_all(KIND_UPSTREAM, SIGTERM);
	left = wait_for(gw, KIND_UPSTREAM, 5);
	return r == 0 ? left : r;
}

int gw_master_main(int port)
{
	struct gw gw;
	sigset_t set;
	int signo;
	int left;
	int r;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r = gw_open(&gw, "master");
	if (r < 0)
		return r;
	r = start_all(&gw, port);
	if (r == 0)
		r = write_pid(&gw, "master", getpid());
	while (r == 0) {
		if (sigwait(&set, &signo) == 0 && signo != SIGCHLD)
			break;
		reap(&gw, true);
	}
	left = stop_all(&gw);
	if (r == 0)
		r = left;
	if (gw_books_main() < 0)
		r = -EBADMSG;
	gw_close(&gw);
	(void)weir_segment_unlink("gateway");
	return r;
}
