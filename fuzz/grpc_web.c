/* Base64 of gRPC-Web's text form: the first byte says where the input is cut, the second how much room there is;
 * neither may make a difference, and what was decoded is decoded again from its encoding. */
#include "base/assert.h"
#include "policies/grpc_web/base64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
enum { INPUT_MAX = 1024 };
struct decoded {
    struct base64_decoder decoder;
    char bytes[INPUT_MAX];
    size_t len;
    int rc;
};

static void push(struct decoded *d, struct slice text, size_t room)
{
    while (text.len > 0 && d->rc == 0) {
        size_t len;
        d->rc = base64_decode(&d->decoder, &text, d->bytes + d->len, room, &len);
        ENSURE(len <= room && d->len + len <= INPUT_MAX);
        d->len += len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size - 2 > INPUT_MAX)
        return 0;
    struct decoded whole = { .len = 0 }, parts = { .len = 0 }, again = { .len = 0 };
    char encoded[INPUT_MAX * 2];
    struct slice text = { (const char *)data + 2, size - 2 };
    size_t cut = data[0] % (text.len + 1);
    push(&whole, text, INPUT_MAX);
    push(&parts, slice_make(text.at, cut), 3 + data[1] % 8);
    push(&parts, slice_make(text.at + cut, text.len - cut), 3 + data[1] % 8);
    ENSURE(whole.rc == parts.rc && slice_eq(slice_make(whole.bytes, whole.len), slice_make(parts.bytes, parts.len)));
    ENSURE(base64_complete(&whole.decoder) == base64_complete(&parts.decoder) && whole.len <= text.len / 4 * 3);
    push(&again, slice_make(encoded, base64_encode(slice_make(whole.bytes, whole.len), encoded)), INPUT_MAX);
    ENSURE(again.rc == 0 && base64_complete(&again.decoder) && again.len == whole.len);
    return 0;
}
