/*
 * fuzz_qmp.c - lines as a QEMU that was taken over might say them: what is found lies in the line,
 * and the text of an error ends.
 */
#include "bridge/box/qmp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_in(struct jsonr v, const char *line, size_t len)
{
	if (v.len > 0)
		ASSERT(v.p >= line && v.p + v.len <= line + len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct qmp_message m;
	char *line;

	if (len > QMP_LINE_MAX)
		return 0;
	line = malloc(len + 1); /* no byte more than there is to read */
	ASSERT(line);
	if (len > 0)
		memcpy(line, data, len);
	if (qmp_parse(line, len, &m) == 0) {
		check_in(m.value, line, len);
		check_in(m.name, line, len);
		ASSERT(strnlen(m.desc, sizeof(m.desc)) < sizeof(m.desc));
		ASSERT(m.kind != QMP_EVENT || m.name.p);
	}
	free(line);
	return 0;
}
