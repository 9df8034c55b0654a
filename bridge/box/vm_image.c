/*
 * TEMPLATE@IDENTITY, the identity from sizes and times of the files it was copied from; snapshots
 * of it are called TEMPLATE@IDENTITY and more.
 */
#include "bridge/box/vm_image.h"

#include <dirent.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bridge/box/vm_copy.h"
#include "bridge/box/vm_files.h"

struct part {
	char from[80], to[32];
	mode_t mode;
};

#define PARTS 4

static void list_parts(const char *template, struct part parts[PARTS])
{
	static const struct part fixed[] = {
		{"vmlinuz", "vmlinuz", 0444},
		{"initramfs.img", "initramfs.img", 0444},
		{"vhost-device-vsock", "vhost-device-vsock", 0555},
	};

	memcpy(parts, fixed, sizeof(fixed));
	snprintf(parts[3].from, sizeof(parts[3].from), "%s.ext4", template);
	snprintf(parts[3].to, sizeof(parts[3].to), "base.ext4");
	parts[3].mode = 0444;
}

bool vm_image_name_ok(const char *template)
{
	size_t n = strlen(template);

	return n > 0 && n <= 40 && template[0] != '.' &&
	       strspn(template,
		       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n;
}

static void mix(uint64_t *h, uint64_t v)
{
	*h = (*h ^ v) * 0x9e3779b97f4a7c15ULL;
	*h ^= *h >> 29;
}

static int identify(const char *image_dir, const struct part parts[PARTS], uint64_t *ret)
{
	uint64_t h = PARTS;

	for (int i = 0; i < PARTS; i++) {
		char path[PATH_MAX];
		struct stat st;

		snprintf(path, sizeof(path), "%s/%s", image_dir, parts[i].from);
		if (stat(path, &st) < 0)
			return -errno;
		mix(&h, (uint64_t)st.st_size);
		mix(&h, (uint64_t)st.st_mtim.tv_sec);
		mix(&h, (uint64_t)st.st_mtim.tv_nsec);
	}
	*ret = h;
	return 0;
}

static int copy_parts(const char *image_dir, const char *dir, const struct part parts[PARTS])
{
	struct vm_files f = {.life = VM_STOPPED};
	int r = vm_files_make(dir, 0);

	for (int i = 0; r == 0 && i < PARTS; i++) {
		char from[PATH_MAX], to[PATH_MAX];

		snprintf(from, sizeof(from), "%s/%s", image_dir, parts[i].from);
		snprintf(to, sizeof(to), "%.4000s/%s", dir, parts[i].to);
		r = vm_copy(from, to, 0, parts[i].mode, NULL);
	}
	if (r == 0)
		r = vm_files_push(&f, parts[3].to);
	return r < 0 ? r : vm_files_save(dir, &f);
}

static void remove_older(const char *images, const char *template, const char *key)
{
	DIR *d = opendir(images);
	const struct dirent *e;
	size_t n = strlen(template);
	char path[PATH_MAX];

	while (d && (e = readdir(d))) {
		if (strncmp(e->d_name, template, n) != 0 || e->d_name[n] != '@' ||
			strncmp(e->d_name, key, strlen(key)) == 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", images, e->d_name);
		vm_files_remove(path);
	}
	if (d)
		closedir(d);
}

int vm_image_take(
	const char *image_dir, const char *images, const char *template, char key[VM_IMAGE_KEY])
{
	static atomic_uint number;
	struct part parts[PARTS];
	char dir[PATH_MAX], making[PATH_MAX];
	uint64_t identity = 0;
	int r;

	list_parts(template, parts);
	r = identify(image_dir, parts, &identity);
	if (r < 0)
		return r;
	snprintf(key, VM_IMAGE_KEY, "%s@%016llx", template, (unsigned long long)identity);
	snprintf(dir, sizeof(dir), "%s/%s", images, key);
	if (access(dir, F_OK) == 0)
		return 0;
	snprintf(making, sizeof(making), "%s/new-i%u", images, ++number);
	r = copy_parts(image_dir, making, parts);
	/* Another worker may have been faster. */
	if (r == 0 && rename(making, dir) < 0 && errno != EEXIST && errno != ENOTEMPTY)
		r = -errno;
	if (access(making, F_OK) == 0)
		vm_files_remove(making);
	if (r == 0)
		remove_older(images, template, key);
	return r;
}
