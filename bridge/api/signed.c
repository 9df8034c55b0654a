/*
 * Signed URLs: whoever has one may read, or write, one path of one sandbox until it expires.
 * Nothing happens in the sandbox, not even its waking, before the signature is found good.
 */
#include "bridge/api/signed.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "bridge/api/bridge.h"
#include "bridge/api/fields.h"
#include "bridge/api/file_ask.h"
#include "bridge/api/file_down.h"
#include "bridge/api/file_up.h"
#include "bridge/api/route.h"
#include "bridge/api/text.h"

#define LIFE_DEFAULT_S 3600
#define LIFE_MAX_S     86400
#define SIGNATURE_LEN  64
#define URL_MAX        512 /* of the bridge */
#define ROUTE_MAX      128 /* from there to the path */
#define TAIL_MAX       160 /* from there to the end */

/* False: out of memory. */
static bool sign(const struct call *c, const char *path, const char *op, uint64_t expires,
	char ret[SIGNATURE_LEN + 1])
{
	auto_free char *text = NULL;
	int n = asprintf(&text, "opensandbox-signed-url\n%s\n%s\n%s\n%" PRIu64, c->sandbox->id,
		path, op, expires);

	if (n < 0) {
		text = NULL;
		return false;
	}
	keys_sign(bridge_of(c)->keys, text, (size_t)n, ret);
	return true;
}

static uint64_t now_s(void)
{
	return (uint64_t)time(NULL);
}

/* ---- checking ---- */

/* As lower case. */
static bool read_hex(const char *s, char ret[SIGNATURE_LEN + 1], bool *ret_fits)
{
	size_t len = strlen(s);

	*ret_fits = len == SIGNATURE_LEN;
	for (size_t i = 0; i < len; i++) {
		char ch = s[i] >= 'A' && s[i] <= 'F' ? (char)(s[i] | 0x20) : s[i];

		if (!(ch >= '0' && ch <= '9') && !(ch >= 'a' && ch <= 'f'))
			return false;
		if (*ret_fits)
			ret[i] = ch;
	}
	return len % 2 == 0;
}

static bool check(
	struct call *c, const char *op, const char *path, const char *signature, uint64_t expires)
{
	char given[SIGNATURE_LEN + 1] = "", right[SIGNATURE_LEN + 1];
	bool fits;

	if (expires < now_s()) {
		call_error(c, 403, "signed URL expired");
	} else if (!read_hex(signature, given, &fits)) {
		call_error(c, 403, "invalid signature encoding");
	} else if (!sign(c, path, op, expires, right)) {
		call_error(c, 503, "out of memory");
	} else if (!fits || !keys_same(given, right, SIGNATURE_LEN)) {
		call_error(c, 403, "invalid signature");
	} else {
		c->who = CALL_SIGNED;
		return true;
	}
	return false;
}

bool signed_check(struct call *c)
{
	const char *op = c->method == CALL_PUT ? "upload" : "download";
	auto_free char *path = call_query(c, "path"), *signature = call_query(c, "signature");
	auto_free char *text = call_query(c, "expires");
	uint64_t expires;

	if (!path || !*path || !signature || !*signature || !text || !*text) {
		call_error(c, 400, "path, expires and signature are required");
		return false;
	}
	if (!call_query_u64(c, "expires", &expires)) {
		call_error(c, 400, "expires is not a number");
		return false;
	}
	return check(c, op, path, signature, expires);
}

/* ---- making ---- */

/* Blanks as %20: that is one in forms and elsewhere. */
static char *put_encoded(char *at, const char *s)
{
	static const char digits[] = "0123456789ABCDEF";

	for (; *s; s++) {
		uint8_t ch = (uint8_t)*s;

		if ((ch >= '0' && ch <= '9') || (ch >= 'A' && ch <= 'Z') ||
			(ch >= 'a' && ch <= 'z') || strchr("-_.~", ch)) {
			*at++ = (char)ch;
			continue;
		}
		*at++ = '%';
		*at++ = digits[ch >> 4];
		*at++ = digits[ch & 15];
	}
	return at;
}

/* For free(); NULL: out of memory. */
static char *url_of(const struct call *c, const char *path, const char *op, uint64_t expires)
{
	char base[URL_MAX], signature[SIGNATURE_LEN + 1], *at;
	size_t size = URL_MAX + ROUTE_MAX + 3 * strlen(path) + TAIL_MAX;
	char *url = malloc(size);

	if (!url || !sign(c, path, op, expires, signature)) {
		free(url);
		return NULL;
	}
	bridge_url(c, base, sizeof(base));
	at = url + snprintf(url, URL_MAX + ROUTE_MAX, "%s/sandboxes/%s/files/%s?path=", base,
			   c->sandbox->id, op);
	at = put_encoded(at, path);
	snprintf(at, size - (size_t)(at - url), "&expires=%" PRIu64 "&signature=%s", expires,
		signature);
	return url;
}

static void answer(struct call *c, const char *url, uint64_t expires)
{
	time_t at = (time_t)expires;
	char date[32] = "";
	struct text t;
	struct tm tm;

	if (gmtime_r(&at, &tm))
		strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &tm);
	text_init(&t);
	text_open(&t, NULL, '{');
	text_str(&t, "url", url);
	text_str(&t, "expiresAt", date);
	text_close(&t, '}');
	text_reply(&t, c, 200);
}

static void make(struct call *c, const char *op)
{
	auto_free char *path = NULL, *url = NULL;
	int64_t life = 0;
	uint64_t expires;

	if (!field_int(c, "expiresIn", INT64_MIN, INT64_MAX, &life))
		return;
	path = file_path_field(c, "path", NULL);
	if (!path)
		return;
	expires = now_s() +
		  (life <= 0 ? LIFE_DEFAULT_S : (uint64_t)min_of(life, (int64_t)LIFE_MAX_S));
	url = url_of(c, path, op, expires);
	if (url)
		answer(c, url, expires);
	else
		call_error(c, 503, "out of memory");
}

static void make_download(struct call *c)
{
	make(c, "download");
}

static void make_upload(struct call *c)
{
	make(c, "upload");
}

/* ---- using ---- */

static void download(struct call *c)
{
	char *path = file_path(c);

	if (path)
		file_down(c, path, true);
}

static void upload(struct call *c)
{
	auto_free char *path = file_path(c);

	if (path)
		file_up(c, path);
}

#define MAKE (R_SANDBOX | R_JSON)
#define USE  (R_SANDBOX | R_DATA | R_SIGNED)

const struct route routes_signed[] = {
	{CALL_POST, "/sandboxes/:id/files/download-url", MAKE, make_download, "makeDownloadURL"},
	{CALL_POST, "/sandboxes/:id/files/upload-url", MAKE, make_upload, "makeUploadURL"},
	{CALL_GET, "/sandboxes/:id/files/download", USE, download, "downloadFile"},
	{CALL_PUT, "/sandboxes/:id/files/upload", USE | R_STREAM, upload, "uploadFile"},
	{.handle = NULL},
};
