/*
 * file_watch.h - what changes below a directory of a sandbox, as it happens: GET files/watch, as
 * events (SSE), or as a WebSocket when an upgrade is asked for.
 *
 * Each event has a cursor. Who comes back with it (Last-Event-ID, or ?since=) is told what happened
 * meanwhile, or that something was missed.
 */
#pragma once

#include "bridge/api/call.h"

void file_watch(struct call *c);
