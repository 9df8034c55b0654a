/*
 * fuzz_claude.c - the bytes of an agent session, as they come from the client and from the program,
 * cut into lines twice with different cuts: the same lines. Each line goes to the JSON reader,
 * which may take nothing that cJSON does not, and whose parts lie in the line; and to both parsers.
 * What is written from them is JSON on one line.
 */
#include <cjson/cJSON.h>

#include "proto/lines.h"
#include "proto/msg_claude.h"
#include "proto/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define LINE_MAX_HERE 300

static struct msg_claude_config config;

static void check_inside(struct jsonr whole, struct jsonr part)
{
	ASSERT(part.len == 0 || (part.p >= whole.p && part.p + part.len <= whole.p + whole.len));
}

static void check_line(struct buf *b)
{
	struct jsonr v;
	size_t len = buf_len(b);

	if (len == 0)
		return;
	ASSERT(buf_head(b)[len - 1] == '\n' && !memchr(buf_head(b), '\n', len - 1));
	ASSERT(jsonr_parse(buf_head(b), len, &v) == 0 && jsonr_is(v, '{'));
	buf_consume(b, len);
}

/* Every part of a value is a value itself, with the same walk. */
static void check_parts(struct jsonr whole, int depth)
{
	struct jsonr_walk w;
	struct jsonr name, v, again;
	char *text;

	if (jsonr_is(whole, '"') && jsonr_str(whole, &text) == 0) {
		ASSERT(utf8_valid(text, strlen(text)) && strlen(text) < whole.len);
		free(text);
	}
	if (depth == 0 || !jsonr_begin(&w, whole))
		return;
	while (jsonr_next(&w, &name, &v)) {
		check_inside(whole, v);
		check_inside(whole, name);
		ASSERT(jsonr_parse(v.p, v.len, &again) == 0 && again.p == v.p &&
			again.len == v.len);
		check_parts(v, depth - 1);
	}
}

static void test_json(const char *copy, size_t len)
{
	struct jsonr v;
	cJSON *tree;

	if (jsonr_parse(copy, len, &v) < 0)
		return;
	check_parts(v, 3);
	tree = cJSON_ParseWithLength(copy, len);
	if (!tree) { /* it does not like half a surrogate pair, which the grammar allows */
		ASSERT(memmem(copy, len, "\\u", 2));
		return;
	}
	if (cJSON_IsObject(tree) || cJSON_IsArray(tree)) {
		struct jsonr_walk w;
		struct jsonr item;
		int n = 0;

		ASSERT(jsonr_begin(&w, v));
		while (jsonr_next(&w, NULL, &item))
			n++;
		ASSERT(n == cJSON_GetArraySize(tree));
	}
	cJSON_Delete(tree);
}

static void test_in(const char *copy, size_t len, struct buf *b)
{
	struct msg_claude_in m;
	struct error e;
	unsigned changed;
	char *argv[MSG_CLAUDE_ARGS_MAX];
	int n;

	if (msg_parse_claude_in(copy, len, &m, &e) < 0) {
		ASSERT(utf8_valid(e.message, strlen(e.message)) && e.message[0]);
		msg_put_claude_error(b, "bad_input", e.message);
		check_line(b);
		return;
	}
	check_inside((struct jsonr){copy, len}, m.content);
	if (m.kind == CLAUDE_PROMPT) {
		ASSERT(msg_put_claude_prompt(b, m.content) == 0);
		check_line(b);
	}
	if (m.kind != CLAUDE_CONFIGURE)
		return;
	if (msg_claude_configure(&config, m.object, &changed, &e) == 0 && config.model) {
		msg_put_claude_control(b, changed, "set_model", "model", config.model);
		check_line(b);
		ASSERT(msg_claude_configure(&config, m.object, &changed, &e) == 0 && changed == 0);
	}
	n = msg_claude_args(&config, argv);
	while (n > 0)
		free(argv[--n]);
}

static void test_out(const char *copy, size_t len, struct buf *b)
{
	struct jsonr whole = {copy, len};
	struct msg_claude_out m;
	char *text;

	if (msg_parse_claude_out(copy, len, &m) < 0)
		return;
	check_inside(whole, m.session_id);
	check_inside(whole, m.request_id);
	check_inside(whole, m.why);
	check_inside(whole, m.input);
	if (m.kind == CLAUDE_REQUEST && m.request_id.len > 0) {
		ASSERT(msg_put_claude_permission(b, &m, len % 2) == 0);
		check_line(b);
		ASSERT(msg_put_claude_refusal(b, &m) == 0);
		check_line(b);
	}
	if (m.session_id.len > 0 && jsonr_str(m.session_id, &text) == 0) {
		ASSERT(msg_put_claude_complete(b, text) == 0);
		check_line(b);
		free(text);
	}
}

static void on_line(struct jsonr line)
{
	struct buf b = BUF_NULL(64 * 1024);
	char *copy = malloc(line.len ? line.len : 1); /* of exactly its size, for the sanitizer */

	ASSERT(copy);
	memcpy(copy, line.p, line.len);
	test_json(copy, line.len);
	test_in(copy, line.len, &b);
	test_out(copy, line.len, &b);
	buf_fini(&b);
	free(copy);
}

/* A hash of the lines, and which were too long. */
static uint64_t cut(const uint8_t *data, size_t len, size_t step, bool look)
{
	uint64_t h = 0xcbf29ce484222325ULL;
	struct lines l;
	struct jsonr line;
	int r;

	lines_init(&l, LINE_MAX_HERE);
	for (size_t at = 0; at <= len;) {
		size_t size, n = min_of(step, len - at);
		uint8_t *space = lines_space(&l, &size);

		ASSERT(space);
		n = min_of(n, size);
		memcpy(space, data + at, n);
		lines_commit(&l, n);
		at += n;
		if (at == len)
			lines_end(&l);
		while ((r = lines_next(&l, &line)) != 0) {
			ASSERT(r == -EMSGSIZE || (r == 1 && line.len <= LINE_MAX_HERE));
			h = (h ^ (r < 0 ? 0x100 : 0x200)) * 0x100000001b3ULL;
			for (size_t i = 0; r > 0 && i < line.len; i++)
				h = (h ^ (uint8_t)line.p[i]) * 0x100000001b3ULL;
			if (r > 0 && look)
				on_line(line);
		}
		if (at == len)
			break;
	}
	lines_fini(&l);
	return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint64_t h;

	msg_claude_config_init(&config);
	h = cut(data, len, 64 * 1024, true);
	ASSERT(cut(data, len, 1, false) == h);
	ASSERT(cut(data, len, 1 + len % 37, false) == h);
	msg_claude_config_fini(&config);
	return 0;
}
