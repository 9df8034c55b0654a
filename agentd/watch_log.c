#include "agentd/watch_log.h"

const char *watch_kind_str(enum watch_kind kind)
{
	static const char *const words[] = {
		"create", "modify", "remove", "rename", "attrib", "overflow"};

	return words[kind];
}

struct watch_event *watch_event_new(
	enum watch_kind kind, const char *path, size_t len, const char *from, size_t from_len)
{
	struct watch_event *e = malloc(sizeof(*e) + len + from_len);

	if (!e)
		return NULL;
	*e = (struct watch_event){.kind = kind, .len = len, .from_len = from_len};
	memcpy(e->text, path, len);
	memcpy(e->text + len, from, from_len);
	return e;
}

int watch_log_init(struct watch_log *l)
{
	*l = (struct watch_log){.first = 1, .next = 1};
	l->ring = calloc(WATCH_LOG_EVENTS, sizeof(struct watch_event *));
	return l->ring ? 0 : -ENOMEM;
}

static struct watch_event **slot(const struct watch_log *l, uint64_t seq)
{
	return &l->ring[seq % WATCH_LOG_EVENTS];
}

static void forget_oldest(struct watch_log *l)
{
	struct watch_event *e = *slot(l, l->first);

	*slot(l, l->first++) = NULL;
	l->bytes -= e->len + e->from_len;
	free(e);
}

void watch_log_fini(struct watch_log *l)
{
	while (l->ring && l->first < l->next)
		forget_oldest(l);
	free(l->ring);
	l->ring = NULL;
}

void watch_log_add(struct watch_log *l, struct watch_event *e)
{
	size_t bytes = e->len + e->from_len;

	while (l->first < l->next &&
		(l->next - l->first == WATCH_LOG_EVENTS || l->bytes + bytes > WATCH_LOG_BYTES))
		forget_oldest(l);
	e->next = NULL;
	e->seq = l->next++;
	l->bytes += bytes;
	*slot(l, e->seq) = e;
}

const struct watch_event *watch_log_get(const struct watch_log *l, uint64_t seq)
{
	return seq >= l->first && seq < l->next ? *slot(l, seq) : NULL;
}
