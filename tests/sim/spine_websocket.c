/*
 * The frames of the scripted WebSockets.
 */
#include "sim/spine_websocket.h"

#include "base/assert.h"
#include "sim/spine.h"

enum { OPCODE_BINARY = 2, OPCODE_CLOSE = 8, FRAME_MAX = 70000 };

/* Each direction has a pattern of its own. */
static uint32_t pattern_of(const struct ws *ws, bool from_client)
{
    return from_client ? ws->id : ws->id + 1000;
}

/* ---- what goes ---- */

static void send_frame(struct ws *ws, unsigned opcode, const unsigned char *payload, size_t len)
{
    static const unsigned char mask[4] = { 0x5a, 0x00, 0xc3, 0x11 };
    static unsigned char frame[FRAME_MAX + 14];
    size_t at = 2;
    frame[0] = (unsigned char)(0x80 | opcode);
    if (len < 126) {
        frame[1] = (unsigned char)len;
    } else {
        unsigned bytes = len < 65536 ? 2 : 8;
        frame[1] = bytes == 2 ? 126 : 127;
        for (unsigned i = 0; i < bytes; i++)
            frame[at++] = (unsigned char)((uint64_t)len >> 8 * (bytes - 1 - i));
    }
    if (ws->is_client) {
        frame[1] |= 0x80;
        memcpy(frame + at, mask, 4);
        at += 4;
    }
    for (size_t i = 0; i < len; i++)
        frame[at + i] = (unsigned char)(payload[i] ^ (ws->is_client ? mask[i % 4] : 0));
    ws->send(ws, frame, at + len);
}

static void send_data(struct ws *ws)
{
    static unsigned char payload[FRAME_MAX];
    size_t len = sim_chance(100) ? 0 : sim_chance(850) || world.fail_at ? sim_pick(300) : sim_pick(FRAME_MAX);
    for (size_t i = 0; i < len; i++)
        payload[i] = pattern_at(pattern_of(ws, ws->is_client), ws->sent + i);
    ws->sent += len;
    send_frame(ws, OPCODE_BINARY, payload, len);
}

static void say_close(struct ws *ws, unsigned code)
{
    ws->said_close = true;
    send_frame(ws, OPCODE_CLOSE, (unsigned char[]){ (unsigned char)(code >> 8), (unsigned char)code }, 2);
    if (ws->heard_close)
        ws->finish(ws);
}

static void talk(void *arg)
{
    struct ws *ws = arg;
    if (ws->dead || ws->said_close)
        return;
    for (uint32_t n = sim_pick(3); n > 0 && ws->frames_left > 0; n--) {
        send_data(ws);
        ws->frames_left -= ws->frames_left != WS_FRAMES_WITHOUT_END;
    }
    if (ws->frames_left == 0)
        say_close(ws, WS_NORMAL);
    else
        sim_after(world.idles && sim_chance(100) ? sim_pick(9000000) : sim_pick(60000), talk, ws);
}

void ws_open(struct ws *ws)
{
    ws->opened = true;
    sim_after(1, talk, ws);
}

void ws_die(struct ws *ws)
{
    ws->dead = true;
}

/* ---- what comes ---- */

static unsigned header_len(const struct ws *ws)
{
    unsigned len = 2;
    if (ws->have < 2)
        return len;
    unsigned size = ws->header[1] & 127;
    return len + (size == 126 ? 2 : size == 127 ? 8 : 0) + (ws->header[1] & 128 ? 4 : 0);
}

static void judge_header(struct ws *ws)
{
    unsigned opcode = ws->header[0] & 15, size = ws->header[1] & 127, bytes = size == 126 ? 2 : size == 127 ? 8 : 0;
    ws->left = bytes ? 0 : size;
    ws->at = 0;
    for (unsigned i = 0; i < bytes; i++)
        ws->left = ws->left << 8 | ws->header[2 + i];
    if ((ws->header[0] & 0xf0) != 0x80 || (opcode != OPCODE_BINARY && opcode != OPCODE_CLOSE) || ws->left > FRAME_MAX)
        world_fail("bytes between the frames of a WebSocket", ws->id);
    else if ((ws->header[1] & 128 ? true : false) == ws->is_client)
        world_fail("a frame that is masked in the wrong direction", ws->id);
    else if (ws->heard_close)
        world_fail("a frame behind a Close", ws->id);
}

static void take_payload(struct ws *ws, const char *data, size_t len)
{
    const unsigned char *mask = ws->header + header_len(ws) - 4;
    uint32_t pattern = pattern_of(ws, !ws->is_client);
    bool closes = (ws->header[0] & 15) == OPCODE_CLOSE;
    for (size_t i = 0; i < len; i++, ws->at++) {
        unsigned char plain = (unsigned char)(data[i] ^ (ws->is_client ? 0 : mask[ws->at % 4]));
        if (closes && ws->at < 2)
            ws->close_bytes[ws->at] = plain;
        else if (!closes && plain != pattern_at(pattern, ws->got++))
            world_fail("a WebSocket with other bytes than were sent", ws->id);
    }
    ws->left -= len;
}

static void frame_is_over(struct ws *ws)
{
    ws->have = 0;
    if ((ws->header[0] & 15) != OPCODE_CLOSE)
        return;
    ws->heard_close = true;
    ws->close_code = ws->at >= 2 ? (unsigned)(ws->close_bytes[0] << 8 | ws->close_bytes[1]) : 0;
    if (ws->close_code == WS_GOING_AWAY ? !world.drains && !world.idles : ws->close_code != WS_NORMAL)
        world_fail("a Close with a code that nobody has said", ws->id);
    if (ws->said_close)
        ws->finish(ws);
    else if (!ws->dead)
        say_close(ws, ws->close_code);
}

void ws_feed(struct ws *ws, const char *data, size_t len)
{
    for (size_t i = 0; i < len && !ws->dead && !world.failure;) {
        if (ws->have < header_len(ws)) {
            ws->header[ws->have++] = (unsigned char)data[i++];
            if (ws->have < header_len(ws))
                continue;
            judge_header(ws);
        } else {
            size_t part = (size_t)MIN((uint64_t)(len - i), ws->left);
            take_payload(ws, data + i, part);
            i += part;
        }
        if (ws->left == 0)
            frame_is_over(ws);
    }
}

/* A service's whose answer went to the client: not one in whose place a policy has answered. */
static bool was_opened(const struct ws *ws)
{
    const struct ws *client = ws->is_client ? ws : websocket_client(ws->id);
    return client && client->opened;
}

void ws_end(struct ws *ws)
{
    if (ws->dead)
        return;
    if (world.calm && !world.fail_at && was_opened(ws) && !ws->heard_close)
        world_fail("a WebSocket that ended without a Close", ws->id);
    ws_die(ws);
}
