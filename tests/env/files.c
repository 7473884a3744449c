/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What peers and full disks do to the file: F15 to F17. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "env.h"

/* --- F15 ------------------------------------------------------------------------------------- */

/* Two that look, one that looks at all, and those that act. */
static const char *const commands[] = {
	"show seg",	"check seg",	   "ls",
	"gc --dry-run", "queue get seg:q", "sem run seg:s --permits 1 -- true",
	"trace seg",
};
#define COMMANDS (sizeof(commands) / sizeof(*commands))

static void tool_exec(const char *arguments)
{
	char copy[200];
	char *argv[16] = {(char[]){WEIR_TOOL}};
	int argc = 1;
	char *rest;
	int null = open("/dev/null", O_RDWR);

	snprintf(copy, sizeof(copy), "%s", arguments);
	for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		argv[argc++] = word;
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	setenv("WEIR_DIR", env_dir, 1);
	alarm(10); /* Survives exec: who hangs dies of it. */
	execv(WEIR_TOOL, argv);
	_exit(255);
}

/* Exit status of the tool in the row's directory; it must not end by a signal or hang. */
static int tool(const char *arguments)
{
	pid_t pid = fork();
	int status;

	MUST(pid >= 0);
	if (pid == 0)
		tool_exec(arguments);
	status = reap(pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) >= 128)
		broken("weir %s: status %#x", arguments, (unsigned)status);
	board->value[0]++;
	return WEXITSTATUS(status);
}

/* A segment with something in it, at env_path; not attached. */
static void file_make(void)
{
	struct weir_queue *queue;
	uint64_t message = 1;

	unlink(env_path);
	seg_make(2);
	IS(weir_queue_open(seg, "q", &WEIR_OPTS(queue, .slots = 4, .bytes = 8), &queue), 0);
	IS(weir_queue_try_send(queue, &message, 8), 0);
	weir_sem_close(sem);
	weir_queue_close(queue);
	weir_segment_close(seg);
	seg = NULL;
}

/* After `damage` each command ends, and those that need the segment say that it is none. */
static void with_damage(const char *what, bool refused)
{
	struct weir_segment *got;

	for (size_t i = 0; i < COMMANDS; i++) {
		int status;

		if (i >= 2 && (i + (size_t)board->value[1]) % 2) /* Half of the others each time. */
			continue;
		status = tool(commands[i]);
		if (refused && strstr(commands[i], "show") && status != 5)
			broken("weir %s of one that is %s: status %d", commands[i], what, status);
	}
	board->value[1]++;
	if (refused)
		IS(weir_segment_open(env_path, NULL, &got), -EBADMSG);
}

static void truncated_by_a_peer(void)
{
	static const off_t sizes[] = {0, 100, 4096, 1 << 20, 5 << 20};

	if (access(WEIR_TOOL, X_OK) < 0)
		broken("no tool at %s", WEIR_TOOL);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		file_make();
		MUST(truncate(env_path, sizes[i]) == 0);
		with_damage("truncated", true);
	}
	note("5 sizes, %llu runs", (unsigned long long)board->value[0]);
}

static void hole_punched_by_a_peer(void)
{
	static const off_t holes[][2] = {{0, 4096}, {0, 4 << 20}, {4096, 16384}, {16384, 4 << 20}};

	for (size_t i = 0; i < sizeof(holes) / sizeof(*holes); i++) {
		int fd;

		file_make();
		fd = open(env_path, O_RDWR | O_CLOEXEC);
		MUST(fd >= 0);
		MUST(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, holes[i][0],
			       holes[i][1]) == 0);
		close(fd);
		/* Without its head it is none; without other parts it reads as empty there. */
		with_damage("punched", holes[i][0] == 0);
	}
	note("4 holes, %llu runs", (unsigned long long)board->value[0]);
}

