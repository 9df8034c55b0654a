/*
 * The bridge's program. Its parts are made in the order of bridge.h and unmade in reverse.
 */
#include <stdio.h>

int main(void)
{
	fputs("bridge: not built yet\n", stderr);
	return 1;
}
