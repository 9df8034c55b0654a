/*
 * pieces.h - what waits for one client: the bytes of a session's streams in the order in which they
 * came, with marks between them, cut into messages. No message has bytes of two kinds, none is
 * larger than asked for, and neither its size nor the read that brought it ends one inside of a
 * UTF-8 character (what is not UTF-8 is cut anywhere).
 *
 * The end of a character that has not come yet would keep its beginning for ever: who owns this
 * calls pieces_flush() when it has waited long enough.
 */
#pragma once

#include "proto/buf.h"

enum piece_kind { /* the channel bytes of exec sockets */
	PIECE_OUT = 1,
	PIECE_ERR = 2,
	PIECE_LIVE = 4, /* empty: a mark */
	PIECE_NOTE = 6, /* always one message */
};

struct pieces {
	struct buf data;
	struct buf runs;   /* uint32_t: the kind in the upper byte, the length below */
	bool characters;   /* mind them */
	bool last_is_open; /* the last run may grow */
	uint8_t cut[2][3]; /* the beginning of a character, of either stream */
	uint8_t cut_len[2];
};

/* max: bytes of all that waits. */
void pieces_init(struct pieces *p, size_t max, bool characters);
void pieces_fini(struct pieces *p);
/* Copies. A note is at most 64 KiB - 1. -ENOBUFS, -ENOMEM: the pieces are not to be used on. */
int pieces_add(struct pieces *p, enum piece_kind kind, const void *data, size_t len);
static inline bool pieces_cut(const struct pieces *p)
{
	return p->cut_len[0] + p->cut_len[1] > 0;
}
/* What waits for the rest of a character does not any more. */
int pieces_flush(struct pieces *p);
/* The next message, at most max bytes (4 at least); false: there is none. Borrowed until
 * pieces_took(). */
bool pieces_next(
	struct pieces *p, size_t max, enum piece_kind *kind, const uint8_t **data, size_t *len);
void pieces_took(struct pieces *p, size_t len); /* that of pieces_next() */
