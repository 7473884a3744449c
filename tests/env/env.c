/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The environment matrix: what kernels, users and peers do to a process, row by row.
 *
 *	env             all rows
 *	env F6          those of one fault
 *	env ROLE DIR    what a row starts with exec
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "env.h"

#define SKIPPED 77

struct board *board;
char env_dir[64];
char env_path[80];
struct weir_segment *seg;
struct weir_sem *sem;

void broken(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (board && !board->why[0])
		vsnprintf(board->why, sizeof(board->why), format, args);
	else
		vfprintf(stderr, format, args);
	va_end(args);
	_exit(1);
}

void skip(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(board->why, sizeof(board->why), format, args);
	va_end(args);
	_exit(SKIPPED);
}

void note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(board->note, sizeof(board->note), format, args);
	va_end(args);
}

void say(int flag, int n)
{
	__atomic_store_n(&board->flag[flag], n, __ATOMIC_RELEASE);
}

void until_said(int flag, int n)
{
	while (__atomic_load_n(&board->flag[flag], __ATOMIC_ACQUIRE) < n)
		sleep_ms(0);
}

/* 0: a tenth of a millisecond. */
void sleep_ms(uint64_t ms)
{
	usleep(ms ? (useconds_t)ms * 1000 : 100);
}

void forever(void)
{
	for (;;)
		pause();
}

uint64_t since_ms(uint64_t start_ns)
{
	return (weir_now_ns() - start_ns) / MS;
}

void seg_make(uint32_t permits)
{
	char why[200] = "";
	int r = weir_segment_open(
		env_path,
		&WEIR_OPTS(segment, .flags = WEIR_CREATE, .why = why, .why_bytes = sizeof(why)),
		&seg);

	if (r < 0)
		broken("cannot make a segment: %d %s", r, why);
	IS(weir_sem_open(seg, "sem", &WEIR_OPTS(sem, .permits = permits), &sem), 0);
}

static pid_t started(pid_t pid, void (*fn)(void))
{
	MUST(pid >= 0);
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fn();
	_exit(0);
}

pid_t child(void (*fn)(void))
{
	return started(fork(), fn);
}

pid_t raw_child(void (*fn)(void))
{
	return started((pid_t)syscall(SYS_fork), fn);
}

pid_t exec_role(const char *role)
{
	pid_t pid = fork();

	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl("/proc/self/exe", "env", role, env_dir, (char *)NULL);
		_exit(126);
	}
	return pid;
}

int reap(pid_t pid)
{
	int status;

	MUST(waitpid(pid, &status, 0) == pid);
	return status;
}

void end(pid_t pid)
{
	MUST(kill(pid, SIGKILL) == 0);
	reap(pid);
}

char state_of(pid_t pid)
{
	char path[32];
	char text[512];
	const char *at;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return '-';
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return '-';
	text[n] = '\0';
	at = strrchr(text, ')');
	return at && at[1] ? at[2] : '-';
}

void until_state(pid_t pid, char state)
{
	while (state_of(pid) != state)
		sleep_ms(0);
}

uint32_t used(void)
{
	struct weir_sem_stat stat;

	IS(weir_sem_stat(sem, &stat), 0);
	return stat.used;
}

uint32_t waiters(void)
{
	struct weir_sem_stat stat;

	IS(weir_sem_stat(sem, &stat), 0);
	return stat.waiters;
}

struct weir_recovery recover(void)
{
	struct weir_recovery rec = {0};

	IS(weir_segment_recover(seg, &rec), 0);
	return rec;
}

uint32_t random_below(uint32_t n)
{
	static uint64_t state;

	if (state == 0) {
		const char *seed = getenv("SEED");

		state = seed ? strtoull(seed, NULL, 10) + 1 : 1;
	}
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(state >> 33) % n;
}

/* --- the rows' directory ---------------------------------------------------------------------- */

static void names_set(void)
{
	snprintf(env_path, sizeof(env_path), "%s/seg", env_dir);
}

static void board_open(int flags)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/board", env_dir);
	fd = open(path, O_RDWR | O_CLOEXEC | flags, 0666);
	MUST(fd >= 0 && ftruncate(fd, 4096) == 0);
	board = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(board != MAP_FAILED);
	close(fd);
}

