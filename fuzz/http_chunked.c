/* Chunked framing: the first byte says where the input is cut in two, which must not make a difference; data never
 * exceeds the input. */
#include "base/assert.h"
#include "http/h1/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
struct decoded {
    int outcome;
    size_t data_bytes, hash, used;
};

static void push(struct h1_chunks *chunks, struct slice bytes, struct decoded *d)
{
    size_t before = bytes.len;
    while (d->outcome == 0 && (d->outcome = h1_chunks_next(chunks, &bytes)) == 1) {
        ENSURE(bytes.len > 0 && chunks->left > 0);
        d->hash = d->hash * 31 + (unsigned char)*bytes.at++;
        bytes.len--;
        chunks->left--;
        d->data_bytes++;
        d->outcome = 0;
    }
    d->used += before - bytes.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct slice all = { (const char *)data + 1, size - 1 };
    size_t cut = data[0] % (all.len + 1);
    struct h1_chunks a = { 0 }, b = { 0 };
    struct decoded whole = { 0 }, parts = { 0 };
    push(&a, all, &whole);
    push(&b, slice_make(all.at, cut), &parts);
    push(&b, slice_make(all.at + cut, all.len - cut), &parts);
    ENSURE(whole.outcome == parts.outcome && whole.hash == parts.hash && whole.data_bytes == parts.data_bytes);
    ENSURE(whole.used <= all.len && (whole.outcome < 0 || whole.used == parts.used));
    return 0;
}
