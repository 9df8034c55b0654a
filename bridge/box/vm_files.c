/*
 * The description is JSON of our own, a few hundred bytes. It is checked like a stranger's: a disk
 * that was full once may have left anything.
 */
#include "bridge/box/vm_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "proto/jsonr.h"
#include "proto/jsonw.h"

#define JSON_MAX (32 * 1024)
#define NEW_JSON VM_JSON ".new"

static const char *const lives[] = {
	[VM_STOPPED] = "stopped", [VM_RUNNING] = "running", [VM_ASLEEP] = "asleep"};
/* Links beside the layers, in every directory. */
static const char *const common[] = {"vmlinuz", "initramfs.img", "vhost-device-vsock"};
static const char *const others[] = {VM_JSON, VM_RUN, "qemu.log", "vsock.log"};

/* ---- reading ---- */

static bool is_name(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && n < VM_NAME_MAX && s[0] != '.' &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

static int get_name(struct jsonr v, bool may_be_empty, char ret[VM_NAME_MAX])
{
	auto_free char *s = NULL;

	if (jsonr_str(v, &s) < 0 || (!is_name(s) && !(may_be_empty && *s == '\0')))
		return -EBADMSG;
	snprintf(ret, VM_NAME_MAX, "%s", s);
	return 0;
}

static int get_u64(struct jsonr o, const char *name, uint64_t max, uint64_t *ret)
{
	struct jsonr v;

	return jsonr_member(o, name, &v) && jsonr_u64(v, max, ret) == 0 ? 0 : -EBADMSG;
}

static int get_unsigned(struct jsonr o, const char *name, unsigned *ret)
{
	uint64_t v = 0;
	int r = get_u64(o, name, UINT32_MAX, &v);

	*ret = (unsigned)v;
	return r;
}

static int get_life(struct jsonr o, enum vm_life *ret)
{
	struct jsonr v;

	for (size_t i = 0; jsonr_member(o, "life", &v) && i < array_size(lives); i++) {
		if (jsonr_is_str(v, lives[i])) {
			*ret = (enum vm_life)i;
			return 0;
		}
	}
	return -EBADMSG;
}

static int get_layers(struct jsonr o, struct vm_files *f)
{
	struct jsonr list, v;
	struct jsonr_walk w;

	if (!jsonr_member(o, "layers", &list) || !jsonr_is(list, '[') || !jsonr_begin(&w, list))
		return -EBADMSG;
	while (jsonr_next(&w, NULL, &v)) {
		char name[VM_NAME_MAX];

		if (get_name(v, false, name) < 0 || vm_files_push(f, name) < 0)
			return -EBADMSG;
	}
	return f->n_layers > 0 ? 0 : -EBADMSG;
}

static int get_saved(struct jsonr o, struct vm_saved *s)
{
	struct jsonr ram, device;

	if (!jsonr_member(o, "ram", &ram) || !jsonr_member(o, "device", &device) ||
		get_name(ram, true, s->ram) < 0 || get_name(device, true, s->device) < 0)
		return -EBADMSG;
	return get_u64(o, "ram_sum", UINT64_MAX, &s->ram_sum) == 0 &&
			       get_u64(o, "ram_bytes", INT64_MAX, &s->ram_bytes) == 0 &&
			       get_u64(o, "device_sum", UINT64_MAX, &s->device_sum) == 0
		       ? 0
		       : -EBADMSG;
}

static int parse(const char *text, size_t len, struct vm_files *f)
{
	struct jsonr o, v;

	if (jsonr_parse(text, len, &o) < 0 || !jsonr_is(o, '{') || get_life(o, &f->life) < 0 ||
		get_unsigned(o, "cid", &f->cid) < 0 || get_unsigned(o, "cpus", &f->cpus) < 0 ||
		get_unsigned(o, "memory_mb", &f->memory_mb) < 0 ||
		get_u64(o, "last", UINT64_MAX - 1, &f->last) < 0 || get_saved(o, &f->saved) < 0 ||
		get_layers(o, f) < 0 || !jsonr_member(o, "network", &v))
		return -EBADMSG;
	f->network = jsonr_is(v, 't');
	if (jsonr_member(o, "scaled_mb", &v) && get_unsigned(o, "scaled_mb", &f->scaled_mb) < 0)
		return -EBADMSG;
	/* One that sleeps has all that takes. */
	if (f->life == VM_ASLEEP && (f->saved.ram[0] == '\0' || f->saved.device[0] == '\0'))
		return -EBADMSG;
	return 0;
}

static int join(char *out, const char *dir, const char *name)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int vm_files_load(const char *dir, struct vm_files *ret)
{
	char path[PATH_MAX], text[JSON_MAX];
	auto_close int fd = -1;
	ssize_t n;

	*ret = (struct vm_files){0};
	if (join(path, dir, VM_JSON) < 0)
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text));
	if (n < 0)
		return -errno;
	return parse(text, (size_t)n, ret);
}

/* ---- writing ---- */

