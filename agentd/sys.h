/*
 * sys.h - between the files of the request family "sys": sys.c (the table, and what is answered at
 * once), sys_stats.c, sys_limits.c, sys_snapshot.c.
 */
#pragma once

#include "agentd/service.h"

typedef int (*sys_op_fn)(struct service_link *l, uint64_t id, struct json json, struct error *e);

/* Each as request_family.request: 0 when it is or will be answered. */
int sys_stats(struct service_link *l, uint64_t id, struct json json, struct error *e);
int sys_limits(struct service_link *l, uint64_t id, struct json json, struct error *e);
int sys_prepare(struct service_link *l, uint64_t id, struct json json, struct error *e);
int sys_resume(struct service_link *l, uint64_t id, struct json json, struct error *e);
