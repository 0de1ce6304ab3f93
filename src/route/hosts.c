/*
 * Hosts to their routes.  Exact names and suffixes (kept with their leading dot, which no name begins with) share one
 * table.
 *
 * A request asks for its name, then for the suffixes behind its dots, the longest first.  Only as many dots are looked
 * at, from the right, as the longest configured suffix has, so the work is bounded by the configuration and not by what
 * the client sends.
 */
#include "route/table.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"
#include "http/chars.h"

static uint32_t *find_slot(const struct host_table *table, struct slice name)
{
    for (uint32_t i = (uint32_t)hash_stable(name, 0);; i++) {
        uint32_t *slot = &table->slots[i & table->slot_mask];
        if (*slot == 0 || slice_eq(table->hosts[*slot].name, name))
            return slot;
    }
}

void host_table_init(struct host_table *table)
{
    *table = (struct host_table){ .count = 1, .size = 8, .slot_mask = 15 };
    table->hosts = mem_must(table->size * sizeof(*table->hosts));
    table->slots = mem_must((table->slot_mask + 1) * sizeof(*table->slots));
}

void host_table_done(struct host_table *table)
{
    mem_free(table->hosts);
    mem_free(table->slots);
}

/* Twice the room; the table of slots stays at most half full. */
static void grow(struct host_table *table)
{
    struct host *hosts = mem_must((size_t)table->size * 2 * sizeof(*hosts));
    memcpy(hosts, table->hosts, table->count * sizeof(*hosts));
    mem_free(table->hosts);
    mem_free(table->slots);
    table->hosts = hosts;
    table->size *= 2;
    table->slot_mask = table->size * 2 - 1;
    table->slots = mem_must(((size_t)table->slot_mask + 1) * sizeof(*table->slots));
    for (uint32_t i = 1; i < table->count; i++)
        *find_slot(table, hosts[i].name) = i;
}

static uint32_t count_dots(struct slice name)
{
    uint32_t dots = 0;
    for (size_t i = 0; i < name.len; i++)
        dots += name.at[i] == '.';
    return dots;
}

uint32_t host_table_add(struct host_table *table, struct slice name, struct trie *trie)
{
    if (name.len == 0) {
        if (table->hosts[0].root == NODE_NONE)
            table->hosts[0].root = trie_add_root(trie);
        return 0;
    }
    uint32_t *slot = find_slot(table, name);
    if (*slot != 0)
        return *slot;
    if (table->count == table->size) {
        grow(table);
        slot = find_slot(table, name);
    }
    ENSURE(*slot == 0);
    *slot = table->count;
    table->hosts[table->count] = (struct host){ .name = name, .root = trie_add_root(trie) };
    if (name.at[0] == '.')
        table->labels_max = MAX(table->labels_max, count_dots(name));
    return table->count++;
}

/* The name without port and trailing dot, in lower case; empty when there is none or it is longer than any can be. */
static struct slice host_name(struct slice authority, char ret_text[HOST_BYTES_MAX])
{
    const char *end = NULL;
    if (authority.len > 0)
        end = memchr(authority.at, authority.at[0] == '[' ? ']' : ':', authority.len);
    size_t len = end ? (size_t)(end - authority.at) + (*end == ']') : authority.len;
    if (len > 0 && authority.at[len - 1] == '.')
        len--;
    if (len > HOST_BYTES_MAX)
        return SLICE_EMPTY;
    for (size_t i = 0; i < len; i++)
        ret_text[i] = char_lower(authority.at[i]);
    return slice_make(ret_text, len);
}

/* Stores the suffixes of the name that have routes, the longest first. */
static unsigned find_suffixes(const struct host_table *table, struct slice name, uint32_t *ret_hosts)
{
    unsigned dots = 0, found = 0;
    size_t start = name.len;
    while (start > 1 && dots < table->labels_max) {
        const char *dot = memrchr(name.at + 1, '.', start - 1); /* a label stands before it */
        if (!dot)
            break;
        start = (size_t)(dot - name.at);
        dots++;
    }
    for (; dots > 0 && found < HOSTS_TRIED_MAX - 2; dots--) {
        uint32_t host = *find_slot(table, slice_make(name.at + start, name.len - start));
        if (host != 0)
            ret_hosts[found++] = host;
        const char *dot = memchr(name.at + start + 1, '.', name.len - start - 1);
        start = dot ? (size_t)(dot - name.at) : name.len;
    }
    return found;
}

unsigned host_table_find(const struct host_table *table, struct slice authority, uint32_t ret_hosts[HOSTS_TRIED_MAX])
{
    unsigned found = 0;
    if (table->count > 1) {
        char text[HOST_BYTES_MAX];
        struct slice name = host_name(authority, text);
        uint32_t host = name.len > 0 ? *find_slot(table, name) : 0;
        if (host != 0 && name.at[0] != '.')
            ret_hosts[found++] = host;
        found += find_suffixes(table, name, ret_hosts + found);
    }
    if (table->hosts[0].root != NODE_NONE)
        ret_hosts[found++] = 0;
    return found;
}
