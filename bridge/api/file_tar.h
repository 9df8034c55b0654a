/*
 * file_tar.h - a directory of a sandbox as a tar archive, out and in: GET and PUT files/tar.
 */
#pragma once

#include "bridge/api/call.h"

void file_tar_down(struct call *c);
void file_tar_up(struct call *c);
