/* A PROXY header: whatever comes is parsed within its bytes, the same at any cut, and what was read is written back. */
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "net/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = { (const char *)data, size };
    struct proxy_header header, again;
    char written[PROXY_WRITE_MAX];
    size_t len, shorter;
    int err = proxy_header_length(bytes, &len);

    ENSURE(len <= PROXY_HEADER_MAX || err);
    for (size_t cut = 0; cut < size && cut < 200; cut++) {
        int early = proxy_header_length(slice_make(bytes.at, cut), &shorter);
        ENSURE(early == 0 ? shorter == 0 || shorter == len : err);
    }
    if (err || len == 0 || len > size || proxy_header_parse(slice_make(bytes.at, len), &header) < 0)
        return 0;
    size_t written_len = proxy_header_write(&header, written);
    ENSURE(proxy_header_parse(slice_make(written, written_len), &again) == 0);
    ENSURE(again.version == header.version);
    if (header.source.family == AF_INET)
        ENSURE(again.local || address_eq(&again.source, &header.source) || header.destination.family != AF_INET);
    return 0;
}
