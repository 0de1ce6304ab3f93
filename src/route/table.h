/*
 * What a built router is made of.  Only the files of this room include this.
 *
 *      host table --hash--> host --root--> trie node --routes[kind]--> run of routes, the most specific first
 *                                \--regexes, any: runs as well
 *
 * A run is a stretch of the array of routes in which each but the last says `more`.  Runs are named by the index of
 * their first route; 0 is no run.  Written by build.c, then immutable.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "http/message.h"
#include "route/trie.h"

struct condition;
struct conf;
struct conf_struct;
struct plan;
struct regex;
struct regex_group;

enum {
    ROUTER_MAGIC = 0x726f7574,
    HOST_BYTES_MAX = 253,
    METHOD_BITS = 64,
    CUSTOM_METHODS_MAX = METHOD_BITS - METHOD_COUNT,
};

/* What a route takes that names no methods. Bit METHOD_OTHER stands for every method that no route names. CONNECT and
 * TRACE are not among them: a service that answers the one with 2xx without meaning a tunnel would get whatever follows
 * past every route and policy, and one that echoes the other shows the client what policies have added to its request.
 */
#define METHODS_ALL (UINT64_MAX & ~(1ull << METHOD_CONNECT) & ~(1ull << METHOD_TRACE))

/* One route under one host. 64 bytes: a cache line. */
struct route {
    struct plan *plan;
    uint64_t methods; /* bits: enum method, then router->custom_methods */
    const struct condition *conditions;
    const struct slice *captures; /* of a template: names in the order of the path */
    const struct regex *regex;    /* with groups */
    const struct regex_group *groups;
    uint32_t entry; /* its place in the file */
    uint16_t condition_count;
    uint16_t weight; /* conditions, with methods as one of them */
    uint8_t group_count;
    bool takes_rest; /* the last capture is a remainder */
    bool more;
};

_Static_assert(sizeof(struct route) == 64, "a route is one cache line");

struct host {
    struct slice name; /* lower case; "*.a.example" is ".a.example"; empty: routes without a host */
    uint32_t root;     /* trie node */
    uint32_t regexes;  /* run, in the order of the file */
    uint32_t any;      /* run of the routes without a path */
};

struct host_table {
    struct host *hosts; /* [0] is for the routes without a host */
    uint32_t *slots;    /* index in hosts, 0 free */
    uint32_t count, size;
    uint32_t slot_mask;
    uint32_t labels_max; /* of the `*.` hosts, the most dots in a suffix; 0: there are none */
};

/* One entry of the file, compiled; the routes made of it share what it owns. */
struct entry {
    struct plan *plan;
    struct condition *conditions;
    struct regex *regex;
    struct regex_group *groups;
    struct slice *captures; /* the list it was the first to need; freed with the router */
    uint32_t condition_count;
};

struct router {
    uint32_t magic;
    atomic_uint refs;
    struct conf *conf;
    struct host_table hosts;
    struct trie trie;
    struct route *routes; /* [0] is none; each on a cache line of its own */
    void *routes_raw;     /* as allocated */
    struct entry *entries;
    uint32_t route_count, entry_count;
    struct slice custom_methods[CUSTOM_METHODS_MAX];
    unsigned custom_method_count;
};

/* hosts.c */
void host_table_init(struct host_table *table);
void host_table_done(struct host_table *table);
/* The host of that name, made with a root in the trie when it is missing; the name (lower case) stays the caller's. */
uint32_t host_table_add(struct host_table *table, struct slice name, struct trie *trie);

/* The hosts whose routes a request to `authority` may take, the most specific first; returns how many are stored. */
enum { HOSTS_TRIED_MAX = 128 };
unsigned host_table_find(const struct host_table *table, struct slice authority, uint32_t ret_hosts[HOSTS_TRIED_MAX]);

/* schema.c: the items of a match's maps */
extern const struct conf_struct field_match_schema;

/* shadow.c: warns of each entry that can never match. `nodes`: of the entries, for messages. */
struct route_entry;
void router_warn_unreachable(const struct router *router, struct conf *conf, const struct route_entry *entries);
