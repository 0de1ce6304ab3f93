/*
 * The requests of a run, written out before it starts. A path with {n} gives as many different
 * ones as asked for, all of the same length, and they are sent in an order that jumps through
 * the whole range, so that no proxy profits from having just looked at a neighbour.
 */
#pragma once

#include "client.h"

struct load_options;

/* Built once; lives until the program ends. */
struct requests {
    struct request *list;
    unsigned count;
    unsigned next;
    unsigned stride;
};

void requests_build(struct requests *requests, const struct load_options *options);

const struct request *requests_next(struct requests *requests);