static void unlinked_by_a_peer(void)
{
	file_make();
	IS(weir_segment_open(env_path, NULL, &seg), 0);
	IS(weir_sem_open(seg, "sem", NULL, &sem), 0);
	MUST(unlink(env_path) == 0);
	IS(tool("show seg"), 3);
	IS(tool("queue get seg:q"), 3);
	IS(tool("ls"), 0);
	IS(weir_sem_acquire(sem, 1, NULL), 0); /* Who is attached goes on. */
	IS(weir_sem_release(sem, 1), 0);
	seg_make(2); /* The name is free for another one. */
	IS(tool("show seg"), 0);
}

static volatile int stop;

static void *shrink_and_grow(void *arg)
{
	int fd = open(env_path, O_RDWR | O_CLOEXEC);

	(void)arg;
	MUST(fd >= 0);
	while (!stop) {
		MUST(ftruncate(fd, random_below(2) ? 0 : (off_t)random_below(4 << 20)) == 0);
		usleep(random_below(1500));
		MUST(ftruncate(fd, 4 << 20) == 0);
		usleep(random_below(1500));
	}
	close(fd);
	return NULL;
}

/* The commands that look read the file and do not map it: nothing to die of. */
static void truncated_while_the_tool_looks(void)
{
	static const char *const looks[] = {"ls", "show seg",  "stat seg",
					    "ps", "check seg", "events seg"};
	pthread_t id;

	file_make();
	IS(pthread_create(&id, NULL, shrink_and_grow, NULL), 0);
	for (int i = 0; i < 30; i++)
		tool(looks[i % 6]);
	stop = 1;
	IS(pthread_join(id, NULL), 0);
	note("30 runs of commands that look");
}

static void *truncate_soon(void *unused)
{
	sleep_ms(300);
	MUST(truncate(env_path, 0) == 0);
	return unused;
}

/* A command that acts has the file mapped: it too ends with an error of its own. */
static void truncated_while_the_tool_waits(void)
{
	pthread_t id;

	file_make();
	IS(pthread_create(&id, NULL, truncate_soon, NULL), 0);
	IS(tool("queue get seg:q -n 9 --timeout 9s"), 5);
	IS(pthread_join(id, NULL), 0);
}

/* --- F16 ------------------------------------------------------------------------------------- */

static uint64_t free_blocks(const char *path)
{
	struct statfs fs;

	IS(statfs(path, &fs), 0);
	return fs.f_bfree;
}

