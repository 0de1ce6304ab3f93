/*
 * Rosters, and the watch over one name: a query, then a timer for its TTL, and so on. A name that stops resolving keeps
 * its last addresses.
 */
#include "control/discovery/roster.h"

#include "base/assert.h"
#include "base/sys.h"
#include "control/discovery/source.h"

struct name_watch {
    struct name_watch *next;
    struct roster *roster;
    struct dns_query query;
    struct dns_answer last; /* n 0 until the first good one */
    struct timer timer;
    unsigned failures; /* in a row */
    bool settled;      /* it has been answered */
    bool wanted;       /* scratch */
    uint16_t port;
    char host[]; /* terminated */
};

static void commit_when_known(struct roster *roster, const char *why);

/* ---- a name ---- */

static void ask(struct name_watch *w)
{
    resolver_lookup(w->roster->source->discovery->resolver, slice_from(w->host), w->port, DNS_IPV4_FIRST, &w->query);
}

static void on_timer(struct timer *timer)
{
    ask(container_of(timer, struct name_watch, timer));
}

static bool same_addresses(const struct dns_answer *a, const struct dns_answer *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!address_eq(&a->v[i], &b->v[i]))
            return false;
    return true;
}

static bool is_named(const struct entries *entries, const struct name_watch *w)
{
    for (size_t i = 0; i < entries->count; i++) {
        const struct found_target *found = &entries->v[i].found;
        if (found->host && found->address.port == w->port && strcasecmp(found->host, w->host) == 0)
            return true;
    }
    return false;
}

static void tell(struct name_watch *w, enum update update)
{
    struct roster *roster = w->roster;
    if (is_named(&roster->current, w))
        source_updated(roster->source, update, w->query.answer.why);
    if (roster->pending)
        commit_when_known(roster, w->query.answer.why); /* may let the watch go */
}

static void on_answer(struct op *op)
{
    struct name_watch *w = container_of(op, struct name_watch, query.op);
    struct discovery *discovery = w->roster->source->discovery;
    const struct dns_answer *answer = &w->query.answer;
    bool good = answer->err == ERR_NONE, same = good && same_addresses(answer, &w->last);
    w->settled = true;
    w->failures = good ? 0 : w->failures + 1;
    if (good)
        w->last = *answer;
    if (answer->ttl_s != UINT32_MAX)
        timer_set(discovery->loop, &w->timer,
                  discovery->loop->now_ms + discovery_wait_ms(discovery, answer->ttl_s, w->failures));
    tell(w, !good ? UPDATE_FAILED : same ? UPDATE_UNCHANGED : UPDATE_CHANGED);
}

static struct name_watch *watch_find(const struct roster *roster, const struct found_target *found)
{
    struct name_watch *w = roster->watches;
    while (w && (w->port != found->address.port || strcasecmp(w->host, found->host) != 0))
        w = w->next;
    return w;
}

static void watch_new(struct roster *roster, const struct found_target *found)
{
    size_t size = strlen(found->host) + 1;
    struct name_watch *w = mem_must(sizeof(*w) + size);
    memcpy(w->host, found->host, size);
    w->roster = roster;
    w->port = found->address.port;
    w->query.op.on_complete = on_answer;
    timer_init(&w->timer, on_timer);
    w->next = roster->watches;
    roster->watches = w;
}

static void watch_free(struct name_watch *w)
{
    op_cancel(&w->query.op);
    timer_clear(w->roster->source->discovery->loop, &w->timer);
    mem_free(w);
}

/* Those that neither list names any more go. */
static void let_go_unnamed(struct roster *roster)
{
    struct name_watch **at = &roster->watches;
    while (*at) {
        struct name_watch *w = *at;
        if (is_named(&roster->current, w) || (roster->pending && is_named(&roster->next, w))) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        watch_free(w);
    }
}

/* ---- lists ---- */

static char *keep(char **at, const char *text)
{
    if (!text)
        return NULL;
    size_t size = strlen(text) + 1;
    char *kept = memcpy(*at, text, size);
    *at += size;
    return kept;
}

