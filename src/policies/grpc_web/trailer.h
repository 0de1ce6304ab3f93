/*
 * The frame that carries a call's trailers at the end of a body of gRPC-Web: 0x80, the length in four bytes, and lines
 * of "name:value" with names in lower case.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct fields;

/* Copies at most `max` bytes of the frame to `at`, from its byte `from` on: it may be longer than there is room for.
 * Returns how many; 0 behind its end. `trailers` may be NULL. When they hold no grpc-status, one that says so stands in
 * its place, unless `has_status`: it stood in the head. A frame that nothing would be in is no frame. */
size_t trailer_frame_copy(const struct fields *trailers, bool has_status, size_t from, char *at, size_t max);
