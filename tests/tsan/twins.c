/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Thread twins: what several processes do to one segment, done by threads on one mapping, so that
 * ThreadSanitizer sees both sides of every access.  See README.md.
 *
 *	twins [ROUNDS]          all scenarios, each in a process of its own
 *	twins ROUNDS NAME       one
 */
#include <signal.h>
#include <sys/wait.h>

#include "twins.h"

struct weir_segment *seg;
int rounds;
char seg_path[64];
static char dir[48];
static pthread_barrier_t gate;

uint32_t pick(struct thread *t, uint32_t below)
{
	t->random = t->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(t->random >> 33) % below;
}

void join_and_meet(void)
{
	IS(weir_segment_join(seg), 0);
	pthread_barrier_wait(&gate);
}

static void *thread_main(void *arg)
{
	struct thread *t = arg;

	pthread_barrier_wait(&gate);
	t->fn(t);
	return NULL;
}

void run_threads(int count, void (*fn)(struct thread *t))
{
	const char *text = getenv("SEED");
	uint64_t seed = text ? strtoull(text, NULL, 10) : 0;
	struct thread t[16];

	MUST(count <= 16);
	IS(pthread_barrier_init(&gate, NULL, (unsigned)count), 0);
	for (int i = 0; i < count; i++) {
		t[i] = (struct thread){.index = i, .random = seed * 16 + (uint64_t)i + 1, .fn = fn};
		IS(pthread_create(&t[i].id, NULL, thread_main, &t[i]), 0);
	}
	for (int i = 0; i < count; i++)
		IS(pthread_join(t[i].id, NULL), 0);
	pthread_barrier_destroy(&gate);
}

static const struct scenario *find(const char *name)
{
	const struct scenario *lists[] = {limits, others, broken};

	for (int i = 0; i < 3; i++) {
		for (const struct scenario *s = lists[i]; s->name; s++) {
			if (strcmp(s->name, name) == 0)
				return s;
		}
	}
	return NULL;
}

static int run_one(const char *name)
{
	const struct scenario *s = find(name);
	int r;

	if (!s) {
		fprintf(stderr, "twins: no scenario '%s'\n", name);
		return 2;
	}
	strcpy(dir, "/dev/shm/weir-twins-XXXXXX");
	MUST(mkdtemp(dir));
	snprintf(seg_path, sizeof(seg_path), "%s/seg", dir);
	r = weir_segment_open(seg_path, &WEIR_OPTS(segment, .flags = WEIR_CREATE, .threads = 64),
			      &seg);
	IS(r, 0);
	weir_segment_unlink(seg_path); /* Nothing stays, however this ends. */
	rmdir(dir);
	s->run();
	IS(weir_segment_close(seg), 0);
	return 0;
}

#define REPORTED 66 /* what a process ends with that ThreadSanitizer has reported something in */

/* In a process of its own: the report of one must not hide the others. */
static bool spawn(const char *program, const char *how_often, const char *name, int wanted)
{
	uint64_t start = weir_now_ns();
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		alarm(120);
		if (wanted == REPORTED && !freopen("/dev/null", "w", stderr))
			_exit(125);
		execl("/proc/self/exe", program, how_often, name, (char *)NULL);
		_exit(126);
	}
	if (waitpid(pid, &status, 0) != pid)
		return false;
	if (WIFEXITED(status) && WEXITSTATUS(status) == wanted) {
		printf("%-36s ok   %5llu ms\n", name,
		       (unsigned long long)((weir_now_ns() - start) / MS));
	} else {
		printf("%-36s FAILED (%s %d); again: %s %s %s\n", name,
		       WIFSIGNALED(status) ? "signal" : "status",
		       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), program,
		       how_often, name);
	}
	fflush(stdout);
	return WIFEXITED(status) && WEXITSTATUS(status) == wanted;
}

int main(int argc, char **argv)
{
	const struct scenario *lists[] = {limits, others, broken};
	const char *how_often = argc > 1 ? argv[1] : "1";
	int passed = 0;
	int failed = 0;

	rounds = atoi(how_often);
	if (rounds < 1)
		return 2;
	if (argc > 2)
		return run_one(argv[2]);
	for (int i = 0; i < 3; i++) {
		for (const struct scenario *s = lists[i]; s->name; s++) {
			if (spawn(argv[0], how_often, s->name, lists[i] == broken ? REPORTED : 0))
				passed++;
			else
				failed++;
		}
	}
	printf("%d passed, %d failed\n", passed, failed);
	return failed != 0;
}
