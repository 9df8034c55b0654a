/*
 * front_listen.h - what libwebsockets has no words or no limits for: why a port cannot be listened
 * on, and how many connections there are descriptors for.
 */
#pragma once

#include "bridge/api/front.h"

/* Tries it and lets go again. 0 or -errno; what: for people, what was tried. */
int listen_try(const struct front_config *config, char *what, size_t size);
size_t listen_max(const struct front_config *config);
