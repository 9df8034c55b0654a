/*
 * atomic.h - a file that is there whole or not at all. It is written without a name (O_TMPFILE; a
 * hidden name where the file system has none of that) and put in place by atomic_commit(); until
 * then the target is untouched, and after atomic_abort() nothing is left.
 *
 * A target that is a symbolic link stays one: what it points to is replaced. An existing target
 * passes on its mode and owner; a new file belongs to whom place_give() says.
 *
 * All functions are T (workers.h), between place_enter() and place_leave().
 */
#pragma once

#include "agentd/place.h"

#define ATOMIC_MODE_KEEP ((mode_t)-1) /* that of the target, else 0644 */

enum atomic_how { ATOMIC_REPLACE, ATOMIC_NEW /* EEXIST when there is a target */ };

struct atomic {
	const struct place *place;
	int fd;  /* to be written to, and read from; owned */
	int dir; /* of the target; owned */
	char name[256];
	char temp[24]; /* "": no name yet */
	enum atomic_how how;
	bool exists; /* there was a target */
	mode_t mode;
	uid_t uid; /* exists: of the target */
	gid_t gid;
};

/* Parents must be there (place_make_parents). 0, or -errno with the error filled. */
int atomic_begin(struct atomic *a, const struct place *p, const char *path, mode_t mode,
	enum atomic_how how, struct error *e);
/* The same for `name` in `dir` (O_PATH will do; stays the caller's), which is replaced itself
 * should it be a link. 0 or -errno; ENOTSUP: neither a regular file nor a link. */
int atomic_begin_at(struct atomic *a, const struct place *p, int dir, const char *name, mode_t mode,
	enum atomic_how how);
/* 0: the file is there (sync: and on the disk). -errno: as after an abort. Ends it either way. */
int atomic_commit(struct atomic *a, bool sync);
/* Fine after a failed begin, a commit, or on a struct with fd and dir -1. */
void atomic_abort(struct atomic *a);
/* Unique enough to be tried with O_EXCL and the like. */
void atomic_hidden_name(char name[24]);
