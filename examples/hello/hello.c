/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Four processes share a limit, a semaphore and a queue: nothing but a name connects them. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir.h>

#define CHILDREN 4

/* At most 5 per second for all processes together; the rest is told when to come again. */
static int try_limit(struct weir_segment *seg)
{
	struct weir_limiter *limiter;
	struct weir_verdict verdict;
	int allowed = 0;
	int r;

	r = weir_limiter_open(seg, "mails",
			      &WEIR_OPTS(limiter, .count = 5, .period_ns = 1000000000), &limiter);
	for (int i = 0; r == 0 && i < 5; i++)
		allowed += weir_limiter_allow(limiter, 1, &verdict) == 0;
	if (r == 0)
		printf("%d: limiter allowed %d of 5\n", (int)getpid(), allowed);
	return r;
}

/* Two permits for four processes.  A killed holder's permits come back by themselves. */
static int try_sem(struct weir_segment *seg)
{
	struct weir_sem *sem;
	struct weir_ctx ctx;
	int r;

	r = weir_sem_open(seg, "printers", &WEIR_OPTS(sem, .permits = 2), &sem);
	if (r < 0)
		return r;
	weir_ctx_init(&ctx, NULL, 2000000000); /* wait 2 seconds at most */
	r = weir_sem_acquire(sem, 1, &ctx);
	if (r < 0)
		return r;
	printf("%d: has a permit\n", (int)getpid());
	usleep(10000);
	return weir_sem_release(sem, 1);
}

/* One message to whoever receives. */
static int try_queue(struct weir_segment *seg)
{
	struct weir_queue *queue;
	char text[64];
	int r;

	r = weir_queue_open(seg, "letters", &WEIR_OPTS(queue, .slots = 16, .bytes = 64), &queue);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "hello from %d", (int)getpid());
	return weir_queue_send(queue, text, (uint32_t)strlen(text) + 1, NULL);
}

static int child(void)
{
	struct weir_segment *seg;
	char why[200] = "";
	int r;

	r = weir_segment_open("hello",
			      &WEIR_OPTS(segment, .flags = WEIR_CREATE, .role = "child", .why = why,
					 .why_bytes = sizeof(why)),
			      &seg);
	if (r == 0)
		r = try_limit(seg);
	if (r == 0)
		r = try_sem(seg);
	if (r == 0)
		r = try_queue(seg);
	if (r < 0)
		fprintf(stderr, "hello: %s. %s\n", strerror(-r), why);
	fflush(stdout);
	return r < 0 ? 1 : 0;
}

int main(void)
{
	struct weir_segment *seg;
	struct weir_queue *queue;
	char text[64];
	uint32_t bytes;

	for (int i = 0; i < CHILDREN; i++)
		if (fork() == 0)
			_exit(child());
	while (wait(NULL) > 0)
		continue;
	if (weir_segment_open("hello", NULL, &seg) < 0 ||
	    weir_queue_open(seg, "letters", NULL, &queue) < 0)
		return 1;
	while (weir_queue_try_recv(queue, text, sizeof(text), &bytes) == 0)
		printf("received: %s\n", text);
	weir_segment_close(seg);
	return weir_segment_unlink("hello") < 0;
}
