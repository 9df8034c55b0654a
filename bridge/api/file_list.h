/*
 * file_list.h - what is in a directory of a sandbox, as a JSON array sorted by name.
 */
#pragma once

#include "bridge/api/call.h"

#define FILE_LIST_MAX 100000 /* entries; more are 413 */

/* The call's sandbox is up and in use. path is taken over. */
void file_list(struct call *c, char *path);