static size_t size_of(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static size_t path_size(const struct address *address)
{
    return address->family == AF_UNIX ? address->port : 0;
}

static struct entries entries_copy(const struct entry *from, size_t count)
{
    struct entries to = { .v = mem_must((count + 1) * sizeof(*to.v)) };
    size_t size = 1, names = 0;
    for (size_t i = 0; i < count; i++)
        size += size_of(from[i].found.host) + size_of(from[i].found.zone) + path_size(&from[i].found.address);
    char *at = to.strings = mem_must(size);
    for (size_t i = 0; i < count; i++) {
        struct found_target found = from[i].found;
        if (found.host && ++names > NAMES_MAX)
            continue;
        found.host = keep(&at, found.host);
        found.zone = keep(&at, found.zone);
        if (found.address.family == AF_UNIX) {
            found.address.path = memcpy(at, found.address.path, found.address.port);
            at += found.address.port;
        }
        to.v[to.count++].found = found;
    }
    return to;
}

static void entries_done(struct entries *entries)
{
    mem_free(entries->v);
    mem_free(entries->strings);
    *entries = (struct entries){ .v = NULL };
}

static size_t count_addresses(const struct roster *roster, const struct entries *entries)
{
    size_t count = 0;
    for (size_t i = 0; i < entries->count; i++) {
        const struct found_target *found = &entries->v[i].found;
        const struct name_watch *w = found->host ? watch_find(roster, found) : NULL;
        count += w ? w->last.n : !found->host;
    }
    return count;
}

bool roster_settled(const struct roster *roster)
{
    for (const struct name_watch *w = roster->watches; w; w = w->next)
        if (!w->settled)
            return false;
    return true;
}

/* The first list does not wait for its last name: there is nothing that it would take the place of. */
static void commit_when_known(struct roster *roster, const char *why)
{
    struct source *source = roster->source;
    size_t addresses = count_addresses(roster, &roster->next);
    if (!roster_settled(roster) && (roster->current.count > 0 || addresses == 0))
        return;
    if (roster->next.count > 0 && addresses == 0) {
        source_failed(source, why ? why : "none of its names resolves");
        return; /* when one does, it is looked at again */
    }
    entries_done(&roster->current);
    roster->current = roster->next;
    roster->next = (struct entries){ .v = NULL };
    roster->pending = false;
    source_updated(source, UPDATE_CHANGED, NULL);
    let_go_unnamed(roster);
}

void roster_init(struct roster *roster, struct source *source)
{
    *roster = (struct roster){ .source = source };
}

void roster_offer(struct roster *roster, const struct entry *entries, size_t count)
{
    struct name_watch *known = roster->watches;
    entries_done(&roster->next);
    roster->next = entries_copy(entries, MIN(count, (size_t)ENTRIES_MAX));
    roster->pending = true;
    for (size_t i = 0; i < roster->next.count; i++) {
        const struct found_target *found = &roster->next.v[i].found;
        if (found->host && !watch_find(roster, found))
            watch_new(roster, found);
    }
    /* Asked once all are there: an answer may come at once, and the last one takes the list over. */
    for (struct name_watch *w = roster->watches, *next; w != known; w = next) {
        next = w->next;
        ask(w);
    }
    if (roster->pending && roster->watches == known)
        commit_when_known(roster, NULL);
}

void found_add(struct found_list *list, const struct found_target *found)
{
    if (list->count == list->size) {
        size_t size = list->size ? list->size * 2 : 64;
        struct found_target *larger = mem_must(size * sizeof(*larger));
        if (list->count)
            memcpy(larger, list->v, list->count * sizeof(*larger));
        mem_free(list->v);
        list->v = larger;
        list->size = size;
    }
    list->v[list->count++] = *found;
}

void roster_collect(const struct roster *roster, struct found_list *list)
{
    for (size_t i = 0; i < roster->current.count; i++) {
        struct found_target found = roster->current.v[i].found;
        const struct name_watch *w = found.host ? watch_find(roster, &found) : NULL;
        if (!found.host)
            found_add(list, &found);
        for (uint32_t j = 0; w && j < w->last.n; j++) {
            found.address = w->last.v[j];
            found_add(list, &found);
        }
    }
}

void roster_done(struct roster *roster)
{
    while (roster->watches) {
        struct name_watch *w = roster->watches;
        roster->watches = w->next;
        watch_free(w);
    }
    entries_done(&roster->current);
    entries_done(&roster->next);
}
