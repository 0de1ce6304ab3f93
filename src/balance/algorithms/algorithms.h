/*
 * The list of algorithms: the registry, the configuration's words and the reference page are all made from this table.
 * A line is X(word, documentation); src/balance/algorithms/<word>.c defines `algorithm_<word>` and takes its texts from
 * here (`ip_hash` stands in hash.c). docs/adding-an-algorithm.md tells the whole way.
 */
#pragma once

#include "balance/balance.h"

#define ROUND_ROBIN_DOC                                                                                                \
    "Each target in turn, as often as its weight says, spread evenly and counted over all workers: with weights 5, 1 " \
    "and 1 the order is a a b a c a a."
#define LEAST_CONNECTIONS_DOC                                                                                          \
    "The target with the fewest requests in flight, counted over all workers and divided by its weight; among "        \
    "equals, in turn. Of more than 128 targets the best of 16 drawn by weight."
#define LEAST_RESPONSE_TIME_DOC                                                                                        \
    "The target that would answer soonest: its recent response time (an average that forgets within ten seconds, or "  \
    "how long the requests in flight have waited), times one more than those in flight, divided by its weight. "       \
    "Failures count as slow. Of more than 32 targets the best of 16 drawn by weight."
#define RANDOM_DOC "Any target, as likely as its weight says."
#define POWER_OF_TWO_DOC                                                                                               \
    "Two targets are drawn by weight, and the one with fewer requests in flight for its weight is taken: nearly as "   \
    "even as looking at all, at the same cost for any number of targets."
#define HASH_DOC    "Requests with the same key go to the same target, as long as it is there: see `hash`."
#define IP_HASH_DOC "As `hash`, by the client's network: the address of IPv4, the first 64 bits of IPv6."

#define ALGORITHM_TABLE(X)                                                                                             \
    X(round_robin, ROUND_ROBIN_DOC)                                                                                    \
    X(least_connections, LEAST_CONNECTIONS_DOC)                                                                        \
    X(least_response_time, LEAST_RESPONSE_TIME_DOC)                                                                    \
    X(random, RANDOM_DOC)                                                                                              \
    X(power_of_two, POWER_OF_TWO_DOC)                                                                                  \
    X(hash, HASH_DOC)                                                                                                  \
    X(ip_hash, IP_HASH_DOC)

enum algorithm_index {
#define X(word, doc) ALGORITHM_##word,
    ALGORITHM_TABLE(X)
#undef X
        ALGORITHM_COUNT
};

#define X(word, doc) extern const struct algorithm algorithm_##word;
ALGORITHM_TABLE(X)
#undef X
extern const struct algorithm algorithm_bounded_hash; /* both of them with `bounded_load` */
