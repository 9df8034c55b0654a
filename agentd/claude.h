/*
 * claude.h - the driver of an agent session (docs/protocol.md section 15), a process of its own:
 * `agentd claude`, or agentd under the name claude-agent-wrapper. It speaks the line protocol on
 * stdin and stdout and runs the command line program behind it.
 */
#pragma once

#include "base/base.h"

#define CLAUDE_VERB         "claude"
#define CLAUDE_WRAPPER_NAME "claude-agent-wrapper"

/* Whether this command line asks for the driver. */
bool claude_is_asked_for(int argc, char **argv);
/* Its whole life; the exit code. */
int claude_main(void);
