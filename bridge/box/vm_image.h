/*
 * vm_image.h - an image of the image directory, as machines use it: copied into the state
 * directory, so that it can be replaced there while machines live on it. Blocks: for workers.
 */
#pragma once

#include <sys/stat.h>

#include "base/base.h"

#define VM_IMAGE_KEY 96

/* May a template be called that? */
bool vm_image_name_ok(const char *template);
/* Copies it unless it is there: images/KEY. Older ones of that template are removed, with their
 * snapshots. -ENOENT: no such image. */
int vm_image_take(
	const char *image_dir, const char *images, const char *template, char key[VM_IMAGE_KEY]);
/* What a file is recognised by: its size and time. */
uint64_t vm_mix_file(uint64_t h, const struct stat *st);
/* Removes what in images/ has a name that begins with `like`, and not with `key` (may be NULL). */
void vm_image_remove(const char *images, const char *like, const char *key);
