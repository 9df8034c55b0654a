/* `file`: one large file there and back, against a bare server that copies 256 KiB at a time; small
 * ones one after another, and a thousand in one go. Everything on tmpfs: what is measured is the
 * way, not a disk. */
#include <stdio.h>
#include <sys/stat.h>

#include "bench/bench_link.h"
#include "bench/floor.h"

#define FILES   2000
#define BATCH   1000
#define BATCHES 5
#define SMALL   4096
#define WINDOW  (1 * MIB)

struct transfer {
	struct channel channel;
	const uint8_t *data; /* what is sent; NULL: anything */
	uint64_t to_send, bytes;
	bool fin_sent, done, closed;
};

static struct agent agent;
static struct link own, *l = &own;
static const char *dir;
static uint8_t block[FRAME_PAYLOAD_MAX];

static struct transfer *of(struct channel *c)
{
	return container_of(c, struct transfer, channel);
}

static bool pull(struct channel *c, size_t max, struct mux_item *ret)
{
	struct transfer *t = of(c);
	size_t n = (size_t)min_of(t->to_send, (uint64_t)max);

	if (t->fin_sent || (n == 0 && t->to_send > 0))
		return false;
	*ret = (struct mux_item){.type = FRAME_DATA, .stream = STREAM_IN, .arg = c->sent, .len = n};
	ret->data = t->data ? t->data + c->sent : block;
	t->to_send -= n;
	t->fin_sent = t->to_send == 0;
	ret->flags = t->fin_sent ? FRAME_FIN : 0;
	return true;
}

static void on_data(
	struct channel *c, uint8_t stream, uint64_t off, const uint8_t *data, size_t len, bool fin)
{
	(void)stream;
	(void)off;
	(void)data;
	(void)fin;
	of(c)->bytes += len;
	channel_grant(c, c->received + WINDOW);
}

static void on_text(struct channel *c, const uint8_t *json, size_t len)
{
	if (memmem(json, len, "\"done\"", 6))
		of(c)->done = true;
}

static void on_gap(struct channel *c, uint8_t stream, uint64_t off, uint64_t missing)
{
	(void)c;
	(void)stream;
	(void)off;
	(void)missing;
}

static void on_ack(struct channel *c, uint8_t stream, uint64_t off)
{
	on_gap(c, stream, off, 0);
}

static void on_response(struct channel *c, uint64_t id, const uint8_t *json, size_t len)
{
	(void)id;
	on_text(c, json, len);
}

static void on_close(struct channel *c, const uint8_t *error, size_t len)
{
	if (!of(c)->done)
		die("a file: %.*s", (int)len, len ? (const char *)error : "");
	of(c)->closed = true;
}

static const struct channel_ops ops = {
	.pull = pull,
	.on_data = on_data,
	.on_opened = on_text,
	.on_gap = on_gap,
	.on_ack = on_ack,
	.on_event = on_text,
	.on_response = on_response,
	.on_close = on_close,
};

static void transfer(struct transfer *t, uint64_t window, const char *json, size_t len)
{
	t->fin_sent = window > 0; /* it only receives */
	if (mux_open(&l->wire.mux, &t->channel, &ops, window, json, len) < 0)
		die("no channel");
	if (window == 0)
		channel_presume(&t->channel, l->file_window);
	while (!t->closed)
		link_must_step(l);
}

static void put_file(unsigned file, uint64_t size)
{
	struct transfer t = {.to_send = size};
	char text[256];
	int n = snprintf(text, sizeof(text),
		"{\"service\":\"file\",\"op\":\"write\",\"path\":\"%s/%u\"}", dir, file);

	transfer(&t, 0, text, (size_t)n);
}

static void get_file(unsigned file, uint64_t size)
{
	struct transfer t = {0};
	char text[256];
	int n = snprintf(text, sizeof(text),
		"{\"service\":\"file\",\"op\":\"read\",\"path\":\"%s/%u\",\"window\":%llu}", dir,
		file, WINDOW);

	transfer(&t, WINDOW, text, (size_t)n);
	if (t.bytes != size)
		die("%llu bytes of a file of %llu", (unsigned long long)t.bytes,
			(unsigned long long)size);
}

/* The records of docs/protocol.md section 13. */
static void put_batch(void)
{
	static uint8_t records[BATCH * (SMALL + 32)];
	struct transfer t = {.data = records};
	char text[256];
	int n = snprintf(text, sizeof(text),
		"{\"service\":\"file\",\"op\":\"batch_write\",\"path\":\"%s\"}", dir);

	for (unsigned i = 1; i <= BATCH; i++) {
		uint8_t *p = records + t.to_send;
		int len = snprintf((char *)p + 16, 16, "%u", i);

		put_u64(p, SMALL);
		put_u32(p + 8, UINT32_MAX);
		put_u16(p + 12, 0);
		put_u16(p + 14, (uint16_t)len);
		memset(p + 16 + len, 1, SMALL);
		t.to_send += 16 + (unsigned)len + SMALL;
	}
	transfer(&t, 0, text, (size_t)n);
}

