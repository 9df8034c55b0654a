/*
 * file_down.h - a file of a sandbox as the answer to a GET or HEAD: whole or a range of it, at any
 * size, as fast as the client takes it.
 */
#pragma once

#include "bridge/api/call.h"

/* The call's sandbox is up and in use. path is taken over. attach: with a name to save it under. */
void file_down(struct call *c, char *path, bool attach);
