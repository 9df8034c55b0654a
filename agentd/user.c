/*
 * Two small text files, read whole and scanned by line when an answer is not known yet; the answers
 * (not the files) are kept. Each resolve looks at the stat of both files, and a change drops all
 * answers, so an entry added a moment ago counts, and the usual case costs two stat calls.
 *
 * The group list is what initgroups(3) makes: the groups that name the user as a member, plus the
 * gid of the process, which is that of "name:group" where one is given and else that of the passwd
 * entry.
 */
#include "agentd/user.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define FILE_MAX   (4 * MIB)
#define ANSWERS    8
#define SPEC_MAX   512
#define FIELDS_MAX 7

struct stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct table {
	const char *path;
	struct stamp stamp;
	char *text; /* only while one question is answered */
	size_t len;
};

struct field {
	const char *s;
	size_t len;
};

static struct table passwd = {.path = "/etc/passwd"};
static struct table group = {.path = "/etc/group"};

static struct answer {
	char spec[SPEC_MAX]; /* "" is a free place */
	struct user user;
} answers[ANSWERS];
static unsigned next_answer;

/* files */

/* All zeros: there is no such file. Other errors show when it is read. */
static struct stamp stamp_of(const struct stat *st)
{
	return (struct stamp){st->st_dev, st->st_ino, st->st_size, st->st_mtim, st->st_ctim};
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       same_time(a->mtime, b->mtime) && same_time(a->ctime, b->ctime);
}

static bool table_unchanged(const struct table *t)
{
	struct stamp now = {0};
	struct stat st;

	if (stat(t->path, &st) == 0)
		now = stamp_of(&st);
	return same_stamp(&now, &t->stamp);
}

static int read_all(int fd, char *buf, size_t size, size_t *ret_len)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = read(fd, buf + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret_len = len;
	return 0;
}

/* An absent file is an empty one. The stamp is taken before the text: a change in between is seen
 * next time. */
static int table_load(struct table *t)
{
	struct stamp before = t->stamp;
	auto_free char *text = NULL;
	auto_close int fd = -1;
	struct stat st;
	size_t len = 0;
	int r;

	t->stamp = (struct stamp){0};
	fd = open(t->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > FILE_MAX)
		return -EFBIG;
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	r = read_all(fd, text, (size_t)st.st_size, &len);
	if (r < 0)
		return r;
	t->stamp = stamp_of(&st);
	t->text = take_ptr(&text);
	t->len = len;
	if (!same_stamp(&t->stamp, &before)) /* changed since known() looked */
		user_drop_cache();
	return 0;
}

static void table_unload(struct table *t)
{
	free(t->text);
	t->text = NULL;
	t->len = 0;
}

/* lines and fields */

static bool parse_number(const char *s, size_t len, uint32_t *ret)
{
	uint64_t v = 0;

	if (len == 0 || len > 10)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(s[i] - '0');
	}
	if (v >= UINT32_MAX) /* (uid_t)-1 means "none" to the kernel */
		return false;
	*ret = (uint32_t)v;
	return true;
}

static bool is_digits(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
	}
	return len > 0;
}

static bool field_is(struct field f, const char *s)
{
	return f.len == strlen(s) && memcmp(f.s, s, f.len) == 0;
}

/* The next line that has at least `want` fields; the last one takes the rest. Comments, and lines
 * that are no entries, are passed over. */
static bool next_entry(const struct table *t, size_t *pos, struct field *f, size_t want)
{
	while (*pos < t->len) {
		const char *line = t->text + *pos;
		const char *end = memchr(line, '\n', t->len - *pos);
		size_t len = end ? (size_t)(end - line) : t->len - *pos;
		size_t n = 0;

		*pos += len + 1;
		if (len == 0 || *line == '#' || memchr(line, '\0', len))
			continue;
		for (;;) {
			const char *colon = n + 1 < want ? memchr(line, ':', len) : NULL;
			size_t used = colon ? (size_t)(colon - line) : len;

			f[n++] = (struct field){line, used};
			if (!colon)
				break;
			line += used + 1;
			len -= used + 1;
		}
		if (n == want && f[0].len > 0)
			return true;
	}
	return false;
}

static bool copy_field(char *dst, size_t size, struct field f, const char *otherwise)
{
	if (f.len == 0)
		f = (struct field){otherwise, strlen(otherwise)};
	if (f.len >= size)
		return false;
	memcpy(dst, f.s, f.len);
	dst[f.len] = '\0';
	return true;
}

/* questions */

/* The first passwd entry with this name, or with this uid when name is NULL. Fills all but the
 * groups. */