static void directory_remove(void)
{
	DIR *d = opendir(env_dir);
	struct dirent *e;
	char path[400];

	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", env_dir, e->d_name);
		if (e->d_name[0] != '.' && unlink(path) < 0)
			rmdir(path);
	}
	if (d)
		closedir(d);
	rmdir(env_dir);
}

/* --- several rows at once: most of them sleep ---------------------------------------------- */

#define JOBS	 3
#define ROWS_MAX 64
#define LIMIT_MS 30000

struct job {
	const struct row *row;
	struct board *board;
	char dir[64];
	pid_t pid; /* 0: not running */
	uint64_t start_ns;
	uint64_t ms;
	int status;
	bool done;
};

static void job_start(struct job *job)
{
	strcpy(env_dir, "/dev/shm/weir-env-XXXXXX");
	MUST(mkdtemp(env_dir));
	names_set();
	board_open(O_CREAT);
	strcpy(job->dir, env_dir);
	job->board = board;
	job->start_ns = weir_now_ns();
	job->pid = fork();
	MUST(job->pid >= 0);
	if (job->pid == 0) {
		setpgid(0, 0);
		prctl(PR_SET_CHILD_SUBREAPER, 1);
		job->row->run();
		weir_segment_close(seg);
		_exit(0);
	}
}

/* True when it has ended, or took too long. */
static bool job_ended(struct job *job)
{
	if (!job->pid)
		return false;
	if (since_ms(job->start_ns) > LIMIT_MS) {
		kill(job->pid, SIGKILL);
		strcpy(job->board->why, "takes too long");
	}
	if (waitpid(job->pid, &job->status, WNOHANG) != job->pid)
		return false;
	kill(-job->pid, SIGKILL); /* What the row has left: its own process group. */
	job->ms = since_ms(job->start_ns);
	job->pid = 0;
	job->done = true;
	strcpy(env_dir, job->dir);
	directory_remove();
	return true;
}

/* 0 passed, 1 failed, 2 skipped */
static int job_print(struct job *job)
{
	bool skipped = WIFEXITED(job->status) && WEXITSTATUS(job->status) == SKIPPED;
	const char *verdict = job->status == 0 ? "ok" : skipped ? "skip" : "FAIL";

	if (WIFSIGNALED(job->status) && !job->board->why[0])
		snprintf(job->board->why, sizeof(job->board->why), "signal %d",
			 WTERMSIG(job->status));
	printf("%-4s %-58s %-4s %5llu ms  %s\n", job->row->fault, job->row->what, verdict,
	       (unsigned long long)job->ms, job->status ? job->board->why : job->board->note);
	fflush(stdout);
	munmap(job->board, 4096);
	return job->status == 0 ? 0 : skipped ? 2 : 1;
}

static void run_jobs(struct job *jobs, int count, int counts[3])
{
	int running = 0;
	int next = 0;
	int printed = 0;

	while (printed < count) {
		while (running < JOBS && next < count) {
			job_start(&jobs[next++]);
			running++;
		}
		for (int i = printed; i < next; i++)
			running -= job_ended(&jobs[i]);
		while (printed < count && jobs[printed].done)
			counts[job_print(&jobs[printed++])]++;
		sleep_ms(2);
	}
	board = NULL;
}

static int run_role(const char *name)
{
	names_set();
	board_open(0);
	for (const struct role *role = space_roles; role->name; role++) {
		if (strcmp(role->name, name) == 0) {
			role->run();
			return 0;
		}
	}
	return 2;
}

int main(int argc, char **argv)
{
	const struct row *lists[] = {death_rows, space_rows, clock_rows,
				     async_rows, file_rows,  wrap_rows};
	static struct job jobs[ROWS_MAX];
	int counts[3] = {0};
	int count = 0;

	if (argc == 3) {
		snprintf(env_dir, sizeof(env_dir), "%s", argv[2]);
		return run_role(argv[1]);
	}
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		for (const struct row *row = lists[i]; row->fault; row++) {
			if (argc == 1 || strcmp(argv[1], row->fault) == 0)
				jobs[count++].row = row;
			MUST(count < ROWS_MAX);
		}
	}
	run_jobs(jobs, count, counts);
	if (counts[2])
		printf("%d skipped\n", counts[2]);
	printf("%d passed, %d failed\n", counts[0], counts[1]);
	return counts[1] != 0;
}
