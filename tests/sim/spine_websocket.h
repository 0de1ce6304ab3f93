/*
 * One end of a WebSocket as the scripted peers have it: it sends frames of all sizes with a pattern as their payload,
 * says Close when it is through, and reads what comes with a strict reader of its own, so that a byte within a wrong
 * frame, a lost one and a doubled one all show.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WS_NORMAL = 1000, WS_GOING_AWAY = 1001, WS_FRAMES_WITHOUT_END = UINT32_MAX };

/* The example of RFC 6455, 1.3. */
#define WS_KEY    "dGhlIHNhbXBsZSBub25jZQ=="
#define WS_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

struct ws {
    void (*send)(struct ws *ws, const void *data, size_t len);
    void (*finish)(struct ws *ws); /* Close has been said and heard */
    void *user;
    uint32_t id;
    bool is_client;
    /* what goes */
    uint32_t frames_left;
    uint64_t sent;
    bool opened, said_close, dead;
    /* what comes */
    unsigned char header[14], close_bytes[2];
    unsigned have;
    uint64_t left, at, got;
    bool heard_close;
    unsigned close_code;
};

/* Begins to talk. */
void ws_open(struct ws *ws);
void ws_feed(struct ws *ws, const char *data, size_t len);
/* The other side's end. */
void ws_end(struct ws *ws);
/* Nothing more is sent or expected. */
void ws_die(struct ws *ws);

/* The client's end, NULL when there is none. */
const struct ws *websocket_client(uint32_t id);
