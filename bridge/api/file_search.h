/*
 * file_search.h - lines and names in the files of a sandbox: POST files/search, POST files/glob.
 * The answer is {"matches":[...],...}, or a line of JSON for each with "Accept:
 * application/x-ndjson".
 */
#pragma once

#include "bridge/api/call.h"

void file_search(struct call *c);
void file_glob(struct call *c);
