/*
 * WebSocket's handshake values, its frame lengths and its Close.
 *
 * The follower reads headers only: two bytes, then a length of 0, 2 or 8 bytes, then a mask of 0 or 4.  A payload is
 * skipped by its length, so bytes of a large frame cost one subtraction a piece.  Both peers judge what the frames
 * mean; a gateway only has to know where one ends.
 */
#include "http/websocket.h"

#include "base/assert.h"
#include "base/sha1.h"
#include "base/sys.h"
#include "http/message.h"

/* ---- handshake ---- */

enum { KEY_BYTES = 16 };

bool websocket_is(struct slice upgrade)
{
    return slice_eq_nocase(slice_trim(upgrade), SLICE("websocket"));
}

/* RFC 4648 4. */
static void base64(const uint8_t *bytes, size_t len, char *to)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < len; i += 3) {
        uint32_t three = (uint32_t)bytes[i] << 16;
        three |= i + 1 < len ? (uint32_t)bytes[i + 1] << 8 : 0;
        three |= i + 2 < len ? (uint32_t)bytes[i + 2] : 0;
        *to++ = alphabet[three >> 18];
        *to++ = alphabet[three >> 12 & 63];
        *to++ = i + 1 < len ? alphabet[three >> 6 & 63] : '=';
        *to++ = i + 2 < len ? alphabet[three & 63] : '=';
    }
}

void websocket_key(char ret_key[WEBSOCKET_KEY_LEN])
{
    uint8_t bytes[KEY_BYTES];

    sys->random(bytes, sizeof(bytes));
    base64(bytes, sizeof(bytes), ret_key);
}

void websocket_accept(struct slice key, char ret_accept[WEBSOCKET_ACCEPT_LEN])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[WEBSOCKET_KEY_LEN + sizeof(guid) - 1];
    uint8_t digest[SHA1_BYTES];

    ENSURE(key.len == WEBSOCKET_KEY_LEN);
    slice_put(slice_make(guid, sizeof(guid) - 1), slice_put(key, text));
    sha1(slice_make(text, sizeof(text)), digest);
    base64(digest, sizeof(digest), ret_accept);
}

/* The value of the only field of that name; at == NULL otherwise. */
static struct slice only_one(const struct fields *fields, struct slice name)
{
    struct slice value = SLICE_EMPTY;
    unsigned seen = 0;

    FIELDS_FOR_EACH (field, fields) {
        if (field->id == FIELD_OTHER && slice_eq_nocase(field->name, name)) {
            value = slice_trim(field->value);
            seen++;
        }
    }
    return seen == 1 ? value : SLICE_EMPTY;
}

bool websocket_accepts(const struct message *answer, struct slice key)
{
    char expected[WEBSOCKET_ACCEPT_LEN];

    websocket_accept(key, expected);
    struct slice accept = only_one(&answer->fields, SLICE("Sec-WebSocket-Accept"));
    return slice_eq(accept, slice_make(expected, sizeof(expected)));
}

static bool is_base64(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

struct slice websocket_key_of(const struct message *request)
{
    struct slice key = only_one(&request->fields, SLICE("Sec-WebSocket-Key"));

    if (key.len != WEBSOCKET_KEY_LEN || !slice_ends(key, SLICE("==")))
        return SLICE_EMPTY;
    for (size_t i = 0; i < key.len - 2; i++)
        if (!is_base64(key.at[i]))
            return SLICE_EMPTY;
    return key;
}

/* ---- frames ---- */

enum {
    OPCODE_MASK = 0x0f,
    OPCODE_CLOSE = 0x8,
    FINAL = 0x80,
    MASKED = 0x80,
    LENGTH_MASK = 0x7f,
    LENGTH_16 = 126,
    LENGTH_64 = 127,
    MASK_BYTES = 4,
    PAYLOAD_MAX = 125, /* of a control frame */
};

static unsigned length_bytes(const struct websocket_frames *frames)
{
    unsigned length = frames->header[1] & LENGTH_MASK;
    return length == LENGTH_64 ? 8 : length == LENGTH_16 ? 2 : 0;
}

/* How long the header is, as far as is known. */
static unsigned header_len(const struct websocket_frames *frames)
{
    if (frames->have < 2)
        return 2;
    return 2 + length_bytes(frames) + ((frames->header[1] & MASKED) ? MASK_BYTES : 0);
}

/* Until the header is whole `left` gathers the length. */
static void take_header_byte(struct websocket_frames *frames, uint8_t byte)
{
    unsigned at = frames->have++;

    if (at < 2) {
        frames->header[at] = byte;
        if (at == 1 && (frames->header[0] & OPCODE_MASK) == OPCODE_CLOSE)
            frames->closed = true;
        if (at == 1 && length_bytes(frames) == 0)
            frames->left = byte & LENGTH_MASK;
    } else if (at < 2 + length_bytes(frames)) {
        frames->left = frames->left << 8 | byte;
    }
    if (frames->have < header_len(frames))
        return;
    frames->have = 0;
    if (frames->left >> 63) /* RFC 6455 5.2: the most significant bit must be 0 */
        frames->broken = true;
}

/* One header byte, or as much of a payload as is there. */
static size_t step(struct websocket_frames *frames, const char *bytes, size_t len)
{
    if (frames->broken)
        return len;
    if (frames->have > 0 || frames->left == 0) {
        take_header_byte(frames, (uint8_t)*bytes);
        return 1;
    }
    size_t part = frames->left < len ? (size_t)frames->left : len;
    frames->left -= part;
    return part;
}

void websocket_follow(struct websocket_frames *frames, const char *bytes, size_t len)
{
    while (len > 0) {
        size_t part = step(frames, bytes, len);
        bytes += part;
        len -= part;
    }
}

size_t websocket_follow_to_boundary(struct websocket_frames *frames, const char *bytes, size_t len)
{
    size_t taken = 0;

    while (taken < len && !websocket_at_boundary(frames))
        taken += step(frames, bytes + taken, len - taken);
    return taken;
}

size_t websocket_close_frame(unsigned code, struct slice reason, bool masked, char ret_frame[WEBSOCKET_CLOSE_MAX])
{
    uint8_t mask[MASK_BYTES] = { 0 };
    size_t len = 2 + reason.len;
    char *at = ret_frame;

    ENSURE(code >= 1000 && code < 5000 && len <= PAYLOAD_MAX);
    *at++ = (char)(FINAL | OPCODE_CLOSE);
    *at++ = (char)((masked ? MASKED : 0) | len);
    if (masked) {
        sys->random(mask, sizeof(mask));
        at = slice_put(slice_make((const char *)mask, sizeof(mask)), at);
    }
    char *payload = at;
    *at++ = (char)(code >> 8);
    *at++ = (char)(code & 0xff);
    at = slice_put(reason, at);
    for (size_t i = 0; i < len; i++)
        payload[i] ^= (char)mask[i % MASK_BYTES];
    return (size_t)(at - ret_frame);
}