static void get_batch(void)
{
	static char text[BATCH * 8 + 256];
	struct transfer t = {0};
	int n = snprintf(text, sizeof(text),
		"{\"service\":\"file\",\"op\":\"batch_read\",\"path\":\"%s\",\"window\":%llu,"
		"\"paths\":[\"1\"",
		dir, WINDOW);

	for (unsigned i = 2; i <= BATCH; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, ",\"%u\"", i);
	n += snprintf(text + n, sizeof(text) - (size_t)n, "]}");
	transfer(&t, WINDOW, text, (size_t)n);
	if (t.bytes < (uint64_t)BATCH * SMALL)
		die("%llu bytes of a batch", (unsigned long long)t.bytes);
}

/* Nanoseconds. */
static uint64_t large(bool write, uint64_t bytes)
{
	uint64_t t0 = floor_now_ns();

	if (write)
		put_file(0, bytes);
	else
		get_file(0, bytes);
	return floor_now_ns() - t0;
}

uint64_t file_large(struct link *link, const char *where, bool write, uint64_t bytes)
{
	l = link;
	dir = where;
	return large(write, bytes);
}

static uint64_t small(bool write, unsigned files)
{
	uint64_t t0 = floor_now_ns();

	for (unsigned i = 1; i <= files; i++) {
		if (write)
			put_file(i, SMALL);
		else
			get_file(i, SMALL);
	}
	return floor_now_ns() - t0;
}

static void remove_files(unsigned files)
{
	char path[128];

	for (unsigned i = 0; i <= files; i++) {
		snprintf(path, sizeof(path), "%s/%u", dir, i);
		unlink(path);
	}
}

/* Files a second; those written are new each time. */
static double batches_per_s(bool write)
{
	uint64_t ns = 0;

	for (unsigned i = 0; i < BATCHES; i++) {
		uint64_t t0;

		if (write)
			remove_files(BATCH);
		t0 = floor_now_ns();
		if (write)
			put_batch();
		else
			get_batch();
		ns += floor_now_ns() - t0;
	}
	return BATCHES * BATCH * 1e9 / (double)ns;
}

void bench_file(void)
{
	static const char *const floors[] = {"write", "read", "write_small", "read_small"};
	static const struct line lines[] = {
		{"file", "write 1 GiB", "MB/s", "256 KiB copy", RATIO_MIN, 0.85},
		{"file", "read 1 GiB", "MB/s", "256 KiB copy", RATIO_MIN, 0.95},
		{"file", "write 4 KiB files in turn", "/s", "open, write, close", RATIO_MIN, 0.5},
		{"file", "read 4 KiB files in turn", "/s", "open, read, close", RATIO_MIN, 0.5},
	};
	static const struct line batches[] = {
		{"file", "write 1000 of 4 KiB in a batch", "/s", "agentd, in turn", RATIO_MIN, 5},
		{"file", "read 1000 of 4 KiB in a batch", "/s", "agentd, in turn", RATIO_MIN, 5},
	};
	static const struct line cpu[] = {
		{"file", "write 1 GiB: agent CPU", "s/GB", NULL, BAR_NONE, 0},
		{"file", "read 1 GiB: agent CPU", "s/GB", NULL, BAR_NONE, 0},
	};
	uint64_t bytes = work(GIB);
	unsigned files = (unsigned)work(FILES);
	char count[2][32];

	dir = proc_shm();
	memset(block, 1, sizeof(block));
	agent_start(&agent, program("agentd"), NULL);
	link_open(l, agent.path, UINT64_MAX, UINT64_MAX);
	snprintf(count[0], sizeof(count[0]), "%llu", (unsigned long long)bytes);
	snprintf(count[1], sizeof(count[1]), "%u", files);
	for (unsigned i = 0; i < options.rounds; i++) {
		const char *json = floor_json(
			"floor_file", "--bytes", count[0], "--files", count[1], dir, NULL);

		double in_turn[2];

		for (unsigned k = 0; k < 4; k++) {
			bool write = k % 2 == 0;
			uint64_t used = floor_cpu_ns(agent.pid);
			double ns = (double)(k < 2 ? large(write, bytes) : small(write, files));

			table_add(&lines[k], k < 2 ? (double)bytes * 1e3 / ns : files * 1e9 / ns,
				floor_value(json, floors[k], k < 2 ? "mb_per_s" : "per_s"));
			used = floor_cpu_ns(agent.pid) - used;
			if (k < 2)
				table_add(&cpu[k], (double)used / (double)bytes, 0);
			else
				in_turn[k - 2] = files * 1e9 / ns;
		}
		remove_files(files);
		for (unsigned k = 0; k < 2; k++)
			table_add(&batches[k], batches_per_s(k == 0), in_turn[k]);
		remove_files(BATCH);
	}
	link_finish(l);
	agent_stop(&agent);
}
