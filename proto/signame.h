/*
 * signame.h - signals by name, without the SIG prefix ("TERM"). The numbers are this machine's;
 * both ends of a link run the same kernel ABI. sigabbrev_np() exists only in newer glibc.
 */
#pragma once

/* Name (with or without SIG) or decimal number; -EINVAL when it is neither, or out of range. */
int signame_parse(const char *word);
/* "?" for a number without a name. */
const char *signame_str(int sig);
