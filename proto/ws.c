/*
 * ws.c - RFC 6455 framing.
 *
 * The decoder alternates between two states: collecting a header, and passing a payload on. The
 * header is gathered byte by byte into d->header and judged in four steps (first byte, second byte,
 * length, mask), each as soon as its bytes are there, so that a broken or oversized frame is
 * refused before any of its payload is waited for. The steps only look, and may therefore run again
 * when input ended in the middle; begin_frame() is what changes the state.
 *
 * A data payload is unmasked where it lies and handed out as it comes. A control payload is
 * gathered in d->control first. Control frames may stand between the fragments of a message and
 * leave the message's state (in_message, message_len, at_message_start) alone.
 *
 * Every function that judges returns 0 or minus the close code.
 */
#include "proto/ws.h"

#include <sys/random.h>

#include "proto/buf.h"
#include "proto/text.h"

#define BIT_FIN    0x80
#define BITS_RSV   0x70
#define BIT_MASKED 0x80
#define LEN_16     126 /* a 16-bit length follows */
#define LEN_64     127

static const char accept_guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

void ws_decoder_init(struct ws_decoder *d, enum ws_role role, uint64_t message_max)
{
	*d = (struct ws_decoder){.role = role, .message_max = message_max};
}

/* ---- the header ---- */

static bool is_control(uint8_t opcode)
{
	return opcode >= WS_CLOSE;
}

/* Collects until the header has `want` bytes; false when the input ends before. */
static bool gather(struct ws_decoder *d, uint8_t **data, size_t *len, unsigned want)
{
	while (d->header_len < want) {
		if (*len == 0)
			return false;
		d->header[d->header_len++] = **data;
		++*data;
		--*len;
	}
	return true;
}

static int check_first_byte(const struct ws_decoder *d)
{
	bool fin = d->header[0] & BIT_FIN;

	if (d->header[0] & BITS_RSV)
		return -WS_CLOSE_PROTOCOL;
	switch (d->header[0] & 0x0f) {
	case WS_CONT: return d->in_message ? 0 : -WS_CLOSE_PROTOCOL;
	case WS_TEXT: return d->in_message ? -WS_CLOSE_PROTOCOL : -WS_CLOSE_UNSUPPORTED;
	case WS_BINARY: return d->in_message ? -WS_CLOSE_PROTOCOL : 0;
	case WS_CLOSE:
	case WS_PING:
	case WS_PONG: return fin ? 0 : -WS_CLOSE_PROTOCOL;
	default: return -WS_CLOSE_PROTOCOL;
	}
}

static int check_second_byte(const struct ws_decoder *d)
{
	bool masked = d->header[1] & BIT_MASKED;

	if (masked != (d->role == WS_SERVER))
		return -WS_CLOSE_PROTOCOL;
	if (is_control(d->header[0] & 0x0f) && (d->header[1] & 0x7f) > WS_CONTROL_MAX)
		return -WS_CLOSE_PROTOCOL;
	return 0;
}

static unsigned extended_len(const struct ws_decoder *d)
{
	unsigned len7 = d->header[1] & 0x7f;

	return len7 == LEN_16 ? 2 : len7 == LEN_64 ? 8 : 0;
}

static int read_length(const struct ws_decoder *d, uint64_t *ret_len)
{
	unsigned len7 = d->header[1] & 0x7f;
	uint64_t n = len7;

	if (len7 == LEN_16) {
		n = get_u16(d->header + 2);
		if (n < LEN_16)
			return -WS_CLOSE_PROTOCOL;
	} else if (len7 == LEN_64) {
		n = get_u64(d->header + 2);
		if (n <= UINT16_MAX || n >> 63)
			return -WS_CLOSE_PROTOCOL;
	}
	if (!is_control(d->header[0] & 0x0f) && n > d->message_max - d->message_len)
		return -WS_CLOSE_TOO_BIG;
	*ret_len = n;
	return 0;
}

