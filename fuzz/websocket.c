/* Frames of a WebSocket: the first byte says where the input is cut in two, which must not make a difference; followed
 * to each end of a frame, the same ends are found and nothing is read twice. */
#include "http/websocket.h"
#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct websocket_frames *a, const struct websocket_frames *b)
{
    return a->broken == b->broken && a->closed == b->closed &&
           (a->broken || (a->left == b->left && a->have == b->have));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const char *bytes = (const char *)data + 1;
    size_t len = size - 1, cut = data[0] % (len + 1), at = 0;
    struct websocket_frames whole = { 0 }, parts = { 0 }, steps = { 0 };
    websocket_follow(&whole, bytes, len);
    websocket_follow(&parts, bytes, cut);
    websocket_follow(&parts, bytes + cut, len - cut);
    ENSURE(same(&whole, &parts));
    while (at < len) { /* into the next frame, and to its end */
        websocket_follow(&steps, bytes + at++, 1);
        size_t taken = websocket_follow_to_boundary(&steps, bytes + at, len - at);
        at += taken;
        ENSURE(at == len || websocket_at_boundary(&steps));
    }
    ENSURE(at == len && same(&whole, &steps));
    return 0;
}
