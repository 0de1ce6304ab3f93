/*
 * The list of algorithms: the registry, the configuration's words and the reference page are all made from this table.
 * A line is X(word, documentation); src/balance/algorithms/<word>.c defines `algorithm_<word>` and takes its texts from
 * here. docs/adding-an-algorithm.md tells the whole way.
 */
#pragma once

#include "balance/balance.h"

#define ROUND_ROBIN_DOC                                                                                                \
    "Each target in turn, as often as its weight says, spread evenly: with weights 5, 1 and 1 the order is a a b a c " \
    "a a."
#define LEAST_CONNECTIONS_DOC                                                                                          \
    "The target with the fewest requests in flight, counted over all workers and divided by its weight; among "        \
    "equals, in turn."

#define ALGORITHM_TABLE(X)                                                                                             \
    X(round_robin, ROUND_ROBIN_DOC)                                                                                    \
    X(least_connections, LEAST_CONNECTIONS_DOC)

enum algorithm_index {
#define X(word, doc) ALGORITHM_##word,
    ALGORITHM_TABLE(X)
#undef X
        ALGORITHM_COUNT
};

#define X(word, doc) extern const struct algorithm algorithm_##word;
ALGORITHM_TABLE(X)
#undef X
