/*
 * A roster: the list of targets that a source offers, with the names in it resolved and followed.
 *
 *      roster_offer -> [names that are new are looked up] -> all known? it becomes the current one
 *
 * The list before stays current until every name of the new one has been answered, so that a change from one host to
 * another never leaves a moment without either. A list none of whose names resolves does not take the place of one
 * that has addresses.
 *
 * Owner: its source; control thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "upstream/targets.h"

struct name_watch;
struct source;

enum {
    ENTRIES_MAX = 10000, /* of one source */
    NAMES_MAX = 256,     /* of those, names to resolve */
};

/* `found.host` is a name to resolve, whose addresses get `found.address.port`; NULL: the address is there. */
struct entry {
    struct found_target found;
};

struct entries {
    struct entry *v;
    size_t count;
    char *strings; /* what they point to */
};

struct roster {
    struct source *source;
    struct entries current, next;
    struct name_watch *watches;
    bool pending; /* `next` waits for names */
};

/* A list that grows. */
struct found_list {
    struct found_target *v;
    size_t count, size;
};
void found_add(struct found_list *list, const struct found_target *found);

void roster_init(struct roster *roster, struct source *source);
/* The entries are copied; of more than ENTRIES_MAX, or NAMES_MAX names, the first count. The source is updated now, or
 * once the names are known. */
void roster_offer(struct roster *roster, const struct entry *entries, size_t count);
/* Every name has been answered, well or not. */
bool roster_settled(const struct roster *roster);
/* Adds what is current. */
void roster_collect(const struct roster *roster, struct found_list *list);
void roster_done(struct roster *roster);
