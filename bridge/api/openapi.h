/*
 * openapi.h - the description of the API, joined from the files in bridge/api/openapi: one for each
 * file of handlers, an object with "paths" and "schemas"; what is left is in head.json.
 */
#pragma once

#include "base/base.h"

/* Made when it is first asked for, and kept. NULL: out of memory. */
const char *openapi_text(size_t *ret_len);
