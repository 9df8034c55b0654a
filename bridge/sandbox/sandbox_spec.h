/*
 * sandbox_spec.h - what a sandbox may be made with.
 */
#pragma once

#include "base/base.h"

#define SANDBOX_ENVS_MAX     (64 * 1024) /* names and values together */
#define SANDBOX_ENV_NAME_MAX 256
#define SANDBOX_METADATA_MAX (64 * 1024)
#define SANDBOX_PAIRS_MAX    1000 /* of each of the two */

bool sandbox_env_name_valid(const char *name);
/* A JSON object of strings: can each of them be told to an agent? */
bool sandbox_envs_fit(const char *json);
