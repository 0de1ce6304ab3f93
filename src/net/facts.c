/* Facts of a connection: counted, with the texts they point to in blocks of their own size. */
#include "net/facts.h"

#include "base/assert.h"
#include "base/memory.h"

struct kept_text {
    struct kept_text *next;
    size_t len;
    char text[];
};

struct conn_facts *facts_new(struct memory *memory)
{
    struct conn_facts *facts = memory_get(memory, sizeof(*facts));

    if (facts)
        *facts = (struct conn_facts){ .memory = memory, .refs = 1 };
    return facts;
}

struct conn_facts *facts_hold(struct conn_facts *facts)
{
    if (facts)
        facts->refs++;
    return facts;
}

void facts_drop(struct conn_facts *facts)
{
    if (facts == NULL)
        return;
    ENSURE(facts->refs > 0);
    if (--facts->refs > 0)
        return;
    ENSURE(facts->session == NULL);
    for (struct kept_text *text = facts->texts, *next; text; text = next) {
        next = text->next;
        memory_put(facts->memory, text, sizeof(*text) + text->len);
    }
    memory_put(facts->memory, facts, sizeof(*facts));
}

int facts_keep(struct conn_facts *facts, struct slice text, struct slice *ret_kept)
{
    struct kept_text *kept = memory_get(facts->memory, sizeof(*kept) + text.len);

    if (kept == NULL)
        return -ERR_MEMORY;
    *kept = (struct kept_text){ facts->texts, text.len };
    if (text.len > 0)
        memcpy(kept->text, text.at, text.len);
    facts->texts = kept;
    *ret_kept = slice_make(kept->text, text.len);
    return 0;
}
