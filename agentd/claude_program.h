/*
 * claude_program.h - which program an agent session runs, whether it is there, and whether it will
 * find credentials: asked once, so that a client hears at the start what is missing.
 */
#pragma once

#include "proto/msg_claude.h"

#define CLAUDE_WORDS_MAX 32

struct claude_program {
	char *text;                        /* owned: the words lie in it */
	char *words[CLAUDE_WORDS_MAX + 1]; /* name or path, arguments; NULL-terminated */
	size_t n;
};

/* From AGENTD_CLAUDE, else "claude". -E2BIG: too many words. */
int claude_program_init(struct claude_program *p);
void claude_program_fini(struct claude_program *p);
/* Can it be executed? 0, or -errno. */
int claude_program_check(const struct claude_program *p);
/* Whether it is one that needs no credentials that we know of, or there are some. */
bool claude_program_has_key(const struct claude_program *p);

/* The command line for these settings, for claude_argv_free(); NULL: no memory. `resume` may be
 * NULL. fresh_prompt: a configured system prompt counts also where the conversation has recorded
 * another. */
char **claude_program_argv(const struct claude_program *p, const struct msg_claude_config *config,
	const char *resume, bool fresh_prompt);
void claude_argv_free(char **argv);
