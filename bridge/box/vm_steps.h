/*
 * vm_steps.h - what can be done with a machine: lists of steps for vm_run(), and the single steps
 * that more than one of them has. Files of the driver only.
 */
#pragma once

#include "bridge/box/vm.h"

/* ---- vm_steps.c ---- */

/* From its disk: vm->files is STOPPED, or ASLEEP and what was saved is given up. */
extern const struct vm_step vm_boot_steps[];
/* vm->files is ASLEEP. When it fails, vm->saved_bad says whether coming again can help. */
extern const struct vm_step vm_wake_steps[];
/* A machine whose processes run, in whatever state they were left: it goes on. */
extern const struct vm_step vm_recover_steps[];
/* No process; files as they are. Cannot fail for long. */
extern const struct vm_step vm_end_steps[];
/* The guest writes to its disk what it has, processes end, STOPPED; undo: the same in a hurry. */
extern const struct vm_step vm_stop_steps[], vm_unstop_steps[];

void vm_step_end(struct vm *vm);
void vm_start_process(
	struct vm *vm, enum vm_role role, const struct vm_command *c, const char *log);
void vm_remove_socket(const struct vm *vm, const char *name);
void vm_step_sweep(struct vm *vm);
void vm_step_stop(struct vm *vm);
void vm_step_cont(struct vm *vm);
void vm_step_ignore_shared(struct vm *vm);
/* Of a machine that is to be a golden snapshot: a shell was run in it, its disk has all that it
 * wrote. Fails when the agent cannot be asked. */
void vm_step_warm(struct vm *vm);
/* vm.json, and vm->files with it when it could be written. */
int vm_save_files(struct vm *vm, const struct vm_files *f);
int vm_job_running(struct vm *vm);
/* The step's end is that of making vm->name, an empty disk on top of what f has. */
void vm_overlay(struct vm *vm, struct vm_files *f);

/* ---- vm_vsock.c ---- */

/* A new one, in a machine that does not run yet. */
void vm_step_vsock(struct vm *vm);
void vm_step_listening(struct vm *vm);
void vm_step_plug(struct vm *vm);
/* Until the guest uses it; until it can be dialed. */
void vm_step_driver(struct vm *vm);
void vm_step_settle(struct vm *vm);
void vm_step_unplug(struct vm *vm);
void vm_step_await_unplugged(struct vm *vm);
/* Is it in place? If it is and has no process, it is taken out. */
void vm_step_look_for_device(struct vm *vm);
void vm_step_drop_device(struct vm *vm);
void vm_step_await_dropped(struct vm *vm);
void vm_step_end_vsock(struct vm *vm);
void vm_step_new_vsock(struct vm *vm);
void vm_step_await_vsock(struct vm *vm);
void vm_step_drop_chardev(struct vm *vm);
void vm_step_add_chardev(struct vm *vm);
void vm_step_replug(struct vm *vm);
/* The vsock device comes back, if it is away. */
#define VM_REPLUG_STEPS                                                                            \
	{vm_step_end_vsock, "the end of the vsock device", 5000},                                  \
		{vm_step_new_vsock, "the vsock device", 0},                                        \
		{vm_step_await_vsock, "the vsock device", 5000},                                   \
		{vm_step_drop_chardev, "the vsock device", 5000},                                  \
		{vm_step_add_chardev, "the vsock device", 5000},                                   \
	{                                                                                          \
		vm_step_replug, "the vsock device", 10000                                          \
	}

/* ---- vm_save.c ---- */

/* From running to ASLEEP; vm->bytes. vm_recover_steps make it go on when that fails. */
extern const struct vm_step vm_save_steps[];
/* vm->target (NAME.new) is to be a snapshot of the running machine, with memory or without
 * (vm->full), and called NAME then; vm->bytes. When that fails: the undo list, then
 * vm_recover_steps. */
extern const struct vm_step vm_checkpoint_steps[], vm_disk_checkpoint_steps[],
	vm_uncheckpoint_steps[];

/* ---- vm_scale.c ---- */

/* A running machine has vm->scale_mb of its memory afterwards; undo: as before. */
extern const struct vm_step vm_scale_steps[], vm_unscale_steps[];
/* What it has is told to one that boots, or that was found. */
void vm_step_rescale(struct vm *vm);
/* The guest says no more how much it has in use: it did while we wanted to know. */
void vm_step_listened(struct vm *vm);

/* ---- vm_make.c ---- */

/* A new directory from vm->source, for vm_wake_steps (ASLEEP) or vm_boot_steps (STOPPED, with
 * vm->note if that is less than was wanted). */
extern const struct vm_step vm_make_steps[]; /* undo: vm_destroy_steps */
/* The same, in the place of what the machine is now, which ends. */
extern const struct vm_step vm_remake_steps[], vm_unremake_steps[];
/* The directory goes, with every process that has to do with it. */
extern const struct vm_step vm_destroy_steps[];
/* What is there after a restart: vm->files is loaded, what should not run is ended. Then
 * vm->processes say whether vm_recover_steps are for it. */
extern const struct vm_step vm_look_steps[];
