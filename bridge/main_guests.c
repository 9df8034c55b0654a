/* The file of --guests. A guest is known by its alias, so a restart does not register it again. */
#include "bridge/main.h"

#include <stdio.h>

#include "proto/jsonr.h"

#define GUEST_LINE_MAX 4096

struct guest_asked {
	struct list node;
	struct sandbox_op op;
	char name[BOX_ID_MAX + 1];
};

static struct list asked = {&asked, &asked};

static void drop(struct guest_asked *g)
{
	list_remove(&g->node);
	free(g);
}

void guests_forget(void)
{
	list_for_each_safe (g, &asked, struct guest_asked, node) {
		sandbox_forget(&g->op);
		drop(g);
	}
}

static void on_answer(struct sandbox_op *op, const struct fault *fault)
{
	struct guest_asked *g = op->owner;

	if (fault)
		log_warn("guest not registered id=%s why=\"%s\"", g->name, fault->text);
	else
		log_info("guest registered id=%s sandbox=%s", g->name, op->sandbox->id);
	drop(g);
}

static void add(struct bridge *b, const char *id, const char *address, const char *token)
{
	struct sandbox *known = sandboxes_find(b->sandboxes, id);
	struct guest_asked *g;

	if (known && known->state != SANDBOX_KILLED)
		return;
	g = xcalloc(1, sizeof(*g));
	list_append(&asked, &g->node);
	snprintf(g->name, sizeof(g->name), "%s", id);
	g->op = (struct sandbox_op){.fn = on_answer, .owner = g};
	sandbox_create(b->sandboxes,
		&(struct sandbox_spec){
			.template = "external",
			.alias = id,
			.network = true,
			.address = address,
			.token = token,
		},
		&g->op);
}

/* A member that must be a string of 1..max characters, or may be missing. */
static bool take(struct jsonr line, const char *name, size_t max, bool needed, char **ret)
{
	struct jsonr v;

	if (!jsonr_member(line, name, &v))
		return !needed;
	return jsonr_str(v, ret) == 0 && (*ret)[0] && strlen(*ret) <= max;
}

static bool read_line(struct bridge *b, const char *text, size_t len)
{
	auto_free char *id = NULL, *address = NULL, *token = NULL;
	struct target target;
	struct jsonr line;
	const char *why;

	if (jsonr_parse(text, len, &line) < 0 || !take(line, "id", BOX_ID_MAX, true, &id) ||
		!bridge_alias_valid(id) ||
		!take(line, "address", TARGET_PATH_MAX + 32, true, &address) ||
		!take(line, "token", BOX_TOKEN_MAX, false, &token) ||
		target_parse(address, &target, &why) < 0)
		return false;
	add(b, id, address, token);
	return true;
}

int guests_register(struct bridge *b, const char *path, char *why, size_t why_size)
{
	FILE *f = fopen(path, "re");
	char text[GUEST_LINE_MAX];
	int r = 0;

	if (!f) {
		r = -errno;
		snprintf(why, why_size, "%s: %s", path, strerror(-r));
		return r;
	}
	for (unsigned n = 1; r == 0 && fgets(text, sizeof(text), f); n++) {
		size_t len = strcspn(text, "\r\n");

		if (len == strspn(text, " \t") || read_line(b, text, len))
			continue;
		snprintf(why, why_size,
			"%s line %u: {\"id\":NAME,\"address\":\"" TARGET_USAGE
			"\",\"token\":TEXT} is expected",
			path, n);
		r = -EINVAL;
	}
	fclose(f);
	return r;
}
