#include "agentd/service.h"

static const struct service *const services[] = {
	&exec_service,
	&file_service,
	&dial_service,
	&ports_service,
};

static const struct request_family *const families[] = {
	&sys_family,
	&file_family,
	&net_family,
};

static int open_one(struct service_link *l, uint32_t channel, const struct msg_open *m,
	struct json json, struct error *e)
{
	for (size_t i = 0; i < array_size(services); i++) {
		if (strcmp(services[i]->name, m->service) == 0)
			return services[i]->open(l, channel, m, json, e);
	}
	return error_set(e, E_UNKNOWN_SERVICE, 0, "there is no service \"%.64s\"", m->service);
}

void service_open(struct service_link *l, uint32_t channel, const uint8_t *json, size_t len)
{
	struct msg_open m = {0};
	struct error e;
	char text[ERROR_JSON_MAX];
	int r = msg_parse_open(json, len, &m, &e);

	if (r == 0)
		r = open_one(l, channel, &m, (struct json){json, len}, &e);
	if (r < 0)
		mux_refuse(l->mux, channel, text, error_json(&e, text));
	msg_open_fini(&m);
}

const struct request_family *service_family(const char *op_name)
{
	size_t n = strcspn(op_name, ".");

	for (size_t i = 0; i < array_size(families) && op_name[n]; i++) {
		if (families[i] && strlen(families[i]->name) == n &&
			memcmp(families[i]->name, op_name, n) == 0)
			return families[i];
	}
	return NULL;
}

void reply_init(struct reply *r, struct service_link *l, uint32_t channel, uint64_t id)
{
	*r = (struct reply){.link = l, .channel = channel, .id = id};
	list_init(&r->node);
	list_append(&l->replies, &r->node);
}

void reply_send(struct reply *r, const void *json, size_t len)
{
	struct service_link *l = r->link;

	if (!l)
		return;
	list_remove(&r->node);
	r->link = NULL;
	mux_respond(l->mux, r->channel, r->id, json, len);
	l->wake(l);
}

void reply_error(struct reply *r, const struct error *e)
{
	char text[ERROR_JSON_MAX];

	reply_send(r, text, error_json(e, text));
}

void service_link_fini(struct service_link *l)
{
	while (!list_empty(&l->replies)) {
		struct reply *r = list_first(&l->replies, struct reply, node);

		list_remove(&r->node);
		r->link = NULL;
		r->gone = true;
	}
}
