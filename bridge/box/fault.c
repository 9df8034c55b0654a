#include "bridge/box/fault.h"

#include <stdarg.h>
#include <stdio.h>

#include "proto/error.h"
#include "proto/text.h"

bool fault_set(struct fault *f, int status, const char *fmt, ...)
{
	va_list ap;

	*f = (struct fault){.status = status};
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	f->text[utf8_cut(f->text, strlen(f->text))] = '\0';
	return false;
}

int fault_status_of(int err)
{
	switch (abs(err)) {
	case ENOENT: return 404;
	case EACCES:
	case EPERM:
	case EROFS: return 403;
	case EEXIST:
	case ENOTEMPTY:
	case EISDIR:
	case ENOTDIR:
	case EBUSY:
	case ETXTBSY: return 409;
	case EFBIG: return 413;
	case ENOSPC:
	case EDQUOT: return 507;
	case EINVAL:
	case ENAMETOOLONG:
	case ELOOP:
	case EXDEV: return 400;
	default: return 502;
	}
}

static int status_of(const struct error *e)
{
	switch (e->code) {
	case E_NOT_FOUND: return 404;
	case E_ID_IN_USE:
	case E_STILL_RUNNING: return 409;
	case E_TOO_LARGE: return 413;
	case E_BAD_MESSAGE:
	case E_SPECIAL_FILE: return 400;
	default: return fault_status_of(e->err);
	}
}

void fault_from_error(struct fault *f, const struct error *e, const char *what)
{
	fault_set(f, status_of(e), "%s%s%s", what ? what : "", what ? ": " : "", e->message);
}
