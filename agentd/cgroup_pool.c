/*
 * Leaves are directories "s<number>". Every number is in one of these conditions:
 *
 *   free      no directory of ours
 *   used      handed out, until cgroup_leaf_close
 *   closed    given back; in a slot: its descriptors are kept, and once it is empty it is handed
 * out again orphan    given back or left by a former agent, without a slot: removed once it is
 * empty
 *
 * `taken` has a bit for all but the free, `orphan` for the orphans. A slot holds the descriptors of
 * a used or closed leaf, so that a session of the usual kind (started when there is an idle leaf)
 * costs one read of cgroup.events and nothing else. Beyond the slots leaves work as well, at the
 * price of mkdir and rmdir.
 *
 * Nothing is waited for: emptiness is looked at when a leaf is wanted, a few leaves at a time.
 */
#include "agentd/cgroup_pool.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define LEAVES_MAX 16384
#define SLOTS      32
#define IDLE_MAX   16 /* closed leaves that are kept */
#define LOOKS_MAX  4  /* closed leaves or orphans looked at in one call */

#define POPULATED_MAX 3 /* looks after which a closed leaf is taken for occupied */

enum slot_state { SLOT_FREE, SLOT_USED, SLOT_CLOSED };

struct slot {
	enum slot_state state;
	unsigned leaf;
	unsigned looks; /* that found the closed leaf populated */
	bool empty;     /* closed, and was seen to be empty then */
	bool spoiled;   /* cgroup.kill was used: what is cloned into it later dies at once
			   (Linux 6.18) */
	int dir;
	int events; /* cgroup.events */
	int memory; /* memory.events, or -1 */
};

struct cgroup_pool {
	uint64_t taken[LEAVES_MAX / 64];
	uint64_t orphan[LEAVES_MAX / 64];
	unsigned n_orphans;
	unsigned n_closed;  /* slots in that state */
	unsigned next_look; /* where the next search for an empty one starts: slots, orphans */
	unsigned next_orphan;
	struct slot slots[SLOTS];
	int loose; /* the directory of the last leaf without a slot */
};

/* bits, names, files */

static bool bit_is_set(const uint64_t *map, unsigned i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static void bit_set(uint64_t *map, unsigned i, bool on)
{
	uint64_t mask = 1ULL << (i % 64);

	map[i / 64] = on ? map[i / 64] | mask : map[i / 64] & ~mask;
}

static void set_orphan(struct cgroup_pool *p, unsigned leaf, bool on)
{
	if (bit_is_set(p->orphan, leaf) != on)
		p->n_orphans += on ? 1U : -1U;
	bit_set(p->orphan, leaf, on);
}

static void leaf_name(unsigned leaf, char ret[CGROUP_LEAF_NAME])
{
	snprintf(ret, CGROUP_LEAF_NAME, "s%u", leaf);
}

/* Exactly as leaf_name writes it. */
static bool parse_leaf(const char *name, unsigned *ret)
{
	char again[CGROUP_LEAF_NAME];
	unsigned long leaf = *name == 's' ? strtoul(name + 1, NULL, 10) : LEAVES_MAX;

	if (leaf >= LEAVES_MAX)
		return false;
	leaf_name((unsigned)leaf, again);
	*ret = (unsigned)leaf;
	return strcmp(name, again) == 0;
}

/* The value behind `key` in a file of "key value" lines, read from its start; -errno, -ENODATA
 * without the key. */
static int64_t read_value(int fd, const char *key)
{
	char text[1024];
	size_t len = strlen(key);
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	for (char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, len) == 0 && line[len] == ' ')
			return strtoll(line + len + 1, NULL, 10);
	}
	return -ENODATA;
}

