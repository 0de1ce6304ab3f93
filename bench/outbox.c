/*
 * Putting frames together; outbox.h says why. A frame larger than the room is taken in parts: the
 * pointer that nghttp2 gave stays good until it is asked for the next frame, which waits for that.
 */
#include "outbox.h"

#include <assert.h>
#include <string.h>

/* Moves in what is left of the current frame. Returns whether all of it fitted. */
static bool left_move(struct outbox *outbox)
{
    if (outbox->left_len == 0)
        return true;
    size_t room = OUTBOX_SIZE - outbox->length;
    size_t length = outbox->left_len < room ? outbox->left_len : room;
    memcpy(outbox->bytes + outbox->length, outbox->left, length);
    outbox->length += length;
    outbox->left += length;
    outbox->left_len -= length;
    return outbox->left_len == 0;
}

int outbox_fill(struct outbox *outbox, nghttp2_session *h2)
{
    while (left_move(outbox)) {
        ssize_t length = nghttp2_session_mem_send(h2, &outbox->left);
        if (length < 0)
            return -1;
        outbox->left_len = (size_t)length;
        if (length == 0)
            break;
    }
    return 0;
}

void outbox_take(struct outbox *outbox, size_t n)
{
    assert(n <= outbox_length(outbox));
    outbox->sent += n;
    if (outbox->sent == outbox->length) {
        outbox->sent = 0;
        outbox->length = 0;
    }
}

void outbox_clear(struct outbox *outbox)
{
    outbox->length = 0;
    outbox->sent = 0;
    outbox->left = NULL;
    outbox->left_len = 0;
}
