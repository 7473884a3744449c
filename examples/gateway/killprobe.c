/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Kill a worker while it holds all permits, and measure how long until somebody else has one. */
/*
 * Two slow reports to the same worker take all permits.  While they last nobody gets any: the count
 * of acquisitions stands still, which is checked.  Then the worker is killed; the first acquisition
 * after that is by a worker that had to find out by itself.
 */
#include "gateway.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TRIES	   200
#define STILL_NS   200000000ull /* nobody gets a permit for this long before the kill */
#define GIVE_UP_NS 10000000000ull

struct probe {
	struct gw gw;
	int port;
	pid_t worker;
	int fds[2];
};

static int dial(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return fd;
}

static int ask(int fd, const char *target)
{
	char text[128];
	int n = snprintf(text, sizeof(text),
			 "GET %s HTTP/1.1\r\nHost: x\r\nX-Client: killer\r\n\r\n", target);

	return send(fd, text, (size_t)n, MSG_NOSIGNAL) == n ? 0 : -EIO;
}

/* Which worker is at the other end? */
static pid_t who(int fd)
{
	char text[1024];
	const char *at;
	ssize_t n;

	if (ask(fd, "/health") < 0)
		return -1;
	n = recv(fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return -1;
	text[n] = 0;
	at = strstr(text, "X-Worker: ");
	return at ? (pid_t)atoi(at + 10) : -1;
}

/* Two connections to one worker; the kernel decides which one a connection goes to. */
static int two_connections(struct probe *probe)
{
	int fd;

	probe->fds[0] = dial(probe->port);
	if (probe->fds[0] < 0)
		return probe->fds[0];
	probe->worker = who(probe->fds[0]);
	for (int i = 0; i < TRIES && probe->worker > 1; i++) {
		fd = dial(probe->port);
		if (fd < 0)
			return fd;
		if (who(fd) == probe->worker) {
			probe->fds[1] = fd;
			return 0;
		}
		close(fd);
	}
	return -ECHILD;
}

static void pause_us(long us)
{
	struct timespec ts = {.tv_nsec = us * 1000};

	nanosleep(&ts, NULL);
}

/* Wait until all permits are in use and nobody has got one for STILL_NS. */
static int wait_still(const struct probe *probe, struct weir_sem_stat *ret_stat)
{
	uint64_t begin_ns = weir_now_ns();
	uint64_t since_ns = begin_ns;
	struct weir_sem_stat stat = {0};
	uint64_t acquires = 0;

	for (;;) {
		(void)weir_sem_stat(probe->gw.sem, &stat);
		if (stat.acquires != acquires || stat.used != stat.permits)
			since_ns = weir_now_ns();
		acquires = stat.acquires;
		if (weir_now_ns() - since_ns > STILL_NS && stat.waiters) {
			*ret_stat = stat;
			return 0;
		}
		if (weir_now_ns() - begin_ns > GIVE_UP_NS)
			return -ETIMEDOUT;
		pause_us(500);
	}
}

/* Poll until somebody has got a permit.  This process only looks: it must not be the one who finds
 * the dead. */
static int wait_moving(const struct probe *probe, uint64_t acquires, uint64_t *ret_ns)
{
	uint64_t begin_ns = weir_now_ns();
	struct weir_sem_stat stat = {0};

	for (;;) {
		(void)weir_sem_stat(probe->gw.sem, &stat);
		*ret_ns = weir_now_ns() - begin_ns;
		if (stat.acquires > acquires)
			return 0;
		if (*ret_ns > GIVE_UP_NS)
			return -ETIMEDOUT;
		pause_us(200);
	}
}

int gw_killprobe_main(int port)
{
	struct probe probe = {.port = port};
	struct weir_sem_stat stat = {0};
	uint64_t ns = 0;
	int r;

	r = gw_open(&probe.gw, "killprobe");
	if (r < 0)
		return r;
	r = two_connections(&probe);
	if (r == 0)
		r = ask(probe.fds[0], "/report?ms=6000");
	if (r == 0)
		r = ask(probe.fds[1], "/report?ms=6000");
	if (r == 0)
		r = wait_still(&probe, &stat);
	if (r < 0) {
		gw_complain("killprobe: no worker holds all permits", r);
		goto out_close;
	}
	if (kill(probe.worker, SIGKILL) < 0) {
		r = gw_complain("kill", -errno);
		goto out_close;
	}
	r = wait_moving(&probe, stat.acquires, &ns);
	printf("kill_worker=%d\nkill_used=%u\nkill_waiters=%u\nkill_back_us=%" PRIu64 "\n",
	       (int)probe.worker, stat.used, stat.waiters, ns / 1000);

out_close:
	gw_close(&probe.gw);
	return r;
}
