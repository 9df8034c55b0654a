/*
 * The tables there are. A file of handlers has one, and its line here.
 */
#include "bridge/api/route.h"

const struct route *const route_tables[] = {
	routes_misc,
	routes_sandboxes,
	routes_exec,
	routes_exec_run,
	routes_agent,
	routes_pty,
	routes_files,
	routes_files_more,
	routes_signed,
	routes_admin,
	routes_checkpoints,
	routes_patches,
	routes_later,
	NULL,
};