int cgroup_leaf_file(const struct cgroup *cg, const char *name, const char *file, int flags)
{
	char path[CGROUP_LEAF_NAME + 32];
	unsigned leaf;
	int fd;

	if (cg->dir < 0 || !parse_leaf(name, &leaf))
		return -ENOENT;
	snprintf(path, sizeof(path), "%s/%s", name, file);
	fd = openat(cg->dir, path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* the pool */

/* Removes the directory if it is empty; then, or when there is none, the number is free. */
static bool remove_leaf(struct cgroup *cg, unsigned leaf)
{
	char name[CGROUP_LEAF_NAME];

	leaf_name(leaf, name);
	if (unlinkat(cg->dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT && errno != ENODEV)
		return false;
	set_orphan(cg->pool, leaf, false);
	bit_set(cg->pool->taken, leaf, false);
	return true;
}

static void slot_clear(struct cgroup_pool *p, struct slot *slot)
{
	if (slot->state == SLOT_CLOSED)
		p->n_closed--;
	close_fd(&slot->dir);
	close_fd(&slot->events);
	close_fd(&slot->memory);
	slot->state = SLOT_FREE;
}

/* Frees the slot; its leaf goes as well, now or when it is empty. */
static void slot_evict(struct cgroup *cg, struct slot *slot)
{
	unsigned leaf = slot->leaf;

	slot_clear(cg->pool, slot);
	if (!remove_leaf(cg, leaf))
		set_orphan(cg->pool, leaf, true);
}

static struct slot *slot_of(struct cgroup_pool *p, unsigned leaf)
{
	for (size_t i = 0; i < SLOTS; i++) {
		if (p->slots[i].state != SLOT_FREE && p->slots[i].leaf == leaf)
			return &p->slots[i];
	}
	return NULL;
}

static struct slot *slot_find(struct cgroup_pool *p, enum slot_state state)
{
	for (size_t i = 0; i < SLOTS; i++) {
		if (p->slots[i].state == state)
			return &p->slots[i];
	}
	return NULL;
}

static void reap_orphans(struct cgroup *cg)
{
	struct cgroup_pool *p = cg->pool;
	unsigned looks = 0;

	for (unsigned words = 0; p->n_orphans && looks < LOOKS_MAX && words < LEAVES_MAX / 64;) {
		unsigned word = p->next_orphan / 64 % (LEAVES_MAX / 64);
		uint64_t left = p->orphan[word] & (~0ULL << (p->next_orphan % 64));

		if (!left) {
			p->next_orphan = (word + 1) * 64 % LEAVES_MAX;
			words++;
			continue;
		}
		p->next_orphan = word * 64 + (unsigned)__builtin_ctzll(left);
		remove_leaf(cg, p->next_orphan);
		looks++;
		p->next_orphan = (p->next_orphan + 1) % LEAVES_MAX;
		words += p->next_orphan % 64 == 0;
	}
}

/* A closed leaf that has become empty, or NULL. */
static struct slot *reuse(struct cgroup *cg)
{
	struct cgroup_pool *p = cg->pool;
	unsigned looks = 0;

	for (unsigned i = 0; i < SLOTS && p->n_closed && looks < LOOKS_MAX; i++) {
		struct slot *slot = &p->slots[p->next_look % SLOTS];
		int64_t populated;

		if (slot->state == SLOT_CLOSED) {
			looks++;
			populated = slot->empty ? 0 : read_value(slot->events, "populated");
			if (populated == 0) {
				slot->state = SLOT_USED;
				slot->empty = false;
				p->n_closed--;
				return slot; /* and look here first again: it will be the warmest */
			}
			/* Somebody removed it, or something stays in it. */
			if (populated < 0 || ++slot->looks == POPULATED_MAX)
				slot_evict(cg, slot);
		}
		p->next_look = (p->next_look + 1) % SLOTS;
	}
	return NULL;
}

/* A new directory under a free number. A name that is there although we have not taken it is left
 * alone. */
static int make_leaf(struct cgroup *cg, char name[CGROUP_LEAF_NAME], unsigned *ret)
{
	struct cgroup_pool *p = cg->pool;

	for (unsigned word = 0; word < LEAVES_MAX / 64; word++) {
		while (~p->taken[word]) {
			unsigned leaf = word * 64 + (unsigned)__builtin_ctzll(~p->taken[word]);

			leaf_name(leaf, name);
			if (mkdirat(cg->dir, name, 0755) == 0) {
				bit_set(p->taken, leaf, true);
				*ret = leaf;
				return 0;
			}
			if (errno != EEXIST)
				return -errno;
			bit_set(p->taken, leaf, true);
			set_orphan(p, leaf, true);
		}
	}
	return -EMFILE;
}

static int open_new(struct cgroup *cg, char name[CGROUP_LEAF_NAME])
{
	struct cgroup_pool *p = cg->pool;
	struct slot *slot;
	unsigned leaf = 0;
	int dir, r = make_leaf(cg, name, &leaf);

	if (r < 0)
		return r;
	dir = openat(cg->dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0) {
		r = -errno;
		remove_leaf(cg, leaf);
		return r;
	}
	slot = slot_find(p, SLOT_FREE);
	if (slot) {
		slot->events = cgroup_leaf_file(cg, name, "cgroup.events", O_RDONLY);
		if (slot->events >= 0) {
			slot->memory = cgroup_leaf_file(cg, name, "memory.events", O_RDONLY);
			slot->leaf = leaf;
			slot->spoiled = slot->empty = false;
			slot->dir = dir;
			slot->state = SLOT_USED;
			return dir;
		}
	}
	p->loose = dir;
	return dir;
}

int cgroup_leaf_open(struct cgroup *cg, char ret_name[CGROUP_LEAF_NAME])
{
	char name[CGROUP_LEAF_NAME];
	struct slot *slot;
	int fd;

	if (cg->dir < 0)
		return -EOPNOTSUPP;
	close_fd(&cg->pool->loose);
	slot = reuse(cg);
	if (slot) {
		leaf_name(slot->leaf, ret_name);
		return slot->dir;
	}
	reap_orphans(cg);
	fd = open_new(cg, name);
	if (fd >= 0)
		memcpy(ret_name, name, sizeof(name));
	return fd;
}

int cgroup_leaf_open_own(struct cgroup *cg, char ret_name[CGROUP_LEAF_NAME])
{
	char name[CGROUP_LEAF_NAME];
	int fd;

	if (cg->dir < 0)
		return -EOPNOTSUPP;
	close_fd(&cg->pool->loose);
	reap_orphans(cg);
	fd = open_new(cg, name);
	if (fd >= 0) {
		cgroup_pool_spoil(cg, name);
		memcpy(ret_name, name, sizeof(name));
	}
	return fd;
}

int cgroup_leaf_claim(struct cgroup *cg, const char *name)
{
	unsigned leaf;

	if (cg->dir < 0)
		return -EOPNOTSUPP;
	if (!parse_leaf(name, &leaf))
		return -EINVAL;
	bit_set(cg->pool->taken, leaf, true);
	set_orphan(cg->pool, leaf, false);
	return 0;
}

static void close_leaf(struct cgroup *cg, const char *name, bool empty)
{
	struct cgroup_pool *p = cg->pool;
	struct slot *slot;
	unsigned leaf;

	if (cg->dir < 0 || !parse_leaf(name, &leaf) || !bit_is_set(p->taken, leaf))
		return;
	slot = slot_of(p, leaf);
	if (!slot) {
		if (!remove_leaf(cg, leaf))
			set_orphan(p, leaf, true);
	} else if (slot->state == SLOT_USED) {
		/* A count of killed processes must not pass to the next session. */
		if (p->n_closed == IDLE_MAX || slot->spoiled ||
			(slot->memory >= 0 && read_value(slot->memory, "oom_kill") != 0)) {
			slot_evict(cg, slot);
			return;
		}
		slot->state = SLOT_CLOSED;
		slot->looks = 0;
		slot->empty = empty;
		p->n_closed++;
	}
}

void cgroup_leaf_close(struct cgroup *cg, const char *name)
{
	close_leaf(cg, name, false);
}

void cgroup_leaf_close_empty(struct cgroup *cg, const char *name)
{
	close_leaf(cg, name, true);
}

void cgroup_pool_spoil(struct cgroup *cg, const char *name)
{
	struct slot *slot;
	unsigned leaf;

	if (cg->dir < 0 || !parse_leaf(name, &leaf))
		return;
	slot = slot_of(cg->pool, leaf);
	if (slot)
		slot->spoiled = true;
}

void cgroup_idle(struct cgroup *cg)
{
	struct cgroup_pool *p = cg->pool;

	if (cg->dir < 0)
		return;
	close_fd(&p->loose);
	for (size_t i = 0; i < SLOTS; i++) {
		if (p->slots[i].state == SLOT_CLOSED)
			slot_evict(cg, &p->slots[i]);
	}
	reap_orphans(cg);
}

/* Through the slot's descriptor, where there is one. 0 when it cannot be known. */
static int64_t leaf_value(struct cgroup *cg, const char *name, bool memory, const char *key)
{
	auto_close int own = -1;
	struct slot *slot;
	unsigned leaf;
	int64_t value;
	int fd;

	if (cg->dir < 0 || !parse_leaf(name, &leaf))
		return 0;
	slot = slot_of(cg->pool, leaf);
	if (slot) {
		fd = memory ? slot->memory : slot->events;
	} else {
		own = cgroup_leaf_file(
			cg, name, memory ? "memory.events" : "cgroup.events", O_RDONLY);
		fd = own;
	}
	value = fd < 0 ? 0 : read_value(fd, key);
	return max_of(value, 0);
}

bool cgroup_leaf_populated(struct cgroup *cg, const char *name)
{
	return leaf_value(cg, name, false, "populated") != 0;
}

uint64_t cgroup_leaf_oom_kills(struct cgroup *cg, const char *name)
{
	return (uint64_t)leaf_value(cg, name, true, "oom_kill");
}

/* all of them */

struct cgroup_pool *cgroup_pool_new(void)
{
	struct cgroup_pool *p = xcalloc(1, sizeof(*p));

	p->loose = -1;
	for (size_t i = 0; i < SLOTS; i++)
		p->slots[i].dir = p->slots[i].events = p->slots[i].memory = -1;
	return p;
}

void cgroup_pool_adopt(struct cgroup *cg, bool remove_empty)
{
	int fd = openat(cg->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	unsigned leaf;

	if (!dir) {
		close_fd(&fd);
		return;
	}
	while ((entry = readdir(dir))) {
		if (!parse_leaf(entry->d_name, &leaf))
			continue;
		bit_set(cg->pool->taken, leaf, true);
		set_orphan(cg->pool, leaf, true);
		if (remove_empty)
			remove_leaf(cg, leaf);
	}
	closedir(dir);
}

void cgroup_pool_free(struct cgroup *cg, bool used_too)
{
	struct cgroup_pool *p = cg->pool;

	for (size_t i = 0; i < SLOTS; i++) {
		if (p->slots[i].state == SLOT_CLOSED)
			slot_evict(cg, &p->slots[i]);
		slot_clear(p, &p->slots[i]);
	}
	for (unsigned leaf = 0; leaf < LEAVES_MAX; leaf++) {
		if (bit_is_set(p->orphan, leaf) || (used_too && bit_is_set(p->taken, leaf)))
			remove_leaf(cg, leaf);
	}
	close_fd(&p->loose);
	free(p);
	cg->pool = NULL;
}
