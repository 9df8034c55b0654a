/*
 * TEMPLATE@IDENTITY, the identity from sizes and times of the files it was copied from; snapshots
 * of it are called TEMPLATE@IDENTITY and more.
 */
#include "bridge/box/vm_image.h"

#include <dirent.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>

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

uint64_t vm_mix_file(uint64_t h, const struct stat *st)
{
	h = vm_mix(h, (uint64_t)st->st_size);
	h = vm_mix(h, (uint64_t)st->st_mtim.tv_sec);
	return vm_mix(h, (uint64_t)st->st_mtim.tv_nsec);
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
		h = vm_mix_file(h, &st);
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
		/* No sum would tell later that a loss of power tore it. */
		if (r == 0)
			r = vm_files_settle(to);
	}
	if (r == 0)
		r = vm_files_push(&f, parts[3].to);
	return r < 0 ? r : vm_files_save(dir, &f);
}

void vm_image_remove(const char *images, const char *like, const char *key)
{
	DIR *d = opendir(images);
	const struct dirent *e;
	char path[PATH_MAX];

	while (d && (e = readdir(d))) {
		if (strncmp(e->d_name, like, strlen(like)) != 0 ||
			(key && strncmp(e->d_name, key, strlen(key)) == 0))
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
	char dir[PATH_MAX], making[PATH_MAX], like[VM_IMAGE_KEY];
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
	snprintf(like, sizeof(like), "%s@", template);
	if (r == 0)
		vm_image_remove(images, like, key);
	return r;
}
