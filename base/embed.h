/*
 * embed.h - files that are part of the program; the tables are made by cmake/embed.cmake.
 */
#pragma once

#include <stddef.h>

struct embedded {
	const char *name; /* below its base directory; NULL: the end of the table */
	const unsigned char *data;
	size_t len;
};
