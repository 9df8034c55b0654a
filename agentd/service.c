#include "agentd/service.h"

static const struct service *const services[] = {
	&exec_service,
};

static int open_one(
	struct service_link *l, uint32_t channel, const struct msg_open *m, struct error *e)
{
	for (size_t i = 0; i < array_size(services); i++) {
		if (strcmp(services[i]->name, m->service) == 0)
			return services[i]->open(l, channel, m, e);
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
		r = open_one(l, channel, &m, &e);
	if (r < 0)
		mux_refuse(l->mux, channel, text, error_json(&e, text));
	msg_open_fini(&m);
}
