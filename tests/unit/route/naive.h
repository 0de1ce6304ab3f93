/*
 * The order of routes, written down a second time without any index: every route is tried, and the better of two is
 * kept.  From a string of bytes it makes routes and requests and compares the router's answers with its own.  Used with
 * seeded bytes by the unit test and by the fuzzer.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Fails by ENSURE when the two disagree. */
void naive_compare(const uint8_t *bytes, size_t len);
