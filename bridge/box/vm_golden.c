/*
 * A snapshot is made by whoever needs it first, and everybody who needs it meanwhile waits. When it
 * cannot be made machines boot from the image, and it is tried again after RETRY_MS.
 *
 * Which accelerator works is found out by trying: a kernel that finds no root ends by itself. The
 * answer is remembered in "images/accelerator".
 */
#include "bridge/box/vm_golden.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "bridge/box/vm_image.h"
#include "bridge/box/vm_steps.h"

#define RETRY_MS    60000
#define TRIAL_MS    8000
#define GOLDENS_MAX 32 /* each takes disk, and clients choose the sizes */

enum golden_state {
	GOLDEN_LOOKING, /* a worker: is the image there, is the snapshot? */
	GOLDEN_TRYING,  /* which accelerator */
	GOLDEN_MAKING,
	GOLDEN_READY,
	GOLDEN_FAILED,
};

struct golden {
	struct list node;
	struct vm_host *host;
	enum golden_state state;
	char template[VM_IMAGE_KEY];
	struct vm_source like;
	struct list wants;
	uv_work_t work;
	bool working, closing;
	int result;
	char image[BOX_PATH_MAX], dir[BOX_PATH_MAX];
	bool made; /* dir is there */
	struct program *trial;
	struct vm *vm;
	char note[200];
	struct fault fault;
	uint64_t failed_ms;
};

struct goldens {
	struct list list;
	unsigned number;
	unsigned made; /* begun, since we started */
};

static void look(struct golden *g);

/* ---- its end ---- */

static void golden_free(struct golden *g)
{
	list_remove(&g->node);
	if (g->trial)
		program_forget(g->trial);
	if (g->vm)
		vm_release(g->vm, true);
	g->trial = NULL;
	g->vm = NULL;
	g->closing = true;
	if (!g->working)
		free(g);
}

static void answer(struct golden *g)
{
	const char *dir = g->state == GOLDEN_READY ? g->dir : g->image;
	const struct fault *fault = g->fault.status ? &g->fault : NULL;

	while (!list_empty(&g->wants)) {
		struct golden_want *w = list_first(&g->wants, struct golden_want, node);

		golden_cancel(w);
		w->fn(w, fault ? NULL : dir, g->note, fault);
	}
}

static void note(struct golden *g, const char *why)
{
	snprintf(g->note, sizeof(g->note), "no golden snapshot: %.160s", why);
}

static void set_failed(struct golden *g)
{
	g->state = GOLDEN_FAILED;
	g->failed_ms = now_ms();
	answer(g);
}

/* ---- making it ---- */

static int job_commit(struct vm *vm)
{
	struct golden *g = vm->owner;
	const char *files[2] = {vm->files.layers[vm->files.n_layers - 1], vm->files.saved.ram};
	char path[BOX_PATH_MAX];

	for (size_t i = 0; i < array_size(files); i++) {
		if (vm_path(vm, files[i], path, sizeof(path)) < 0)
			return -ENAMETOOLONG;
		if ((chown(path, 0, 0) < 0 && errno != EPERM) || chmod(path, 0444) < 0)
			return -errno;
	}
	return rename(vm->dir, g->dir) < 0 ? -errno : vm_files_settle(vm->host->images);
}

static void step_commit(struct vm *vm)
{
	vm_job(vm, job_commit);
}

static const struct vm_step sync_steps[] = {{vm_step_sync, "the agent", 0}, {0}};
static const struct vm_step commit_steps[] = {{step_commit, "the golden snapshot", 0}, {0}};

static void after_destroy(struct vm *vm)
{
	struct golden *g = vm->owner;

	vm_release(vm, true);
	g->vm = NULL;
	set_failed(g);
}

static bool gave_up(struct vm *vm)
{
	struct golden *g = vm->owner;

	if (!vm->failed)
		return false;
	note(g, vm->fault.text);
	vm_run(vm, vm_destroy_steps, NULL, after_destroy);
	return true;
}