static uint32_t entries(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	uint32_t n = 0;

	MUST(d);
	while ((e = readdir(d)))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

static void fill_up(const char *path)
{
	static char block[4096];
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	MUST(fd >= 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	IS(errno, ENOSPC);
	close(fd);
}

/* Reserved when it was made: with the disk full, all of it can be used. */
static void use_all_of_it(const char *small)
{
	struct weir_segment *own;
	struct weir_sem *got;
	char name[16];
	int r = 0;

	IS(weir_segment_open(small, NULL, &own), 0);
	for (int i = 0; r == 0; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		r = weir_sem_open(own, name, &WEIR_OPTS(sem, .permits = 1), &got);
		if (r == 0)
			weir_sem_close(got);
	}
	IS(r, -ENOSPC);
	IS(weir_segment_close(own), 0);
}

static void a_full_file_system(void)
{
	struct weir_segment *own;
	char command[200];
	char small[160];
	uint64_t before;
	char mnt[100];

	snprintf(mnt, sizeof(mnt), "%s/mnt", env_dir);
	MUST(mkdir(mnt, 0700) == 0);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("t", mnt, "tmpfs", 0, "size=256k") < 0)
		skip("cannot mount: %s", strerror(errno));
	before = free_blocks(mnt);
	snprintf(small, sizeof(small), "%s/small", mnt);
	IS(weir_segment_open(small, &WEIR_OPTS(segment, .flags = WEIR_CREATE), &own), -ENOSPC);
	IS(entries(mnt), 0);
	IS(free_blocks(mnt), before);
	snprintf(command, sizeof(command),
		 "WEIR_DIR=%s %s queue put jobs x >/dev/null 2>&1 </dev/null", mnt, WEIR_TOOL);
	IS(WEXITSTATUS(system(command)), 8);
	IS(entries(mnt), 0);
	IS(free_blocks(mnt), before);
	IS(weir_segment_open(small,
			     &WEIR_OPTS(segment, .flags = WEIR_CREATE, .bytes = 128 << 10,
					.processes = 4, .threads = 8, .objects = 512),
			     &own),
	   0);
	IS(weir_segment_close(own), 0);
	snprintf(command, sizeof(command), "%s/filler", mnt);
	fill_up(command);
	use_all_of_it(small);
	IS(umount2(mnt, MNT_DETACH), 0);
}

static int open_under(__rlimit_resource_t resource, rlim_t limit)
{
	struct weir_segment *own;
	struct rlimit was;
	struct rlimit now;
	int r;

	IS(getrlimit(resource, &was), 0);
	now = was;
	now.rlim_cur = limit;
	IS(setrlimit(resource, &now), 0);
	r = weir_segment_open(env_path,
			      &WEIR_OPTS(segment, .flags = WEIR_CREATE, .bytes = 64 << 20), &own);
	IS(setrlimit(resource, &was), 0);
	if (r == 0)
		IS(weir_segment_close(own), 0);
	return r;
}

/* Each time the error of the system, and nothing is left. */
static void no_memory_and_no_descriptors(void)
{
	int fds = (int)entries("/proc/self/fd");

	for (rlim_t limit = 0; limit < 16; limit++) {
		int r = open_under(RLIMIT_NOFILE, limit);

		MUST(r == 0 || r == -EMFILE);
		IS(entries(env_dir), 1u + (access(env_path, F_OK) == 0));
		if (r == 0)
			break;
	}
	unlink(env_path);
	IS(open_under(RLIMIT_AS, 32 << 20), -ENOMEM);
	IS(entries(env_dir), 1);
	IS(entries("/proc/self/fd"), fds);
	IS(open_under(RLIMIT_AS, RLIM_INFINITY), 0);
	/* There is one, but no room to map it. */
	IS(open_under(RLIMIT_AS, 32 << 20), -ENOMEM);
	IS(entries("/proc/self/fd"), fds);
}

/* --- F17 ------------------------------------------------------------------------------------- */

static void create(void)
{
	struct weir_segment *own;

	IS(weir_segment_open(env_path, &WEIR_OPTS(segment, .flags = WEIR_CREATE), &own), 0);
}

static void a_creator_dies_half_way(void)
{
	uint32_t there = 0;
	uint32_t rounds = 150;

	for (uint32_t i = 0; i < rounds; i++) {
		struct weir_segment *own;
		pid_t pid = child(create);
		int r;

		usleep(random_below(1500));
		end(pid);
		r = weir_segment_open(env_path, NULL, &own);
		MUST(r == 0 || r == -ENOENT);
		IS(entries(env_dir), 1u + (r == 0)); /* The board, and perhaps the segment. */
		if (r == 0) {
			there++;
			IS(weir_segment_close(own), 0);
			MUST(unlink(env_path) == 0);
		}
	}
	note("%u kills: %u times whole, else nothing", rounds, there);
	MUST(there > 0 && there < rounds);
}

const struct row file_rows[] = {
	{"F15", "truncated by a peer", truncated_by_a_peer},
	{"F15", "a hole punched by a peer", hole_punched_by_a_peer},
	{"F15", "unlinked by a peer", unlinked_by_a_peer},
	{"F15", "truncated while the tool looks", truncated_while_the_tool_looks},
	{"F15", "truncated while the tool waits", truncated_while_the_tool_waits},
	{"F16", "a full file system", a_full_file_system},
	{"F16", "no memory, no descriptors", no_memory_and_no_descriptors},
	{"F17", "a creator dies half-way", a_creator_dies_half_way},
	{NULL, NULL, NULL},
};
