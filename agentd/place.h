/*
 * place.h - where a file operation happens and with whose rights: `path`, `root`, `user` and
 * `owner` of docs/protocol.md section 13. Made on the loop, used on a worker (T).
 *
 * Every path of an operation goes through here, so that `root` cannot be left: with a root all
 * names are resolved by openat2(RESOLVE_BENEATH); a race of symbolic links is the kernel's to
 * decide. Where the kernel has no openat2, an operation with a root fails with ENOSYS rather than
 * being less safe.
 */
#pragma once

#include <sys/stat.h>

#include "agentd/config.h"
#include "agentd/user.h"
#include "proto/msg_file.h"

struct place {
	char *path; /* owned; absolute when there is no root */
	char *root; /* owned; NULL: none */
	char *home; /* owned; where other relative names begin; NULL with a root */
	bool as_user;
	struct user user;
	struct msg_owner owner;
	char *mem;
};

/* Copies all it needs. -ENOENT and the like with the error filled: no such user. */
int place_init(
	struct place *p, const struct msg_where *w, const struct config *config, struct error *e);
/* The same for an operation that has no name but `path`: spares it looking for a home. */
int place_init_lone(
	struct place *p, const struct msg_where *w, const struct config *config, struct error *e);
void place_fini(struct place *p);

/* T. This thread acts with the user's rights on files (fsuid, fsgid, groups) until place_leave().
 * 0 or -errno. Nothing happens when no user was named. */
int place_enter(const struct place *p);
void place_leave(const struct place *p);

/* T. `path`: p->path, or another of the same operation. O_CLOEXEC is added, and O_NONBLOCK where a
 * FIFO could block the open. A descriptor or -errno. */
int place_open(const struct place *p, const char *path, int flags, mode_t mode);
/* T. Opens what has bytes: a regular file (EISDIR: a directory). FIFOs, sockets and devices are
 * E_SPECIAL_FILE unless `special`, and not even opened: opening can be an act of its own. A
 * descriptor, or -errno with the error filled. */
int place_open_file(const struct place *p, const char *path, int flags, bool special,
	struct stat *ret, struct error *e);
/* T. The directory that holds the last component (O_PATH) and its name, for the *at() calls; the
 * last component is not followed. "" and "/" and what ends in ".." : -EINVAL / -EBUSY. */
int place_parent(const struct place *p, const char *path, int *ret_dir, char name[256]);
/* T. To whom an entry newly made in `dir` belongs; and gives it to them (fd: the new file). Only
 * tried where we may. */
void place_give(const struct place *p, int dir, int fd);
/* T. Exactly this mode; the descriptor may be an O_PATH one, and of anything but a link. */
int place_chmod(int fd, mode_t mode);
/* T. A new directory, of exactly this mode, given to its owner. 0 or -errno. */
int place_mkdir_at(const struct place *p, int dir, const char *name, mode_t mode);
/* T. mkdir -p of the directory that holds path (or of path itself), each new one given to its
 * owner. The number made, or -errno. */
int place_make_parents(const struct place *p, const char *path, mode_t mode, bool itself);
/* "path: what the kernel says", E_FAILED; returns -err. */
int place_error(struct error *e, int err, const char *path);
