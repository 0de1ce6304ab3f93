/*
 * The scripted peers' reader.
 */
#include "sim/spine_wire.h"

#include <strings.h>

#include "base/assert.h"

static void broken(struct wire *wire, const char *why)
{
    if (!wire->broken)
        wire->why = why;
    wire->broken = true;
}

void wire_reset(struct wire *wire)
{
    wire->state = WIRE_HEAD;
    wire->head_len = 0;
    wire->left = wire->body_len = 0;
    wire->body_id = 0;
    wire->no_body = false;
}

const char *wire_field(const struct wire *wire, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = strchr(wire->head, '\n'); line && line[1] != '\r'; line = strchr(line + 1, '\n'))
        if (strncasecmp(line + 1, name, len) == 0 && line[1 + len] == ':')
            return line + 1 + len + 2;
    return NULL;
}

uint64_t wire_number(const struct wire *wire, const char *name)
{
    const char *value = wire_field(wire, name);
    return value ? strtoull(value, NULL, 10) : 0;
}

unsigned wire_status(const struct wire *wire)
{
    return (unsigned)strtoul(wire->head + 9, NULL, 10);
}

static void message_ends(struct wire *wire)
{
    wire->events->on_message(wire);
    if (wire->state != WIRE_TUNNEL)
        wire_reset(wire);
}

static void head_ends(struct wire *wire)
{
    wire->head[wire->head_len] = '\0';
    const char *coding = wire_field(wire, "Transfer-Encoding");
    const char *length = wire_field(wire, "Content-Length");
    if (coding && length)
        broken(wire, "both Content-Length and Transfer-Encoding");
    wire->events->on_head(wire);
    if (wire->state == WIRE_TUNNEL)
        return;
    if (wire->is_response && wire_status(wire) < 200) {
        wire_reset(wire);
        return;
    }
    if (wire->no_body) {
        message_ends(wire);
    } else if (coding) {
        wire->state = WIRE_CHUNK_SIZE;
        wire->left = 0;
    } else if (length) {
        wire->left = strtoull(length, NULL, 10);
        wire->state = WIRE_LENGTH;
        if (wire->left == 0)
            message_ends(wire);
    } else if (wire->is_response) {
        wire->state = WIRE_TO_END;
    } else {
        message_ends(wire);
    }
}

static size_t take_head(struct wire *wire, const char *data, size_t len)
{
    size_t taken = 0;
    while (taken < len && wire->head_len < sizeof(wire->head) - 1) {
        wire->head[wire->head_len++] = data[taken++];
        if (wire->head_len >= 4 && memcmp(wire->head + wire->head_len - 4, "\r\n\r\n", 4) == 0) {
            head_ends(wire);
            return taken;
        }
    }
    if (wire->head_len == sizeof(wire->head) - 1)
        broken(wire, "a head that has no end");
    return taken;
}

static size_t take_body(struct wire *wire, const char *data, size_t len)
{
    for (size_t i = 0; wire->body_id && i < len; i++)
        if ((uint8_t)data[i] != (pattern_at(wire->body_id, wire->body_len + i) ^ wire->body_xor)) {
            broken(wire, "a body with other bytes than were sent");
            break;
        }
    wire->body_len += len;
    return len;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* One byte of chunked framing. */
static void take_framing(struct wire *wire, char c)
{
    switch (wire->state) {
    case WIRE_CHUNK_SIZE:
        if (hex_digit(c) >= 0)
            wire->left = wire->left * 16 + (unsigned)hex_digit(c);
        else if (c == '\n')
            wire->state = wire->left ? WIRE_CHUNK : WIRE_TRAILER, wire->head_len = 0;
        else if (c != '\r')
            broken(wire, "a chunk size that is none");
        break;
    case WIRE_CHUNK_END:
        if (c == '\n')
            wire->state = WIRE_CHUNK_SIZE, wire->left = 0;
        else if (c != '\r')
            broken(wire, "a chunk longer than it said");
        break;
    default: /* WIRE_TRAILER: head_len counts the bytes of the line */
        if (c == '\n') {
            if (wire->head_len == 0)
                message_ends(wire);
            else
                wire->head_len = 0;
        } else if (c != '\r') {
            wire->head_len++;
        }
    }
}

void wire_feed(struct wire *wire, const char *data, size_t len)
{
    while (len > 0 && !wire->broken) {
        size_t taken = 1;
        switch (wire->state) {
        case WIRE_HEAD:
            taken = take_head(wire, data, len);
            break;
        case WIRE_LENGTH:
        case WIRE_CHUNK:
            taken = take_body(wire, data, MIN(len, wire->left));
            wire->left -= taken;
            if (wire->left == 0 && wire->state == WIRE_CHUNK)
                wire->state = WIRE_CHUNK_END;
            else if (wire->left == 0)
                message_ends(wire);
            break;
        case WIRE_TO_END:
            taken = take_body(wire, data, len);
            break;
        case WIRE_TUNNEL:
            wire->events->on_tunnel(wire, data, len);
            taken = len;
            break;
        default:
            take_framing(wire, data[0]);
        }
        data += taken;
        len -= taken;
    }
}

bool wire_end(struct wire *wire)
{
    if (wire->state == WIRE_TO_END) {
        message_ends(wire);
        return true;
    }
    return wire->state == WIRE_TUNNEL || (wire->state == WIRE_HEAD && wire->head_len == 0);
}