static void begin_frame(struct ws_decoder *d, uint64_t payload_len)
{
	d->opcode = d->header[0] & 0x0f;
	d->fin = d->header[0] & BIT_FIN;
	d->masked = d->header[1] & BIT_MASKED;
	if (d->masked)
		memcpy(d->mask, d->header + d->header_len - 4, 4);
	d->mask_at = 0;
	d->left = payload_len;
	d->header_len = 0;
	d->in_payload = true;
	if (is_control(d->opcode)) {
		d->control_len = 0;
		return;
	}
	if (d->opcode != WS_CONT)
		d->at_message_start = true;
	d->in_message = !d->fin;
	d->message_len = d->fin ? 0 : d->message_len + payload_len;
}

/* 1: a header is complete and its payload has begun; 0: more input is needed. */
static int take_header(struct ws_decoder *d, uint8_t **data, size_t *len)
{
	unsigned want;
	uint64_t payload_len;
	int r;

	if (!gather(d, data, len, 1))
		return 0;
	r = check_first_byte(d);
	if (r < 0)
		return r;
	if (!gather(d, data, len, 2))
		return 0;
	r = check_second_byte(d);
	if (r < 0)
		return r;
	want = 2 + extended_len(d);
	if (!gather(d, data, len, want))
		return 0;
	r = read_length(d, &payload_len);
	if (r < 0)
		return r;
	if (d->role == WS_SERVER && !gather(d, data, len, want + 4))
		return 0;
	begin_frame(d, payload_len);
	return 1;
}

/* ---- the payload ---- */

/* RFC 6455 section 7.4 and the IANA registry; 1005, 1006 and 1015 are never sent. */
static bool close_code_valid(uint16_t code)
{
	if (code >= 3000)
		return code <= 4999;
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}

static int finish_close(struct ws_decoder *d, struct ws_event *ev)
{
	if (d->control_len == 0) {
		ev->code = WS_CLOSE_NO_STATUS;
	} else if (d->control_len == 1) {
		return -WS_CLOSE_PROTOCOL;
	} else {
		ev->code = get_u16(d->control);
		ev->data += 2;
		ev->len -= 2;
		if (!close_code_valid(ev->code) || !utf8_valid(ev->data, ev->len))
			return -WS_CLOSE_PROTOCOL;
	}
	d->closed = true;
	return 1;
}

/* 1: *ev has the control frame; 0: more input is needed. */
static int take_control(struct ws_decoder *d, uint8_t **data, size_t *len, struct ws_event *ev)
{
	size_t n = (size_t)min_of(d->left, (uint64_t)*len);

	if (n > 0) {
		memcpy(d->control + d->control_len, *data, n);
		d->control_len += (unsigned)n;
		d->left -= n;
		*data += n;
		*len -= n;
	}
	if (d->left > 0)
		return 0;
	if (d->masked)
		ws_mask(d->control, d->control_len, d->mask, 0);
	d->in_payload = false;
	*ev = (struct ws_event){.data = d->control, .len = d->control_len};
	switch (d->opcode) {
	case WS_PING: ev->type = WS_EV_PING; return 1;
	case WS_PONG: ev->type = WS_EV_PONG; return 1;
	default: ev->type = WS_EV_CLOSE; return finish_close(d, ev);
	}
}

/* 1: *ev has a slice; 0: nothing to hand out, either for lack of input or because an empty frame
 * that is not the last one ended. */
static int take_data(struct ws_decoder *d, uint8_t **data, size_t *len, struct ws_event *ev)
{
	size_t n = (size_t)min_of(d->left, (uint64_t)*len);
	bool last;

	if (n == 0 && d->left > 0)
		return 0;
	if (d->masked)
		d->mask_at = ws_mask(*data, n, d->mask, d->mask_at);
	d->left -= n;
	d->in_payload = d->left > 0;
	last = d->fin && d->left == 0;
	if (n == 0 && !last)
		return 0;
	*ev = (struct ws_event){
		.type = WS_EV_DATA,
		.data = *data,
		.len = n,
		.first = d->at_message_start,
		.last = last,
	};
	d->at_message_start = false;
	*data += n;
	*len -= n;
	return 1;
}

