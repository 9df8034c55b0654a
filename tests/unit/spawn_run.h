/*
 * spawn_run.h - for the tests of spawn: a process as one line, and what has to be so afterwards.
 */
#pragma once

#include "agentd/spawn.h"

extern char tmp[64]; /* a directory of this run, 0755 */
extern int devnull;

bool spawn_run_init(void);
int spawn_run_fini(void); /* removes tmp; 0 */

/* Around each case: as many descriptors as before, and no child, dead or alive. */
int before(void **state);
int after(void **state);

int count_fds(void);
void no_children(void);

/* A request for argv[1]..., with nothing but /dev/null; through the macros. */
struct spawn_request request(char **argv);
#define REQUEST(...) request((char *[]){(char *)"spare", __VA_ARGS__, NULL})
#define SH(script)   REQUEST((char *)"sh", (char *)"-c", (char *)(script))

int wait_status(struct spawn_result *res);
/* Runs it with stdout to a pipe; its exit status as a shell has it, its output in out. */
int run(struct spawn_request req, char *out, size_t size);
void exits(struct spawn_request req, int status);
void prints(struct spawn_request req, const char *expected);           /* and exits 0 */
void fails(struct spawn_request req, enum spawn_stage stage, int err); /* err 0: any */

/* Below tmp; the result is good for the next three calls. */
const char *make_file(const char *name, mode_t mode, const char *text);
const char *make_dir(const char *name, mode_t mode);
