/*
 * signed.h - the credentials of signed URLs.
 */
#pragma once

#include "bridge/api/call.h"

/* For routes with R_SIGNED, before anything is done for the call: c->sandbox is set. False: it is
 * answered, with 400 or 403. */
bool signed_check(struct call *c);