static int print(const struct vm_files *f, char *out, size_t size, size_t *ret_len)
{
	struct jsonw w;

	jsonw_init(&w, out, size);
	jsonw_open(&w, NULL, '{');
	jsonw_str(&w, "life", lives[f->life]);
	jsonw_u64(&w, "cid", f->cid);
	jsonw_u64(&w, "cpus", f->cpus);
	jsonw_u64(&w, "memory_mb", f->memory_mb);
	if (f->scaled_mb)
		jsonw_u64(&w, "scaled_mb", f->scaled_mb);
	jsonw_bool(&w, "network", f->network);
	jsonw_u64(&w, "last", f->last);
	jsonw_str(&w, "ram", f->saved.ram);
	jsonw_str(&w, "device", f->saved.device);
	jsonw_u64(&w, "ram_sum", f->saved.ram_sum);
	jsonw_u64(&w, "ram_bytes", f->saved.ram_bytes);
	jsonw_u64(&w, "device_sum", f->saved.device_sum);
	jsonw_open(&w, "layers", '[');
	for (unsigned i = 0; i < f->n_layers; i++)
		jsonw_str(&w, NULL, f->layers[i]);
	jsonw_close(&w, ']');
	jsonw_close(&w, '}');
	*ret_len = w.len;
	return w.overflow ? -ENOBUFS : 0;
}

static int write_file(const char *path, const char *text, size_t len)
{
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, len);
	if (n < 0 || fsync(fd) < 0)
		return -errno;
	return (size_t)n == len ? 0 : -ENOSPC;
}

int vm_files_settle(const char *path)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int vm_files_save(const char *dir, const struct vm_files *f)
{
	auto_free char *text = malloc(JSON_MAX);
	char from[PATH_MAX], to[PATH_MAX];
	size_t len;
	int r;

	if (!text)
		return -ENOMEM;
	if (print(f, text, JSON_MAX, &len) < 0 || join(from, dir, NEW_JSON) < 0 ||
		join(to, dir, VM_JSON) < 0)
		return -ENAMETOOLONG;
	r = write_file(from, text, len);
	if (r < 0) {
		unlink(from);
		return r;
	}
	if (rename(from, to) < 0)
		return -errno;
	return vm_files_settle(dir);
}

/* ---- the other files ---- */

void vm_files_name(
	struct vm_files *f, const char *prefix, const char *suffix, char ret[VM_NAME_MAX])
{
	int n = snprintf(ret, VM_NAME_MAX, "%s-%u.%llu%s", prefix, f->cid,
		(unsigned long long)++f->last, suffix);

	ASSERT(n > 0 && n < VM_NAME_MAX);
}

int vm_files_push(struct vm_files *f, const char *layer)
{
	if (f->n_layers == VM_LAYERS_MAX)
		return -E2BIG;
	snprintf(f->layers[f->n_layers++], VM_NAME_MAX, "%s", layer);
	return 0;
}

static int link_one(const char *from, const char *to, const char *name)
{
	char a[PATH_MAX], b[PATH_MAX];

	if (join(a, from, name) < 0 || join(b, to, name) < 0)
		return -ENAMETOOLONG;
	return link(a, b) < 0 && errno != EEXIST ? -errno : 0;
}

int vm_files_link(const struct vm_files *f, const char *from, const char *to)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < array_size(common); i++)
		r = link_one(from, to, common[i]);
	for (unsigned i = 0; r == 0 && i < f->n_layers; i++)
		r = link_one(from, to, f->layers[i]);
	return r;
}

static bool is_one_of(const char *name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(name, list[i]) == 0)
			return true;
	}
	return false;
}

static bool is_needed(const struct vm_files *f, const char *name)
{
	if (strcmp(name, f->saved.ram) == 0 || strcmp(name, f->saved.device) == 0 ||
		is_one_of(name, common, array_size(common)) ||
		is_one_of(name, others, array_size(others)))
		return true;
	for (unsigned i = 0; i < f->n_layers; i++) {
		if (strcmp(name, f->layers[i]) == 0)
			return true;
	}
	return false;
}

/* f NULL: nothing is needed. */
static void remove_files(const char *dir, const struct vm_files *f)
{
	DIR *d = opendir(dir);
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		bool dots = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;

		if (!dots && (!f || !is_needed(f, e->d_name)))
			unlinkat(dirfd(d), e->d_name, 0);
	}
	if (d)
		closedir(d);
}

/* Its sockets are of no use to a machine without processes. */
static void empty_run(const char *dir)
{
	char run[PATH_MAX];

	if (join(run, dir, VM_RUN) == 0)
		remove_files(run, NULL);
}

void vm_files_sweep(const char *dir, const struct vm_files *f)
{
	remove_files(dir, f);
	if (f->life != VM_RUNNING)
		empty_run(dir);
}

int vm_files_make(const char *dir, uid_t uid)
{
	char run[PATH_MAX];

	if (join(run, dir, VM_RUN) < 0)
		return -ENAMETOOLONG;
	/* Its processes go through it, whatever our umask is. */
	if (mkdir(dir, 0710) < 0 || chmod(dir, 0710) < 0 || mkdir(run, 0700) < 0)
		return -errno;
	if (uid != 0 && (chown(dir, 0, uid) < 0 || chown(run, uid, uid) < 0))
		return -errno;
	return 0;
}

int vm_files_remove(const char *dir)
{
	char run[PATH_MAX];

	if (join(run, dir, VM_RUN) < 0)
		return -ENAMETOOLONG;
	remove_files(run, NULL);
	rmdir(run);
	if (join(run, dir, VM_JSON) == 0)
		unlink(run); /* first: half a machine is none */
	remove_files(dir, NULL);
	return rmdir(dir) < 0 && errno != ENOENT ? -errno : 0;
}
