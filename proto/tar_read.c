/*
 * One block at a time: heads are collected into `block`, the bodies of pax headers and long names
 * into `meta`; data is never copied. What a pax header or a long name says is kept in `pax`, `path`
 * and `link` until the entry it belongs to.
 */
#include "proto/tar.h"

#include "proto/tar_internal.h"

static int fail(const struct tar_reader *r, struct error *e, const char *what)
{
	return error_set(e, E_FAILED, EBADMSG, "archive, entry at byte %llu: %s",
		(unsigned long long)r->head_at, what);
}

/* ---- numbers ---- */

/* Base 256, for what octal cannot hold: a first byte of 0x80 or, for what is negative, 0xff. */
static bool base256(const uint8_t *p, size_t size, int64_t *ret)
{
	bool negative = p[0] & 0x40;
	uint64_t v = negative ? UINT64_MAX : 0;

	for (size_t i = 0; i < size; i++) {
		uint8_t byte = i > 0 ? p[i] : (uint8_t)((p[i] & 0x7f) | (negative ? 0x80 : 0));

		if ((v >> 55) != (negative ? 0x1ff : 0))
			return false;
		v = v << 8 | byte;
	}
	*ret = (int64_t)v;
	return true;
}

bool tar_number(const uint8_t *block, size_t at, size_t size, int64_t *ret)
{
	const uint8_t *p = block + at, *end = p + size;
	uint64_t v = 0;

	if (*p & 0x80)
		return base256(p, size, ret);
	while (p < end && *p == ' ')
		p++;
	for (; p < end && *p >= '0' && *p <= '7'; p++)
		v = v << 3 | (uint64_t)(*p - '0'); /* at most 36 bits */
	if (p < end && *p != '\0' && *p != ' ')
		return false;
	*ret = (int64_t)v;
	return true;
}

static bool number_u32(const uint8_t *block, size_t at, size_t size, uint32_t *ret)
{
	int64_t v;

	if (!tar_number(block, at, size, &v) || v < 0 || v > UINT32_MAX)
		return false;
	*ret = (uint32_t)v;
	return true;
}

/* ---- pax headers and long names ---- */

static int begin_meta(struct tar_reader *r, uint64_t size, struct error *e)
{
	r->meta_type = r->block[FIELD_TYPE] == 'X' ? 'x' : r->block[FIELD_TYPE];
	/* Each counts for its block as well, or empty ones could go on for ever. */
	if (size > TAR_META_MAX || r->meta_total + size + TAR_BLOCK > TAR_META_MAX)
		return fail(r, e, "pax headers or long names over 1 MiB");
	r->meta_total += (size_t)size + TAR_BLOCK;
	r->meta = malloc((size_t)size + 1);
	if (!r->meta)
		return error_set(e, E_FAILED, ENOMEM, "out of memory");
	r->meta_len = 0;
	r->left = size;
	r->state = TAR_IN_META;
	return TAR_MORE;
}

static int end_meta(struct tar_reader *r, struct error *e)
{
	const char *wrong = tar_parse_meta(r);

	free(take_ptr(&r->meta));
	if (wrong)
		return fail(r, e, wrong);
	r->padding = tar_padding(r->meta_len);
	r->state = TAR_IN_PADDING;
	return TAR_MORE;
}

/* ---- heads ---- */

/* The sum of all bytes with its own field as blanks; some old programs summed signed chars. */
static bool checksum_fits(const uint8_t *block)
{
	int64_t told, plain = 8 * ' ', odd = 8 * ' ';

	if (!tar_number(block, FIELD_CHECKSUM, &told))
		return false;
	for (size_t i = 0; i < TAR_BLOCK; i++) {
		if (i >= 148 && i < 156)
			continue;
		plain += block[i];
		odd += (int8_t)block[i];
	}
	return told == plain || told == odd;
}

static bool is_zero(const uint8_t *block)
{
	return block[0] == 0 && memcmp(block, block + 1, TAR_BLOCK - 1) == 0;
}

static size_t field_len(const uint8_t *block, size_t at, size_t size)
{
	return strnlen((const char *)block + at, size);
}

static void copy_field(char *out, const uint8_t *block, size_t at, size_t size)
{
	size_t n = field_len(block, at, size);

	memcpy(out, block + at, n);
	out[n] = '\0';
}

static void header_path(char *out, const uint8_t *block)
{
	size_t n = 0;

	if (memcmp(block + FIELD_MAGIC, MAGIC_POSIX, 6) == 0)
		n = field_len(block, FIELD_PREFIX);
	if (n > 0) {
		copy_field(out, block, FIELD_PREFIX);
		out[n++] = '/';
	}
	copy_field(out + n, block, FIELD_NAME);
}

