/*
 * tar.h - the archive format, bytes in and bytes out. Written: ustar, with a pax header before an
 * entry that does not fit it (long names, more than 8 GiB, times with a fraction). Read: these,
 * what GNU tar writes (long names in entries of their own, numbers in base 256, sparse files of its
 * own kind and of pax 1.0), and v7. Names are bytes. Multi-volume archives are refused. libarchive
 * does far more than this, and is larger than the whole agent.
 *
 * A reader is fed slices of any size and gives entries and their data, which lies in the slice; it
 * allocates only for the body of pax headers and long names, at most TAR_META_MAX.
 */
#pragma once

#include "proto/error.h"

#define TAR_BLOCK      512
#define TAR_NAME_MAX   4096            /* of a path, and of what a link points at */
#define TAR_META_MAX   (1024 * 1024)   /* pax headers and long names before one entry, together */
#define TAR_PIECES_MAX 65536           /* of a sparse file */
#define TAR_HEAD_MAX   (12 * 1024)     /* what tar_head() writes at most */
#define TAR_END_BLOCK  (2 * TAR_BLOCK) /* zeros behind the last entry */

enum tar_type {
	TAR_FILE,
	TAR_HARDLINK, /* `link` is the path of an earlier entry */
	TAR_SYMLINK,
	TAR_CHAR,
	TAR_BLOCKDEV,
	TAR_DIR,
	TAR_FIFO,
	TAR_OTHER /* something of the archiver's own, with data to be passed over */
};

struct tar_entry {
	enum tar_type type;
	const char *path; /* as in the archive; one of a directory may end in '/' */
	const char *link; /* "" where there is none */
	uint32_t mode;    /* permissions, at most 07777 */
	uint32_t uid, gid;
	uint64_t size; /* of FILE and OTHER: bytes of data, with the holes if it is sparse */
	bool sparse;   /* only read: the data leaves holes; see data_at */
	int64_t mtime;
	uint32_t mtime_ns; /* below 10^9, counted upwards also when mtime is negative */
	uint32_t dev_major, dev_minor;
};

/* ---- writing ---- */

/* The blocks before the data. Names are at most TAR_NAME_MAX long. */
size_t tar_head(const struct tar_entry *e, uint8_t out[TAR_HEAD_MAX]);

/* Zeros behind so much data. */
static inline size_t tar_padding(uint64_t size)
{
	return (size_t)(-size % TAR_BLOCK);
}

/* ---- reading ---- */

enum tar_read_state {
	TAR_IN_HEAD,
	TAR_IN_META,
	TAR_IN_MAP,
	TAR_IN_DATA,
	TAR_IN_PADDING,
	TAR_AT_END
};

/* What a pax header says of the entry behind it, by the bits of `set`. */
struct tar_pax {
	unsigned set;
	uint64_t size, uid, gid;
	int64_t mtime;
	uint32_t mtime_ns;
	uint64_t sparse_major, sparse_minor, real_size;
};

struct tar_piece {
	uint64_t at, len;
};

/* Where the pieces of a sparse file belong. */
struct tar_map {
	struct tar_piece *pieces; /* owned */
	size_t n, room;
	size_t next;            /* the piece that is given now, */
	uint64_t given;         /* and how much of it was */
	bool gnu;               /* GNU tar's own: numbers in blocks; else lines of text */
	bool more;              /* GNU: another block follows */
	uint64_t number;        /* text: being read, */
	bool digits;            /* with so far any */
	uint64_t read, numbers; /* text: numbers read, of so many */
};

struct tar_reader {
	enum tar_read_state state;
	uint64_t at;      /* bytes of the archive taken so far */
	uint64_t head_at; /* where the head that is being read began */
	uint64_t left;    /* of the data or of the body of a pax header */
	size_t padding;
	uint8_t block[TAR_BLOCK];
	size_t have;   /* of the block */
	uint8_t *meta; /* owned; NULL outside TAR_IN_META */
	size_t meta_len, meta_total;
	uint8_t meta_type;
	struct tar_pax pax, global;
	struct tar_map map;
	uint64_t data_at; /* of TAR_DATA: where the piece belongs in the file */
	char path[TAR_NAME_MAX + 1], link[TAR_NAME_MAX + 1];
	struct tar_entry entry;
};

enum tar_event {
	TAR_MORE,  /* all of the slice was taken */
	TAR_ENTRY, /* r->entry, valid until the next entry */
	TAR_DATA,  /* a piece of its data: *ret, *ret_len */
	TAR_END    /* the end of the archive: what follows is of no interest, and taken */
};

void tar_reader_init(struct tar_reader *r);
void tar_reader_fini(struct tar_reader *r); /* idempotent */
/* Takes from the front of the slice, which moves on. An event, or -EBADMSG with the error filled
 * (-ENOMEM): nothing more can be read. */
int tar_read(struct tar_reader *r, const uint8_t **data, size_t *len, const uint8_t **ret,
	size_t *ret_len, struct error *e);
/* The input is over. 0 behind the end of the archive, else -EBADMSG: it was cut. */
int tar_reader_check_end(const struct tar_reader *r, struct error *e);

/* The path of an entry as it may be used: without the first `strip` components, without empty ones
 * and "."; what is absolute becomes relative. 1. 0: nothing is left of it. -EXDEV: it has ".."; */
int tar_clean_path(const char *path, unsigned strip, char out[TAR_NAME_MAX + 1]);
