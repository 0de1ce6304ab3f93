/* Templates: the first line is the template, the second a query, the rest a Cookie field. What compiles says something,
 * twice the same; a text without braces says itself. */
#include "exchange/template.h"
#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "conf/conf.h"
#include "exchange/exchange.h"
#include "http/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = slice_make((const char *)data, size), text = slice_cut(&rest, '\n'), first, second;
    struct message request = { .path = SLICE("/p"), .query = slice_cut(&rest, '\n'), .has_query = true };
    struct memory memory;
    struct template template;
    if (size == 0 || memory_init(&memory, NULL, 0) < 0)
        return 0;
    struct conf *conf = conf_new(NULL);
    struct exchange x = { .arena = arena_new(&memory, SIZE_MAX), .request = &request };
    request.authority = rest;
    x.record.client = request.query;
    if (fields_add(&request.fields, x.arena, SLICE("Cookie"), rest) == 0 &&
        template_compile(conf, NULL, text, NULL, &template) == 0) {
        uint64_t hash;
        bool empty;
        ENSURE(template_text(&template, &x, &first) == 0 && template_text(&template, &x, &second) == 0);
        ENSURE(slice_eq(first, second) && template_hash(&template, &x, &hash, &empty) == 0);
        ENSURE(empty == (first.len == 0));
        if (slice_find(text, '{') < 0 && slice_find(text, '}') < 0)
            ENSURE(slice_eq(first, text));
        template_done(&template);
    }
    arena_free(x.arena);
    memory_done(&memory);
    conf_free(conf);
    return 0;
}