static enum tar_type type_of(uint8_t flag)
{
	switch (flag) {
	case '\0':
	case '0':
	case '7':
	case 'S': return TAR_FILE;
	case '1': return TAR_HARDLINK;
	case '2': return TAR_SYMLINK;
	case '3': return TAR_CHAR;
	case '4': return TAR_BLOCKDEV;
	case '5':
	case 'D': return TAR_DIR;
	case '6': return TAR_FIFO;
	default: return TAR_OTHER;
	}
}

/* What pax headers say, those for this entry before the global ones. */
static void override(struct tar_entry *t, const struct tar_pax *o)
{
	if (o->set & SET_SIZE)
		t->size = o->size;
	if (o->set & SET_UID)
		t->uid = (uint32_t)o->uid;
	if (o->set & SET_GID)
		t->gid = (uint32_t)o->gid;
	if (o->set & SET_MTIME) {
		t->mtime = o->mtime;
		t->mtime_ns = o->mtime_ns;
	}
}

static const char *parse_numbers(const uint8_t *block, struct tar_entry *t)
{
	int64_t size, mode;
	bool devices = t->type == TAR_CHAR || t->type == TAR_BLOCKDEV;

	if (!tar_number(block, FIELD_SIZE, &size) || size < 0)
		return "its size cannot be read";
	if (!tar_number(block, FIELD_MODE, &mode))
		return "its mode cannot be read";
	if (!number_u32(block, FIELD_UID, &t->uid) || !number_u32(block, FIELD_GID, &t->gid))
		return "its owner cannot be read";
	if (!tar_number(block, FIELD_MTIME, &t->mtime))
		return "its time cannot be read";
	if (devices && (!number_u32(block, FIELD_MAJOR, &t->dev_major) ||
			       !number_u32(block, FIELD_MINOR, &t->dev_minor)))
		return "its device number cannot be read";
	t->size = (uint64_t)size;
	t->mode = (uint32_t)mode & 07777;
	return NULL;
}

static const char *parse_entry(struct tar_reader *r)
{
	struct tar_entry *t = &r->entry;
	uint8_t flag = r->block[FIELD_TYPE];
	const char *wrong;
	size_t n;

	*t = (struct tar_entry){.type = type_of(flag), .path = r->path, .link = r->link};
	wrong = parse_numbers(r->block, t);
	if (wrong)
		return wrong;
	if (flag == 'M')
		return "the rest of a file of another volume, which is not supported";
	override(t, &r->global);
	override(t, &r->pax);
	if (!(r->pax.set & (SET_PATH | SET_SPARSE_NAME | LONG_PATH)))
		header_path(r->path, r->block);
	if (!(r->pax.set & (SET_LINK | LONG_LINK)))
		copy_field(r->link, r->block, FIELD_LINK);
	n = strlen(r->path);
	if (n == 0)
		return "no name";
	if (t->type == TAR_FILE && r->path[n - 1] == '/')
		t->type = TAR_DIR;
	if (flag == 'D')
		t->type = TAR_OTHER; /* a list of names, in incremental backups */
	if (t->type == TAR_DIR && t->size > 0)
		return "a directory with data";
	if ((t->type == TAR_HARDLINK || t->type == TAR_SYMLINK) && r->link[0] == '\0')
		return "a link to nothing";
	if (t->type != TAR_FILE && t->type != TAR_OTHER)
		t->size = 0; /* what some say here is not followed by data */
	return NULL;
}

static int end_head(struct tar_reader *r, struct error *e)
{
	const char *wrong;
	int64_t size;

	r->have = 0;
	if (is_zero(r->block)) {
		r->state = TAR_AT_END;
		return TAR_END;
	}
	if (r->head_at == 0 && r->block[0] == 0x1f && r->block[1] == 0x8b)
		return fail(r, e, "it is compressed; only plain archives are taken");
	if (!checksum_fits(r->block))
		return fail(
			r, e, "this is no tar archive, or it is damaged: the checksum is wrong");
	if (r->block[FIELD_TYPE] && strchr("xXgLK", r->block[FIELD_TYPE])) {
		if (!tar_number(r->block, FIELD_SIZE, &size) || size < 0)
			return fail(r, e, "its size cannot be read");
		return begin_meta(r, (uint64_t)size, e);
	}
	wrong = parse_entry(r);
	if (wrong)
		return fail(r, e, wrong);
	r->left = r->entry.size;
	r->padding = tar_padding(r->entry.size);
	r->state = TAR_IN_DATA;
	tar_map_fini(&r->map);
	if (r->block[FIELD_TYPE] == 'S' || (r->pax.set & SET_SPARSE))
		wrong = tar_map_begin(r, r->block[FIELD_TYPE] == 'S');
	if (wrong)
		return fail(r, e, wrong);
	r->pax = (struct tar_pax){0};
	r->meta_total = 0;
	return TAR_ENTRY;
}