static void after_commit(struct vm *vm)
{
	struct golden *g = vm->owner;

	if (gave_up(vm))
		return;
	vm_release(vm, true);
	g->vm = NULL;
	g->state = GOLDEN_READY;
	g->note[0] = '\0';
	answer(g);
}

static void after_save(struct vm *vm)
{
	if (!gave_up(vm))
		vm_run(vm, commit_steps, NULL, after_commit);
}

static void after_sync(struct vm *vm)
{
	if (!gave_up(vm))
		vm_run(vm, vm_save_steps, NULL, after_save);
}

static void after_boot(struct vm *vm)
{
	if (!gave_up(vm))
		vm_run(vm, sync_steps, NULL, after_sync);
}

static void after_make(struct vm *vm)
{
	if (!gave_up(vm))
		vm_run(vm, vm_boot_steps, NULL, after_boot);
}

static void on_gone(struct vm *vm, const char *why)
{
	(void)vm, (void)why; /* it is never idle */
}

static void make(struct golden *g)
{
	char dir[BOX_PATH_MAX];

	g->state = GOLDEN_MAKING;
	g->host->goldens->made++;
	snprintf(dir, sizeof(dir), "%.200s/new-g%u", g->host->images, ++g->host->goldens->number);
	g->vm = vm_new(g->host, dir, g, on_gone);
	if (!g->vm) {
		note(g, "no memory");
		set_failed(g);
		return;
	}
	g->vm->source = g->like;
	memcpy(g->vm->source.dir, g->image, sizeof(g->image));
	vm_run(g->vm, vm_make_steps, NULL, after_make);
}

/* ---- which accelerator ---- */

static void remember(const struct golden *g, enum vm_accel accel)
{
	char path[BOX_PATH_MAX];
	const char *word = accel == VM_ACCEL_KVM ? "kvm\n" : "tcg\n";
	auto_close int fd = -1;

	g->host->accel = accel;
	snprintf(path, sizeof(path), "%.200s/accelerator", g->host->images);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	/* What is not remembered is tried again. */
	if (fd >= 0 && write(fd, word, 4) != 4)
		unlink(path);
}

static void on_trial(void *owner, const struct program_result *r)
{
	struct golden *g = owner;
	bool works = r->error == 0 && r->signal == 0 && r->code == 0;

	g->trial = NULL;
	remember(g, works ? VM_ACCEL_KVM : VM_ACCEL_TCG);
	look(g);
}

static void try_kvm(struct golden *g)
{
	struct vm_command c;
	struct program_spec spec = {.argv = c.argv, .cwd = g->image, .timeout_ms = TRIAL_MS};

	g->state = GOLDEN_TRYING;
	vm_command_trial(&c, VM_ACCEL_KVM);
	if (access("/dev/kvm", R_OK | W_OK) == 0 &&
		program_run(g->host->loop, &spec, on_trial, g, &g->trial) == 0)
		return;
	remember(g, VM_ACCEL_TCG);
	look(g);
}

/* ---- looking ---- */

static void work(uv_work_t *w)
{
	struct golden *g = container_of(w, struct golden, work);
	const struct vm_source *l = &g->like;
	const struct vm_host *h = g->host;
	char key[VM_IMAGE_KEY], json[BOX_PATH_MAX + sizeof(VM_JSON)];

	g->result = vm_image_take(h->config->image_dir, h->images, g->template, key);
	if (g->result < 0)
		return;
	snprintf(g->image, sizeof(g->image), "%.140s/%s", h->images, key);
	snprintf(g->dir, sizeof(g->dir), "%.120s/%s-%ux%u%s-%s-%d", h->images, key, l->cpus,
		l->memory_mb, l->network ? "n" : "", h->accel == VM_ACCEL_KVM ? "kvm" : "tcg",
		VM_BOOT_FORM);
	snprintf(json, sizeof(json), "%s/" VM_JSON, g->dir);
	g->made = access(json, F_OK) == 0;
}

