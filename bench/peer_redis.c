/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The same decision in Redis: GCRA as a Lua script, called by its hash over a unix socket.
 *
 * The server is ours alone: in a temporary directory, without a port and without persistence, and
 * stopped by its process id.  It is pinned to CPU 1, we are on CPU 0.
 */
#include <errno.h>
#include <hiredis/hiredis.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "peer_redis.h"

#define START_TRIES 300 /* of 10 ms */

struct redis {
	redisContext *conn;
	pid_t pid;
	char dir[32];
	char sha[48];
};

static const char script[] =
	"local t = redis.call('TIME') "
	"local now = t[1] * 1000000 + t[2] "
	"local tat = tonumber(redis.call('GET', KEYS[1]) or now) "
	"if tat < now then tat = now end "
	"local interval = tonumber(ARGV[1]) "
	"local next = tat + interval "
	"if next - now > interval * tonumber(ARGV[2]) then return {0, next - now} end "
	"redis.call('SET', KEYS[1], next, 'PX', math.ceil((next - now) / 1000) + 1) "
	"return {1, 0}";

static void serve(const char *dir, const char *sock)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	bench_pin(1);
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", sock, "--save", "",
	       "--appendonly", "no", "--daemonize", "no", "--dir", dir, "--logfile", "/dev/null",
	       (char *)NULL);
	_exit(127);
}

static redisContext *connect_to(const char *sock, pid_t pid)
{
	for (int i = 0; i < START_TRIES; i++) {
		redisContext *conn = redisConnectUnix(sock);

		if (conn && !conn->err)
			return conn;
		if (conn)
			redisFree(conn);
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return NULL; /* Not installed, or it would not start. */
		usleep(10000);
	}
	return NULL;
}

void *bench_redis_start(void)
{
	struct redis *redis = calloc(1, sizeof(*redis));
	char sock[64];
	redisReply *reply;

	if (!redis)
		bench_die("calloc", ENOMEM);
	strcpy(redis->dir, "/tmp/weir-bench-XXXXXX");
	if (!mkdtemp(redis->dir))
		bench_die(redis->dir, errno);
	snprintf(sock, sizeof(sock), "%s/sock", redis->dir);
	redis->pid = fork();
	if (redis->pid == 0)
		serve(redis->dir, sock);
	redis->conn = redis->pid < 0 ? NULL : connect_to(sock, redis->pid);
	reply = redis->conn ? redisCommand(redis->conn, "SCRIPT LOAD %s", script) : NULL;
	if (!reply || reply->type != REDIS_REPLY_STRING) {
		bench_redis_stop(redis);
		return NULL;
	}
	snprintf(redis->sha, sizeof(redis->sha), "%s", reply->str);
	freeReplyObject(reply);
	return redis;
}

void bench_redis_run(void *arg, uint64_t count)
{
	struct redis *redis = arg;

	for (uint64_t i = 0; i < count; i++) {
		redisReply *reply =
			redisCommand(redis->conn, "EVALSHA %s 1 limit 1 1000000", redis->sha);

		if (!reply || reply->type != REDIS_REPLY_ARRAY)
			bench_die("EVALSHA", EPROTO);
		freeReplyObject(reply);
	}
}

void bench_redis_stop(void *arg)
{
	struct redis *redis = arg;
	char sock[64];

	if (redis->conn)
		redisFree(redis->conn);
	if (redis->pid > 0) {
		kill(redis->pid, SIGTERM);
		waitpid(redis->pid, NULL, 0);
	}
	snprintf(sock, sizeof(sock), "%s/sock", redis->dir);
	unlink(sock);
	rmdir(redis->dir);
	free(redis);
}
