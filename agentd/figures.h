/*
 * figures.h - the kernel's text about the machine as JSON members (docs/protocol.md section 17).
 * The functions that take a text are pure. What is not in the text is not in the JSON.
 */
#pragma once

#include "proto/jsonw.h"

#define FIGURES_INTERFACES 64

/* /proc/stat: "cpu". */
void figures_put_cpu(struct jsonw *w, const char *stat, long count);
/* /proc/loadavg: "load", and of "tasks" what it says: running, threads. */
void figures_put_load(struct jsonw *w, const char *loadavg);
void figures_put_tasks(struct jsonw *w, const char *loadavg, uint64_t processes, uint64_t max);
/* /proc/meminfo: "memory". */
void figures_put_memory(struct jsonw *w, const char *meminfo);
/* /proc/net/dev: "net". */
void figures_put_net(struct jsonw *w, const char *dev);
/* A pressure file: an object `name` with "some" and "full". */
void figures_put_pressure(struct jsonw *w, const char *name, const char *text);

/* T. All of the above and what belongs to it, read from /proc. mounts: beside "/". */
void figures_put_machine(struct jsonw *w, const char *const *mounts, size_t n_mounts);
/* T. "pressure" from three files in a directory: prefix "" and suffix "" in /proc/pressure,
 * ".pressure" in a cgroup. */
void figures_put_pressures(struct jsonw *w, int dir, const char *suffix);
