#include "agentd/names.h"

void names_fini(struct names *n)
{
	free(n->slots);
	free(n->bytes);
	*n = (struct names){0};
}

static struct names_slot *slot_of(const struct names *n, dev_t dev, ino_t ino)
{
	uint64_t h = ((uint64_t)ino ^ (uint64_t)dev << 32) * 0x9e3779b97f4a7c15ULL;

	for (size_t i = (size_t)(h >> 32);; i++) {
		struct names_slot *s = &n->slots[i & (n->size - 1)];

		if (s->at == 0 || (s->ino == ino && s->dev == dev))
			return s;
	}
}

static bool grow_slots(struct names *n)
{
	struct names old = *n;
	size_t size = max_of(2 * n->size, (size_t)64);
	struct names_slot *slots = calloc(size, sizeof(*slots));

	if (!slots)
		return false;
	n->slots = slots;
	n->size = size;
	for (size_t i = 0; i < old.size; i++) {
		const struct names_slot *s = &old.slots[i];

		if (s->at)
			*slot_of(n, s->dev, s->ino) = *s;
	}
	free(old.slots);
	return true;
}

/* Room for one more with a name of this length, its NUL included. */
static bool has_room(struct names *n, size_t len)
{
	if (n->n >= NAMES_MAX || n->used + len > NAMES_BYTES_MAX)
		return false;
	if (n->used + len > n->room) {
		size_t room = max_of(2 * (n->used + len), (size_t)4096);
		char *bytes = realloc(n->bytes, room);

		if (!bytes)
			return false;
		n->bytes = bytes;
		n->room = room;
	}
	return 2 * (n->n + 1) <= n->size || grow_slots(n);
}

const char *names_find_or_add(struct names *n, dev_t dev, ino_t ino, const char *name)
{
	size_t len = strlen(name) + 1;
	struct names_slot *s = n->size ? slot_of(n, dev, ino) : NULL;

	if (s && s->at)
		return n->bytes + s->at - 1;
	if (!has_room(n, len))
		return NULL;
	*slot_of(n, dev, ino) = (struct names_slot){dev, ino, (uint32_t)n->used + 1};
	memcpy(n->bytes + n->used, name, len);
	n->used += len;
	n->n++;
	return NULL;
}