int ws_next(struct ws_decoder *d, uint8_t **data, size_t *len, struct ws_event *ev)
{
	for (;;) {
		int r;

		if (d->closed) {
			*data += *len;
			*len = 0;
			return 0;
		}
		if (!d->in_payload) {
			r = take_header(d, data, len);
			if (r <= 0)
				return r;
		}
		r = is_control(d->opcode) ? take_control(d, data, len, ev)
					  : take_data(d, data, len, ev);
		if (r != 0 || d->in_payload)
			return r;
	}
}

/* ---- sending ---- */

size_t ws_encode_header(uint8_t out[WS_HEADER_MAX], enum ws_role role, enum ws_opcode op, bool fin,
	uint64_t payload_len, const uint8_t key[4])
{
	size_t n = 2;

	ASSERT(!is_control((uint8_t)op) || (fin && payload_len <= WS_CONTROL_MAX));
	ASSERT(payload_len <= INT64_MAX);
	out[0] = (uint8_t)((fin ? BIT_FIN : 0) | op);
	if (payload_len < LEN_16) {
		out[1] = (uint8_t)payload_len;
	} else if (payload_len <= UINT16_MAX) {
		out[1] = LEN_16;
		put_u16(out + 2, (uint16_t)payload_len);
		n += 2;
	} else {
		out[1] = LEN_64;
		put_u64(out + 2, payload_len);
		n += 8;
	}
	if (role == WS_CLIENT) {
		out[1] |= BIT_MASKED;
		memcpy(out + n, key, 4);
		n += 4;
	}
	return n;
}

/* Any alignment, any type behind it; the compiler picks the widest registers there are. */
typedef uint32_t wide __attribute__((vector_size(32), aligned(1), may_alias));

unsigned ws_mask(uint8_t *data, size_t n, const uint8_t key[4], unsigned at)
{
	const uint8_t turned[4] = {
		key[at & 3], key[(at + 1) & 3], key[(at + 2) & 3], key[(at + 3) & 3]};
	uint32_t k;
	size_t i = 0;

	memcpy(&k, turned, sizeof(k));
	if (k == 0) /* our own client's key: nothing to do */
		i = n;
	for (; n - i >= 2 * sizeof(wide); i += 2 * sizeof(wide)) {
		wide *w = (wide *)(data + i);

		w[0] ^= k;
		w[1] ^= k;
	}
	for (; n - i >= sizeof(k); i += sizeof(k)) {
		uint32_t v;

		memcpy(&v, data + i, sizeof(v));
		v ^= k;
		memcpy(data + i, &v, sizeof(v));
	}
	for (; i < n; i++)
		data[i] = (uint8_t)(data[i] ^ turned[i & 3]);
	return (unsigned)((at + n) & 3);
}

/* ---- the handshake's two values ---- */

void ws_accept_for(const char *key, char out[WS_ACCEPT_LEN + 1])
{
	char text[WS_KEY_LEN + sizeof(accept_guid)];
	uint8_t digest[SHA1_LEN];

	ASSERT(strlen(key) == WS_KEY_LEN); /* see ws_key_valid() */
	memcpy(text, key, WS_KEY_LEN);
	memcpy(text + WS_KEY_LEN, accept_guid, sizeof(accept_guid));
	sha1(text, sizeof(text) - 1, digest);
	base64_encode(digest, sizeof(digest), out);
}

bool ws_key_valid(const char *key)
{
	uint8_t raw[WS_KEY_LEN / 4 * 3];

	return strlen(key) == WS_KEY_LEN && base64_decode(key, WS_KEY_LEN, raw) == 16;
}

void ws_key_make(char out[WS_KEY_LEN + 1])
{
	uint8_t raw[16];
	ssize_t r;

	do {
		r = getrandom(raw, sizeof(raw), 0);
	} while (r < 0 && errno == EINTR);
	ASSERT(r == sizeof(raw)); /* the kernel promises it for up to 256 bytes */
	base64_encode(raw, sizeof(raw), out);
}
