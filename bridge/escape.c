#include "bridge/escape.h"

static bool is_control(int c)
{
	return c < 0x20 || c == 0x7f;
}

int escape_parse(const char *text, int *ret_key)
{
	size_t len = strlen(text);
	uint8_t c;

	if (strcmp(text, "none") == 0) {
		*ret_key = -1;
		return 0;
	}
	if (len == 2 && text[0] == '^') {
		c = (uint8_t)text[1];
		c = c >= 'a' && c <= 'z' ? (uint8_t)(c - 0x20) : c;
		if (c != '?' && (c < '@' || c > '_'))
			return -EINVAL;
		*ret_key = c ^ 0x40;
		return 0;
	}
	if (len != 1 || (uint8_t)text[0] > 0x7e || is_control(text[0]))
		return -EINVAL;
	*ret_key = (uint8_t)text[0];
	return 0;
}

void escape_init(struct escape *e, int key)
{
	*e = (struct escape){.key = key};
}

const char *escape_name(const struct escape *e, char out[3])
{
	bool control = is_control(e->key);

	out[0] = control ? '^' : (char)e->key;
	out[1] = control ? (char)(e->key ^ 0x40) : '\0';
	out[2] = '\0';
	return out;
}

static enum escape_action action_of(uint8_t c)
{
	return c == '.' ? ESCAPE_LEAVE : c == '?' ? ESCAPE_HELP : ESCAPE_NOTHING;
}

size_t escape_filter(struct escape *e, const uint8_t *in, size_t len, uint8_t *out,
	size_t *ret_used, enum escape_action *ret_action)
{
	size_t n = 0, i = 0;

	*ret_action = ESCAPE_NOTHING;
	while (i < len && *ret_action == ESCAPE_NOTHING) {
		uint8_t c = in[i++];

		if (e->held) {
			e->held = false;
			*ret_action = action_of(c);
			if (*ret_action != ESCAPE_NOTHING)
				break;
			if (c != e->key)
				out[n++] = (uint8_t)e->key;
		} else if (c == e->key && (!e->in_line || is_control(c))) {
			e->held = true;
			continue;
		}
		out[n++] = c;
		e->in_line = c != '\r' && c != '\n';
	}
	*ret_used = i;
	return n;
}
