/*
 * The tables there are. A file of handlers has one, and its line here.
 */
#include "bridge/api/route.h"

const struct route *const route_tables[] = {
	NULL,
};