/* ---- bytes ---- */

void tar_reader_init(struct tar_reader *r)
{
	memset(r, 0, sizeof(*r));
}

void tar_reader_fini(struct tar_reader *r)
{
	free(take_ptr(&r->meta));
	tar_map_fini(&r->map);
}

static const uint8_t *take(
	struct tar_reader *r, const uint8_t **data, size_t *len, uint64_t want, size_t *n)
{
	const uint8_t *p = *data;

	*n = want < *len ? (size_t)want : *len;
	*data += *n;
	*len -= *n;
	r->at += *n;
	return p;
}

/* Up to the end of a piece that belongs together; *ret_len is 0 behind the last. */
static const uint8_t *take_data(
	struct tar_reader *r, const uint8_t **data, size_t *len, size_t *ret_len)
{
	struct tar_map *m = &r->map;
	const uint8_t *p;
	uint64_t want = r->left;

	r->data_at = r->entry.size - r->left;
	if (r->entry.sparse && want > 0) {
		while (m->given == m->pieces[m->next].len) {
			m->next++;
			m->given = 0;
		}
		r->data_at = m->pieces[m->next].at + m->given;
		want = m->pieces[m->next].len - m->given;
	}
	p = take(r, data, len, want, ret_len);
	r->left -= *ret_len;
	m->given += *ret_len;
	return p;
}

int tar_read(struct tar_reader *r, const uint8_t **data, size_t *len, const uint8_t **ret,
	size_t *ret_len, struct error *e)
{
	int event = TAR_MORE;
	const uint8_t *p;
	size_t n;

	while (event == TAR_MORE && (*len > 0 || (r->left == 0 && r->state == TAR_IN_META))) {
		switch (r->state) {
		case TAR_IN_HEAD:
			if (r->have == 0)
				r->head_at = r->at;
			p = take(r, data, len, TAR_BLOCK - r->have, &n);
			memcpy(r->block + r->have, p, n);
			r->have += n;
			if (r->have == TAR_BLOCK)
				event = end_head(r, e);
			break;
		case TAR_IN_META:
			p = take(r, data, len, r->left, &n);
			ASSERT(r->meta);
			memcpy(r->meta + r->meta_len, p, n);
			r->meta_len += n;
			r->left -= n;
			if (r->left == 0)
				event = end_meta(r, e);
			break;
		case TAR_IN_MAP:
			p = take(r, data, len, TAR_BLOCK - r->have, &n);
			memcpy(r->block + r->have, p, n);
			r->have += n;
			if (r->have == TAR_BLOCK) {
				const char *wrong = tar_map_block(r);

				r->have = 0;
				event = wrong ? fail(r, e, wrong) : TAR_MORE;
			}
			break;
		case TAR_IN_DATA:
			*ret = take_data(r, data, len, ret_len);
			if (r->left == 0)
				r->state = TAR_IN_PADDING;
			if (*ret_len > 0)
				event = TAR_DATA;
			break;
		case TAR_IN_PADDING:
			take(r, data, len, r->padding, &n);
			r->padding -= n;
			if (r->padding == 0)
				r->state = TAR_IN_HEAD;
			break;
		case TAR_AT_END: event = TAR_END; break;
		}
	}
	if (event == TAR_END)
		take(r, data, len, *len, &n);
	return event;
}

int tar_reader_check_end(const struct tar_reader *r, struct error *e)
{
	if (r->state == TAR_AT_END)
		return 0;
	return error_set(e, E_FAILED, EBADMSG, "archive: it is cut, after %llu bytes",
		(unsigned long long)r->at);
}

int tar_clean_path(const char *path, unsigned strip, char out[TAR_NAME_MAX + 1])
{
	size_t n = 0;

	for (const char *p = path; *p;) {
		size_t len = strcspn(p, "/");

		if (len == 2 && p[0] == '.' && p[1] == '.')
			return -EXDEV;
		if (len > 1 || (len == 1 && p[0] != '.')) {
			if (strip > 0) {
				strip--;
			} else {
				if (n > 0)
					out[n++] = '/';
				memcpy(out + n, p, len);
				n += len;
			}
		}
		p += len + (p[len] == '/');
	}
	out[n] = '\0';
	return n > 0;
}