static bool find_user(const char *name, uid_t uid, struct user *ret)
{
	struct field f[FIELDS_MAX];
	size_t pos = 0;

	while (next_entry(&passwd, &pos, f, FIELDS_MAX)) {
		struct user u = {0};

		if (!parse_number(f[2].s, f[2].len, &u.uid) ||
			!parse_number(f[3].s, f[3].len, &u.gid))
			continue;
		if (name ? !field_is(f[0], name) : u.uid != uid)
			continue;
		if (!copy_field(u.name, sizeof(u.name), f[0], "") ||
			!copy_field(u.home, sizeof(u.home), f[5], "/") ||
			!copy_field(u.shell, sizeof(u.shell), f[6], "/bin/sh"))
			continue;
		*ret = u;
		return true;
	}
	return false;
}

static bool find_group(const char *name, gid_t *ret)
{
	struct field f[4];
	size_t pos = 0;

	while (next_entry(&group, &pos, f, 4)) {
		if (field_is(f[0], name) && parse_number(f[2].s, f[2].len, ret))
			return true;
	}
	return false;
}

static bool has_member(struct field members, const char *name)
{
	size_t len = strlen(name);

	while (members.len > 0) {
		const char *comma = memchr(members.s, ',', members.len);
		size_t n = comma ? (size_t)(comma - members.s) : members.len;

		if (n == len && memcmp(members.s, name, len) == 0)
			return true;
		n += comma ? 1 : 0;
		members.s += n;
		members.len -= n;
	}
	return false;
}

static int add_group(struct user *u, gid_t gid)
{
	for (size_t i = 0; i < u->n_groups; i++) {
		if (u->groups[i] == gid)
			return 0;
	}
	if (u->n_groups == USER_GROUPS_MAX)
		return -E2BIG;
	u->groups[u->n_groups++] = gid;
	return 0;
}

static int collect_groups(struct user *u)
{
	struct field f[4];
	size_t pos = 0;
	gid_t gid;
	int r = add_group(u, u->gid);

	while (r == 0 && u->name[0] && next_entry(&group, &pos, f, 4)) {
		if (parse_number(f[2].s, f[2].len, &gid) && has_member(f[3], u->name))
			r = add_group(u, gid);
	}
	return r;
}

static int answer_user(const char *spec, struct user *u)
{
	uid_t uid;

	if (!is_digits(spec, strlen(spec)))
		return find_user(spec, 0, u) ? 0 : -ENOENT;
	if (!parse_number(spec, strlen(spec), &uid))
		return -EINVAL;
	if (!find_user(NULL, uid, u))
		*u = (struct user){.uid = uid, .gid = uid, .home = "/", .shell = "/bin/sh"};
	return 0;
}

static int answer_group(const char *spec, gid_t *ret)
{
	if (!is_digits(spec, strlen(spec)))
		return find_group(spec, ret) ? 0 : -ENOENT;
	return parse_number(spec, strlen(spec), ret) ? 0 : -EINVAL;
}

static int answer(const char *spec, struct user *u)
{
	char name[SPEC_MAX], *colon;
	int r;

	snprintf(name, sizeof(name), "%s", spec); /* fits: checked by the caller */
	colon = strchr(name, ':');
	if (colon)
		*colon++ = '\0';
	if (!*name || (colon && (!*colon || strchr(colon, ':'))))
		return -EINVAL;
	r = answer_user(name, u);
	if (r == 0 && colon)
		r = answer_group(colon, &u->gid);
	return r < 0 ? r : collect_groups(u);
}

static const struct user *known(const char *spec)
{
	if (!table_unchanged(&passwd) || !table_unchanged(&group)) {
		user_drop_cache();
		return NULL;
	}
	for (size_t i = 0; i < ANSWERS; i++) {
		if (strcmp(answers[i].spec, spec) == 0)
			return &answers[i].user;
	}
	return NULL;
}

int user_resolve(const char *spec, struct user *ret)
{
	const struct user *old;
	struct answer *a;
	struct user u = {0};
	int r;

	if (!*spec || strlen(spec) >= SPEC_MAX)
		return -EINVAL;
	old = known(spec);
	if (old) {
		*ret = *old;
		return 0;
	}
	r = table_load(&passwd);
	if (r == 0)
		r = table_load(&group);
	if (r == 0)
		r = answer(spec, &u);
	table_unload(&passwd);
	table_unload(&group);
	if (r < 0)
		return r;
	a = &answers[next_answer++ % ANSWERS];
	snprintf(a->spec, sizeof(a->spec), "%s", spec);
	a->user = u;
	*ret = u;
	return 0;
}

int user_by_uid(uid_t uid, struct user *ret)
{
	char spec[16];

	snprintf(spec, sizeof(spec), "%u", uid);
	return user_resolve(spec, ret);
}

void user_set_files(const char *passwd_path, const char *group_path)
{
	passwd.path = passwd_path ? passwd_path : "/etc/passwd";
	group.path = group_path ? group_path : "/etc/group";
	user_drop_cache();
}

void user_drop_cache(void)
{
	memset(answers, 0, sizeof(answers));
}
