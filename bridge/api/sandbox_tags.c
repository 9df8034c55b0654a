/* Tags: words that clients put on sandboxes, and find them by. */
#include "bridge/api/bridge.h"
#include "bridge/api/fields.h"
#include "bridge/api/sandbox_json.h"

#define TAGS_MAX      50
#define TAG_KEY_MAX   128
#define TAG_VALUE_MAX 256

static const char *tag_fault(const char *key, const char *value)
{
	size_t n = strlen(key);

	if (n < 1 || n > TAG_KEY_MAX ||
		strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			    "0123456789_.:-") != n)
		return "a key must be 1 to 128 of letters, digits, '_', '.', ':', '-'";
	if (strncmp(key, "oc:", 3) == 0)
		return "keys that begin with oc: are reserved";
	if (strlen(value) > TAG_VALUE_MAX)
		return "a value must be at most 256 bytes";
	return NULL;
}

char *sandbox_read_tags(struct call *c, struct jsonr object)
{
	size_t n = 0, len;
	auto_free char **pairs = fields_map_of(object, TAGS_MAX, &n);
	const char *wrong = NULL;
	struct text t;
	char *json;

	if (!pairs) {
		call_error(c, 400, "tags must be an object of at most %d strings", TAGS_MAX);
		return NULL;
	}
	text_init(&t);
	text_open(&t, NULL, '{');
	for (char **p = pairs; *p && !wrong; p += 2) {
		wrong = tag_fault(p[0], p[1]);
		text_str(&t, p[0], p[1]);
	}
	text_close(&t, '}');
	json = text_take(&t, &len);
	if (wrong || !json) {
		call_error(c, wrong ? 400 : 503, "tags: %s", wrong ? wrong : "out of memory");
		free(json);
		return NULL;
	}
	return json;
}

void sandbox_on_get_tags(struct call *c)
{
	struct text t;

	text_init(&t);
	text_open(&t, NULL, '{');
	sandbox_put_tags(&t, c->sandbox);
	text_close(&t, '}');
	text_reply(&t, c, 200);
}

void sandbox_on_set_tags(struct call *c)
{
	auto_free char *tags = NULL;
	int r;

	if (sandbox_is_dead(c))
		return;
	tags = sandbox_read_tags(c, c->body);
	if (!tags)
		return;
	r = sandbox_set_tags(c->sandbox, tags);
	if (r < 0)
		sandbox_reply_store(c, r);
	else
		sandbox_on_get_tags(c);
}

/* ---- of all sandboxes ---- */

struct tag {
	struct jsonr key, value; /* as they are in s->tags */
};

struct tags {
	struct tag *all; /* owned */
	size_t n, size;
};

static bool add_tags(struct tags *ts, const struct sandbox *s)
{
	struct jsonr object, key, value;
	struct jsonr_walk w;

	if (jsonr_parse(s->tags, strlen(s->tags), &object) < 0 || !jsonr_begin(&w, object))
		return true;
	while (jsonr_next(&w, &key, &value)) {
		if (ts->n == ts->size) {
			size_t size = max_of(2 * ts->size, (size_t)64);
			struct tag *grown = reallocarray(ts->all, size, sizeof(*grown));

			if (!grown)
				return false;
			ts->all = grown;
			ts->size = size;
		}
		ts->all[ts->n++] = (struct tag){key, value};
	}
	return true;
}

static int compare(struct jsonr a, struct jsonr b)
{
	int r = memcmp(a.p, b.p, min_of(a.len, b.len));

	return r ? r : (a.len > b.len) - (a.len < b.len);
}

static int compare_tags(const void *pa, const void *pb)
{
	const struct tag *a = pa, *b = pb;
	int r = compare(a->key, b->key);

	return r ? r : compare(a->value, b->value);
}

/* A key, in how many sandboxes it is, and how many different values it has: tags are sorted. */
static size_t put_key(struct text *t, const struct tags *ts, size_t at)
{
	size_t from = at, values = 1;

	while (++at < ts->n && compare(ts->all[at].key, ts->all[from].key) == 0)
		values += compare(ts->all[at].value, ts->all[at - 1].value) != 0;
	text_open(t, NULL, '{');
	text_bytes(t, "key", ts->all[from].key.p, ts->all[from].key.len);
	text_int(t, "sandboxCount", (int64_t)(at - from));
	text_int(t, "valueCount", (int64_t)values);
	text_close(t, '}');
	return at;
}

void sandbox_on_all_tags(struct call *c)
{
	struct tags ts = {0};
	bool ok = true;
	struct text t;

	list_for_each (s, sandboxes_list(bridge_of(c)->sandboxes), struct sandbox, node)
		ok = ok && (s->state == SANDBOX_KILLED || add_tags(&ts, s));
	if (ts.n > 0)
		qsort(ts.all, ts.n, sizeof(*ts.all), compare_tags);
	text_init(&t);
	text_open(&t, NULL, '{');
	text_open(&t, "keys", '[');
	for (size_t at = 0; at < ts.n;)
		at = put_key(&t, &ts, at);
	text_close(&t, ']');
	text_close(&t, '}');
	free(ts.all);
	if (ok) {
		text_reply(&t, c, 200);
		return;
	}
	text_fini(&t);
	call_error(c, 503, "out of memory");
}
