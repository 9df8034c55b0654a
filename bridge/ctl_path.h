/*
 * ctl_path.h - what the commands on files share: names on the wire, names for people.
 */
#pragma once

#include "bridge/ctl.h"
#include "proto/msg_file_told.h"

/* Members "path", "root" and "user", as the options say. */
void ctl_put_where(const struct ctl_options *o, struct jsonw *w, const char *path);
/* The last component, without slashes behind it; "" of "/". Allocated. */
char *ctl_base_name(const char *path);
/* dir + "/" + name; allocated. */
char *ctl_join(const char *dir, const char *name);
/* Prints a name; on a terminal nothing in it can move the cursor. */
void ctl_print_name(const char *name);
/* Says "cannot WHAT PATH: reason". */
void ctl_say_file(const char *what, const char *path, const struct error *e);
/* Four figures at most: 1023, 9.9K, 123K, 4.2G. */
void ctl_format_bytes(char *out, size_t size, uint64_t n);
