#include "agentd/claude_program.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#define SETTINGS_MAX (1 * MIB)

static int check_file(const char *path)
{
	struct stat st;

	if (access(path, X_OK) < 0 || stat(path, &st) < 0)
		return -errno;
	return S_ISREG(st.st_mode) ? 0 : -EACCES;
}

/* As posix_spawnp(3) will look for it. */
static int check_name(const char *name)
{
	const char *path = getenv("PATH");
	char file[PATH_MAX];

	if (strchr(name, '/'))
		return check_file(name);
	while (path && *path) {
		size_t len = strcspn(path, ":");
		int n = snprintf(file, sizeof(file), "%.*s/%s", (int)(len ? len : 1),
			len ? path : ".", name);

		if (n < (int)sizeof(file) && check_file(file) == 0)
			return 0;
		path += len + (path[len] == ':');
	}
	return -ENOENT;
}

/* Its own installer puts it where a PATH need not lead. */
static char *find_default(void)
{
	const char *home = getenv("HOME");
	char path[PATH_MAX];
	bool fits = snprintf(path, sizeof(path), "%s/.local/bin/claude", home ? home : "") <
		    (int)sizeof(path);
	bool there = check_name("claude") < 0 && fits && check_file(path) == 0;

	return strdup(there && !strpbrk(path, " \t") ? path : "claude");
}

int claude_program_init(struct claude_program *p)
{
	const char *given = getenv("AGENTD_CLAUDE");
	char *at = NULL, *word;

	*p = (struct claude_program){0};
	if (!given || given[strspn(given, " \t")] == '\0')
		p->text = find_default();
	else
		p->text = strdup(given);
	ASSERT(p->text);
	for (word = strtok_r(p->text, " \t", &at); word; word = strtok_r(NULL, " \t", &at)) {
		if (p->n == CLAUDE_WORDS_MAX)
			return -E2BIG;
		p->words[p->n++] = word;
	}
	return 0;
}

void claude_program_fini(struct claude_program *p)
{
	free(take_ptr(&p->text));
}

int claude_program_check(const struct claude_program *p)
{
	return check_name(p->words[0]);
}

/* ---- credentials ---- */

static bool is_set(const char *name)
{
	const char *value = getenv(name);

	return value && *value;
}

static bool file_has(const char *dir, const char *name, const char *word)
{
	char path[PATH_MAX];
	auto_free char *text = NULL;
	struct stat st;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return false;
	if (!word)
		return st.st_size > 0;
	text = malloc(SETTINGS_MAX);
	n = text ? read(fd, text, SETTINGS_MAX) : -1;
	return n > 0 && memmem(text, (size_t)n, word, strlen(word));
}

/* Whether the credentials are good, only the program can find out. */
static bool files_have_key(void)
{
	const char *dir = getenv("CLAUDE_CONFIG_DIR"), *home = getenv("HOME");
	const char *word = "\"apiKeyHelper\"";
	char path[PATH_MAX];

	if (!dir || !*dir) {
		snprintf(path, sizeof(path), "%s/.claude", home ? home : "");
		dir = path;
	}
	return file_has(dir, ".credentials.json", NULL) || file_has(dir, "settings.json", word) ||
	       file_has(".claude", "settings.json", word) ||
	       file_has("/etc/claude-code", "managed-settings.json", word);
}

bool claude_program_has_key(const struct claude_program *p)
{
	static const char *const names[] = {"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN",
		"CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX",
		"CLAUDE_CODE_USE_FOUNDRY"};
	const char *slash = strrchr(p->words[0], '/');
	const char *name = slash ? slash + 1 : p->words[0];

	if (strcmp(name, "claude") != 0 && strcmp(name, "claude.exe") != 0)
		return true;
	for (size_t i = 0; i < array_size(names); i++) {
		if (is_set(names[i]))
			return true;
	}
	return files_have_key();
}

/* ---- the command line ---- */

#define ARGV_MAX (CLAUDE_WORDS_MAX + MSG_CLAUDE_ARGS_MAX + 24)

struct argv {
	char **v; /* NULL once memory ran out */
	size_t n;
};

/* Takes the string over. */
static void add(struct argv *a, char *arg)
{
	if (a->v && arg) {
		a->v[a->n++] = arg;
		a->v[a->n] = NULL;
		return;
	}
	free(arg);
	claude_argv_free(take_ptr(&a->v));
}

/* With a value, as one argument: so it may begin with a dash. */
static void add_option(struct argv *a, const char *name, const char *value)
{
	size_t size = strlen(name) + (value ? strlen(value) : 0) + 2;
	char *arg = malloc(size);

	if (arg)
		snprintf(arg, size, "%s%s%s", name, value ? "=" : "", value ? value : "");
	add(a, arg);
}

static void add_given(struct argv *a, const char *name, const char *value)
{
	if (value)
		add_option(a, name, value);
}

static void add_mcp_servers(struct argv *a, const char *servers)
{
	size_t size = strlen(servers) + 64;
	char *text = malloc(size);

	if (text)
		snprintf(text, size, "--mcp-config={\"mcpServers\":%s}", servers);
	add(a, text);
}

static void add_configured(struct argv *a, const struct msg_claude_config *c)
{
	char number[24];

	snprintf(number, sizeof(number), "%llu", (unsigned long long)c->max_turns);
	add_option(a, "--permission-mode",
		c->permission_mode ? c->permission_mode : "bypassPermissions");
	add_option(a, "--max-turns", number);
	add_given(a, "--model", c->model);
	add_given(a, "--allowedTools", c->allowed);
	add_given(a, "--disallowedTools", c->disallowed);
	add_given(a, "--system-prompt", c->system_prompt);
	add_given(a, "--append-system-prompt", c->append_prompt);
	if (c->mcp_servers)
		add_mcp_servers(a, c->mcp_servers);
	if (c->partial)
		add_option(a, "--include-partial-messages", NULL);
}

char **claude_program_argv(const struct claude_program *p, const struct msg_claude_config *config,
	const char *resume, bool fresh_prompt)
{
	static const char *const fixed[] = {
		"-p", "--input-format=stream-json", "--output-format=stream-json", "--verbose"};
	struct argv a = {calloc(ARGV_MAX + 1, sizeof(char *)), 0};
	char *more[MSG_CLAUDE_ARGS_MAX];
	int n = msg_claude_args(config, more);

	for (size_t i = 0; i < p->n; i++)
		add(&a, strdup(p->words[i]));
	for (size_t i = 0; i < array_size(fixed); i++)
		add(&a, strdup(fixed[i]));
	add_configured(&a, config);
	add_given(&a, "--resume", resume);
	if (resume && fresh_prompt && (config->system_prompt || config->append_prompt))
		add_option(&a, "--system-prompt-snapshot", "off");
	for (int i = 0; i < n; i++)
		add(&a, more[i]);
	if (n < 0)
		claude_argv_free(take_ptr(&a.v));
	return a.v;
}

void claude_argv_free(char **argv)
{
	for (size_t i = 0; argv && argv[i]; i++)
		free(argv[i]);
	free(argv);
}