static void after_work(uv_work_t *w, int status)
{
	struct golden *g = container_of(w, struct golden, work);

	(void)status;
	g->working = false;
	if (g->closing) {
		free(g);
		return;
	}
	g->fault = (struct fault){0};
	g->note[0] = '\0';
	if (g->result == -ENOENT)
		fault_set(&g->fault, 404, "template not found: %s", g->template);
	else if (g->result < 0)
		fault_set(&g->fault, g->result == -ENOSPC ? 507 : 500, "the image \"%s\": %s",
			g->template, strerror(-g->result));
	if (g->fault.status) {
		g->state = GOLDEN_FAILED;
		answer(g);
	} else if (g->made) {
		g->state = GOLDEN_READY;
		answer(g);
	} else if (g->host->accel == VM_ACCEL_UNKNOWN) {
		try_kvm(g);
	} else if (g->failed_ms && now_ms() - g->failed_ms < RETRY_MS) {
		note(g, "it could not be made lately");
		g->state = GOLDEN_FAILED;
		answer(g);
	} else if (g->host->goldens->made == GOLDENS_MAX) {
		note(g, "there are too many for other sizes");
		g->state = GOLDEN_FAILED;
		answer(g);
	} else {
		make(g);
	}
}

static void look(struct golden *g)
{
	int r;

	g->state = GOLDEN_LOOKING;
	g->working = true;
	r = uv_queue_work(g->host->loop, &g->work, work, after_work);
	ASSERT(r == 0);
}

/* ---- who wants one ---- */

static bool is_like(const struct golden *g, const char *template, const struct vm_source *like)
{
	return strcmp(g->template, template) == 0 && g->like.cpus == like->cpus &&
	       g->like.memory_mb == like->memory_mb && g->like.network == like->network;
}

static struct golden *get(struct vm_host *h, const char *template, const struct vm_source *like)
{
	struct golden *g;

	list_for_each (old, &h->goldens->list, struct golden, node) {
		if (is_like(old, template, like))
			return old;
	}
	g = xcalloc(1, sizeof(*g));
	g->host = h;
	g->state = GOLDEN_FAILED;
	g->like = *like;
	snprintf(g->template, sizeof(g->template), "%s", template);
	list_init(&g->wants);
	list_append(&h->goldens->list, &g->node);
	return g;
}

void golden_want(struct vm_host *h, const char *template, const struct vm_source *like,
	struct golden_want *w, golden_fn fn, void *owner)
{
	struct golden *g = get(h, template, like);

	*w = (struct golden_want){.waiting = true, .fn = fn, .owner = owner};
	list_append(&g->wants, &w->node);
	if (g->state == GOLDEN_READY || g->state == GOLDEN_FAILED)
		look(g);
}

void golden_cancel(struct golden_want *w)
{
	if (w->waiting)
		list_remove(&w->node);
	w->waiting = false;
}

/* ---- all of them ---- */

static void recall(struct vm_host *h)
{
	char path[BOX_PATH_MAX], word[4] = "";
	auto_close int fd = -1;

	snprintf(path, sizeof(path), "%.200s/accelerator", h->images);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, word, 3) != 3)
		return;
	if (strcmp(word, "kvm") == 0)
		h->accel = VM_ACCEL_KVM;
	else if (strcmp(word, "tcg") == 0)
		h->accel = VM_ACCEL_TCG;
}

int goldens_open(struct vm_host *h)
{
	h->goldens = calloc(1, sizeof(*h->goldens));
	if (!h->goldens)
		return -ENOMEM;
	list_init(&h->goldens->list);
	recall(h);
	return 0;
}

void goldens_close(struct vm_host *h)
{
	list_for_each_safe (g, &h->goldens->list, struct golden, node)
		golden_free(g);
	free(h->goldens);
	h->goldens = NULL;
}
