/*
 * ctl_json.h - walks over JSON text that the agent sent, without taking it apart: so what --json
 * and `info` show is what the agent said, members that this program does not know included.
 */
#pragma once

#include "base/base.h"

struct json_text {
	const char *p;
	size_t len;
};

struct json_walk {
	struct json_text rest;
	bool named; /* an object's members, else an array's elements */
};

/* False when it is neither an object nor an array. */
bool json_begin(struct json_walk *w, struct json_text value);
/* The next member or element; *ret_name is without its quotes. False at the end. */
bool json_next(struct json_walk *w, struct json_text *ret_name, struct json_text *ret_value);
/* The member `name` of an object. */
bool json_member(struct json_text object, const char *name, struct json_text *ret);
