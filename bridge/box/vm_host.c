/*
 * What the machines of a bridge share: directories, numbers, users; and what a bridge before us
 * left unfinished.
 */
#include <dirent.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "bridge/box/vm_golden.h"
#include "bridge/box/vm_host.h"

#define CIDS      10000 /* taken from the counter at once */
#define UID_FIRST 0x70000000U
#define UIDS      0x0ffffffeU

static int read_counter(const char *path, uint32_t *ret)
{
	FILE *f = fopen(path, "re");
	unsigned v = 0;
	int n;

	*ret = 0;
	if (!f)
		return errno == ENOENT ? 0 : -errno;
	n = fscanf(f, "%u", &v);
	fclose(f);
	*ret = v;
	return n == 1 ? 0 : -EBADMSG;
}

static int write_counter(const struct vm_host *h, const char *path, uint32_t v)
{
	char fresh[BOX_PATH_MAX + 8];
	FILE *f;
	int r = 0;

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	f = fopen(fresh, "we");
	if (!f)
		return -errno;
	if (fprintf(f, "%u\n", v) < 0 || fflush(f) != 0 || fsync(fileno(f)) < 0)
		r = -errno;
	if (fclose(f) != 0 && r == 0)
		r = -errno;
	if (r == 0 && rename(fresh, path) < 0)
		r = -errno;
	return r < 0 ? r : vm_files_settle(h->images);
}

/* A new range. Another bridge on this host begins elsewhere. */
static int take_cids(struct vm_host *h)
{
	char path[BOX_PATH_MAX];
	uint32_t first, chance = 0;
	int r;

	snprintf(path, sizeof(path), "%.200s/last-cid", h->images);
	r = read_counter(path, &first);
	if (r < 0)
		return r;
	if (first == 0 && getrandom(&chance, sizeof(chance), 0) == sizeof(chance))
		first = 1000 + chance % 100000 * CIDS;
	if (first < 1000 || first > 0xf0000000U)
		first = 1000;
	r = write_counter(h, path, first + CIDS);
	if (r < 0)
		return r;
	h->cid = first;
	h->cid_end = first + CIDS;
	return 0;
}

uint32_t vm_host_cid(struct vm_host *h)
{
	if (h->cid == h->cid_end && take_cids(h) < 0)
		return 0;
	return h->cid++;
}

void vm_host_hold(struct vm_host *h)
{
	h->users++;
}

void vm_host_let_go(struct vm_host *h)
{
	if (--h->users == 0)
		free(h);
}

uid_t vm_host_uid(uint32_t cid)
{
	return geteuid() == 0 ? UID_FIRST + cid % UIDS : 0;
}

/* What was being made when a bridge before us ended. */
static void remove_unfinished(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		char path[BOX_PATH_MAX + 256];
		size_t n = strlen(e->d_name);

		if (strncmp(e->d_name, "new-", 4) != 0 &&
			(n < 4 || strcmp(e->d_name + n - 4, ".new") != 0))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		vm_process_reap(path, 5000);
		vm_files_remove(path);
	}
	if (d)
		closedir(d);
}

static int make_dir(const char *state_dir, const char *name, char *out, size_t size)
{
	int n = snprintf(out, size, "%s/%s", state_dir, name);

	if (n < 0 || (size_t)n >= size)
		return -ENAMETOOLONG;
	if (mkdir(out, 0711) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

static int open_host(struct vm_host *h)
{
	char boxes[BOX_PATH_MAX];
	const char *state_dir = h->config->state_dir;
	struct stat st;
	int r = make_dir(state_dir, "boxes", boxes, sizeof(boxes));

	if (r == 0)
		r = make_dir(state_dir, "images", h->images, sizeof(h->images));
	if (r == 0)
		r = make_dir(state_dir, "checkpoints", h->checkpoints, sizeof(h->checkpoints));
	if (r < 0)
		return r;
	if (stat("/dev/kvm", &st) == 0)
		h->kvm_group = st.st_gid;
	remove_unfinished(h->images);
	remove_unfinished(h->checkpoints);
	return goldens_open(h);
}

int vm_host_open(struct boxes *bs, char *why, size_t why_size)
{
	/* "boxes/", an id, "/run/vsock" and a NUL */
	const size_t room = TARGET_PATH_MAX - sizeof("/boxes//run/vsock") - BOX_ID_MAX;
	struct vm_host *h;
	int r;

	if (!bs->config->image_dir) {
		snprintf(why, why_size, "no directory with images was given");
		return -EINVAL;
	}
	if (strlen(bs->config->state_dir) > room) {
		snprintf(why, why_size,
			"the path of the state directory is longer than %zu bytes, "
			"too long for the sockets of machines in it",
			room);
		return -ENAMETOOLONG;
	}
	h = xcalloc(1, sizeof(*h));
	h->users = 1;
	h->loop = bs->loop;
	list_init(&h->drops);
	h->config = bs->config;
	r = open_host(h);
	if (r < 0) {
		snprintf(why, why_size, "%s: %s", bs->config->state_dir, strerror(-r));
		free(h);
		return r;
	}
	bs->state = h;
	return 0;
}

void vm_host_close(struct boxes *bs)
{
	struct vm_host *h = bs->state;

	goldens_close(h);
	vm_drops_close(h);
	vm_host_let_go(h);
}
