/*
 * text.h - the three small encodings the protocol needs: UTF-8 validation, base64, SHA-1. Written
 * here because the guest binary must stay small and static, and the alternatives are whole crypto
 * libraries; SHA-1 guards nothing, it is the WebSocket handshake's checksum.
 */
#pragma once

#include "base/base.h"

bool utf8_valid(const void *data, size_t len);
/* The largest n <= len such that the first n bytes do not end inside a character that `len` cuts;
 * invalid bytes count as characters of their own. */
size_t utf8_cut(const void *data, size_t len);

#define BASE64_LEN(n) (((n) + 2) / 3 * 4)
/* out needs BASE64_LEN(n) + 1 bytes; returns the length without the NUL. */
size_t base64_encode(const void *data, size_t n, char *out);
/* Strict (padding required, no blanks). Returns the decoded length, or -EINVAL; out needs n / 4
 * * 3. */
ssize_t base64_decode(const char *text, size_t n, void *out);

#define SHA1_LEN 20
void sha1(const void *data, size_t n, uint8_t out[SHA1_LEN]);
