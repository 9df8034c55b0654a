/*
 * local_file.h - a file of ours that is there whole or not at all: written without a name, or a
 * hidden one, and put in place at the end. What is there already passes on its mode.
 */
#pragma once

#include <sys/stat.h>

#include "base/base.h"

struct local_file {
	int fd;  /* to be written to; owned; -1: not begun */
	int dir; /* owned */
	char name[256];
	char temp[32]; /* "": no name yet */
	mode_t mode;
	bool direct; /* no file to be replaced, but something that takes bytes */
};

#define LOCAL_FILE_NULL ((struct local_file){.fd = -1, .dir = -1})

/* `name` in the directory (which stays the caller's); a link of that name is replaced. mode: of a
 * new file, before the umask. 0 or -errno. */
int local_file_begin(struct local_file *f, int dir, const char *name, mode_t mode);
/* Something that is there and takes bytes as they come: a FIFO, a terminal, a device. */
int local_file_direct(struct local_file *f, const char *path);
/* 0 or -errno: then nothing has changed. times: the file's mtime, or NULL. */
int local_file_commit(struct local_file *f, const struct timespec *mtime);
void local_file_abort(struct local_file *f); /* idempotent */
