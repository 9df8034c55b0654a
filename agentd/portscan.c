/*
 * The kernel names sockets by inode; /proc/PID/fd has a link "socket:[inode]" for each that a
 * process holds. There is no other way from one to the other than to go through all of them, so it
 * is done once for each new socket, and for all new ones together.
 */
#include "agentd/portscan.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

struct search {
	struct portscan_port **wanted; /* by inode */
	size_t n, left;
};

int portscan_compare(const struct sockdiag_entry *a, const struct sockdiag_entry *b)
{
	if (a->port != b->port)
		return a->port < b->port ? -1 : 1;
	return a->inode == b->inode ? 0 : a->inode < b->inode ? -1 : 1;
}

static int compare_ports(const void *a, const void *b)
{
	return portscan_compare(
		&((const struct portscan_port *)a)->s, &((const struct portscan_port *)b)->s);
}

static int compare_numbers(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int compare_wanted(const void *a, const void *b)
{
	return compare_numbers(&(*(struct portscan_port *const *)a)->s.inode,
		&(*(struct portscan_port *const *)b)->s.inode);
}

static int found(void *ctx, const struct sockdiag_entry *e)
{
	struct portscan *s = ctx;

	if (s->n == PORTSCAN_MAX)
		return 0;
	if (s->n == s->room) {
		size_t room = s->room ? s->room * 2 : 16;
		struct portscan_port *p = realloc(s->ports, room * sizeof(*p));

		if (!p)
			return -ENOMEM;
		s->ports = p;
		s->room = room;
	}
	s->ports[s->n++] = (struct portscan_port){.s = *e};
	return 0;
}

/* ---- a process ---- */

static ssize_t read_file(pid_t pid, const char *name, char *out, size_t size)
{
	auto_close int fd = -1;
	char path[48];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, out, size - 1);
	out[max_of(n, 0)] = '\0';
	return n;
}

/* Its process group and session, then its parents, ending with the first process. */
static void read_line(struct portscan_port *p)
{
	char text[512];
	int group, session, parent;
	pid_t at = p->pid;
	size_t n = 0;

	while (n < PORTSCAN_LINE - 2 && at > 1) {
		const char *rest;

		if (read_file(at, "stat", text, sizeof(text)) <= 0)
			break;
		rest = strrchr(text, ')'); /* a name may hold anything, itself included */
		if (!rest || sscanf(rest + 1, " %*c %d %d %d", &parent, &group, &session) != 3)
			break;
		if (at == p->pid) {
			p->line[n++] = group;
			p->line[n++] = session;
		}
		at = p->line[n++] = parent;
	}
}

static void read_leaf(struct portscan_port *p, const char *cgroup)
{
	char text[1024], *at, *end;
	size_t len = strlen(cgroup);

	if (len == 0 || read_file(p->pid, "cgroup", text, sizeof(text)) <= 0)
		return;
	at = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	if (!at)
		return;
	at[strcspn(at + 1, "\n") + 1] = '\0';
	while ((at = strchr(at, '/'))) {
		at++;
		if (strncmp(at, cgroup, len) == 0 && at[len] == '/') {
			at += len + 1;
			end = strchrnul(at, '/');
			if ((size_t)(end - at) < sizeof(p->leaf))
				memcpy(p->leaf, at, (size_t)(end - at));
			return;
		}
	}
}

static void read_cmd(struct portscan_port *p)
{
	char text[PORTSCAN_CMD + 2];
	ssize_t n = read_file(p->pid, "cmdline", text, sizeof(text));

	if (n <= 0)
		return;
	p->cmd_cut = n > PORTSCAN_CMD;
	p->cmd_len = min_of((size_t)n, (size_t)PORTSCAN_CMD);
	p->cmd = malloc(p->cmd_len);
	if (!p->cmd)
		p->cmd_len = 0;
	else
		memcpy(p->cmd, text, p->cmd_len);
}

/* ---- the search ---- */

static void look_at(struct portscan *s, struct search *search, pid_t pid, const char *link)
{
	struct portscan_port key = {0}, *wanted = &key, **hit;
	unsigned long long inode;

	if (sscanf(link, "socket:[%llu]", &inode) != 1)
		return;
	key.s.inode = inode;
	hit = bsearch(&wanted, search->wanted, search->n, sizeof(void *), compare_wanted);
	if (!hit || (*hit)->pid)
		return;
	(*hit)->pid = pid;
	read_line(*hit);
	read_leaf(*hit, s->cgroup);
	read_cmd(*hit);
	search->left--;
}

static void look_into(struct portscan *s, struct search *search, pid_t pid)
{
	char path[32], link[64];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && search->left > 0 && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

		link[max_of(n, 0)] = '\0';
		look_at(s, search, pid, link);
	}
	if (dir)
		closedir(dir);
}

static void search_all(struct portscan *s, struct search *search)
{
	DIR *dir = search->left > 0 ? opendir("/proc") : NULL;
	struct dirent *entry;

	while (dir && search->left > 0 && (entry = readdir(dir))) {
		char *end;
		long pid = strtol(entry->d_name, &end, 10);

		if (*end == '\0' && pid > 0)
			look_into(s, search, (pid_t)pid);
	}
	if (dir)
		closedir(dir);
}

void portscan_run(struct portscan *s)
{
	struct search search = {0};

	s->error = sockdiag_listening(found, s);
	if (s->error < 0)
		return;
	if (s->n > 0)
		qsort(s->ports, s->n, sizeof(*s->ports), compare_ports);
	search.wanted = calloc(s->n + 1, sizeof(struct portscan_port *));
	if (!search.wanted) {
		s->error = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < s->n; i++) {
		struct portscan_port *p = &s->ports[i];

		p->looked = s->n_known == 0 || !bsearch(&p->s.inode, s->known, s->n_known,
						       sizeof(*s->known), compare_numbers);
		if (p->looked)
			search.wanted[search.n++] = p;
	}
	if (search.n > 0)
		qsort(search.wanted, search.n, sizeof(void *), compare_wanted);
	search.left = search.n;
	search_all(s, &search);
	free(search.wanted);
}

void portscan_fini(struct portscan *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->ports[i].cmd);
	free(take_ptr(&s->ports));
	free(take_ptr(&s->known));
	s->n = s->n_known = s->room = 0;
}
