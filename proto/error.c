#include "proto/error.h"

#include <stdarg.h>
#include <stdio.h>

#include "proto/jsonw.h"
#include "proto/text.h"

static const char *const words[E_LAST] = {
	[E_NONE] = "none",
	[E_BAD_MESSAGE] = "bad_message",
	[E_UNKNOWN_TYPE] = "unknown_type",
	[E_UNKNOWN_OP] = "unknown_op",
	[E_UNKNOWN_SERVICE] = "unknown_service",
	[E_NO_CHANNEL] = "no_channel",
	[E_CHANNEL_IN_USE] = "channel_in_use",
	[E_CREDIT_OVERRUN] = "credit_overrun",
	[E_BAD_OFFSET] = "bad_offset",
	[E_NOT_INPUT] = "not_input",
	[E_NOT_FOUND] = "not_found",
	[E_ID_IN_USE] = "id_in_use",
	[E_STILL_RUNNING] = "still_running",
	[E_TAKEN_OVER] = "taken_over",
	[E_REMOVED] = "removed",
	[E_TOO_MANY] = "too_many",
	[E_STOPPING] = "stopping",
	[E_FAILED] = "failed",
	[E_NOT_OWNER] = "not_owner",
	[E_SPECIAL_FILE] = "special_file",
	[E_TOO_LARGE] = "too_large",
	[E_CANCELLED] = "cancelled",
};

const char *error_code_str(enum error_code code)
{
	ASSERT(code < E_LAST);
	return words[code];
}

enum error_code error_code_parse(const char *word)
{
	int i = 0;

	while (i < E_LAST && strcmp(words[i], word) != 0)
		i++;
	return (enum error_code)i;
}

/* A message quotes what a peer sent: perhaps cut inside a character, perhaps never text. */
static void make_utf8(char *s)
{
	size_t left = strlen(s);

	while (left > 0) {
		size_t n = 1;

		while (n < min_of(left, (size_t)4) && !utf8_valid(s, n))
			n++;
		if (!utf8_valid(s, n)) {
			*s = '?';
			n = 1;
		}
		s += n;
		left -= n;
	}
}

int error_set(struct error *e, enum error_code code, int err, const char *fmt, ...)
{
	va_list ap;

	e->code = code;
	e->err = err;
	va_start(ap, fmt);
	vsnprintf(e->message, sizeof(e->message), fmt, ap);
	va_end(ap);
	if (!utf8_valid(e->message, strlen(e->message)))
		make_utf8(e->message);
	return err > 0 ? -err : -EINVAL;
}

void error_put(struct jsonw *w, const struct error *e)
{
	jsonw_open(w, "error", '{');
	jsonw_str(w, "code", error_code_str(e->code));
	jsonw_str(w, "message", e->message);
	if (e->err)
		jsonw_int(w, "errno", e->err);
	jsonw_close(w, '}');
}

size_t error_json(const struct error *e, char out[ERROR_JSON_MAX])
{
	struct jsonw w;

	jsonw_init(&w, out, ERROR_JSON_MAX);
	jsonw_open(&w, NULL, '{');
	error_put(&w, e);
	jsonw_close(&w, '}');
	ASSERT(!w.overflow);
	return w.len;
}

static const struct {
	int err;
	const char *name;
} errno_names[] = {
	{EPERM, "EPERM"},
	{ENOENT, "ENOENT"},
	{ESRCH, "ESRCH"},
	{EINTR, "EINTR"},
	{EIO, "EIO"},
	{ENXIO, "ENXIO"},
	{E2BIG, "E2BIG"},
	{ENOEXEC, "ENOEXEC"},
	{EBADF, "EBADF"},
	{ECHILD, "ECHILD"},
	{EAGAIN, "EAGAIN"},
	{ENOMEM, "ENOMEM"},
	{EACCES, "EACCES"},
	{EFAULT, "EFAULT"},
	{EBUSY, "EBUSY"},
	{EEXIST, "EEXIST"},
	{ENODEV, "ENODEV"},
	{ENOTDIR, "ENOTDIR"},
	{EISDIR, "EISDIR"},
	{EINVAL, "EINVAL"},
	{ENFILE, "ENFILE"},
	{EMFILE, "EMFILE"},
	{ENOTTY, "ENOTTY"},
	{ETXTBSY, "ETXTBSY"},
	{EFBIG, "EFBIG"},
	{ENOSPC, "ENOSPC"},
	{EROFS, "EROFS"},
	{EPIPE, "EPIPE"},
	{ERANGE, "ERANGE"},
	{ENAMETOOLONG, "ENAMETOOLONG"},
	{ENOSYS, "ENOSYS"},
	{ELOOP, "ELOOP"},
	{ELIBBAD, "ELIBBAD"},
	{EUSERS, "EUSERS"},
	{EDQUOT, "EDQUOT"},
	{EOPNOTSUPP, "EOPNOTSUPP"},
	{ENOBUFS, "ENOBUFS"},
	{ETIMEDOUT, "ETIMEDOUT"},
	{ECONNREFUSED, "ECONNREFUSED"},
	{ECONNRESET, "ECONNRESET"},
};

const char *errno_name(int err)
{
	for (size_t i = 0; i < array_size(errno_names); i++) {
		if (errno_names[i].err == err)
			return errno_names[i].name;
	}
	return "E?";
}
