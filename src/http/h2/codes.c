/*
 * Error codes (RFC 9113 7), both ways.  Towards clients a code says as little as a status would: that we refused before
 * anything was done (the request may be sent again), that the request was malformed, or that we failed.  Towards
 * services it is CANCEL, whatever happened: it is no affair of theirs.
 */
#include "http/h2/conn.h"

static uint32_t code_for_client(const struct h2_stream *s, enum err err)
{
    switch (err) {
    case ERR_NONE:
        return NGHTTP2_NO_ERROR;
    case ERR_OVERLOADED:
    case ERR_DRAINING:
    case ERR_MEMORY: /* only what surely was not begun may be called refused */
        return s->base.head == NULL || (s->news & NEWS_REQUEST) ? NGHTTP2_REFUSED_STREAM : NGHTTP2_INTERNAL_ERROR;
    default:
        break;
    }
    const struct err_info *info = err_info(err);
    if (info->status == 499 || err == ERR_BODY_TIMEOUT)
        return NGHTTP2_CANCEL;
    return info->side == SIDE_CLIENT && info->status == 400 ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_INTERNAL_ERROR;
}

uint32_t h2_code_of(const struct h2_stream *s, enum err err)
{
    if (!s->conn->is_client)
        return code_for_client(s, err);
    return err == ERR_UPSTREAM_BAD_HEAD || err == ERR_UPSTREAM_BAD_BODY || err == ERR_UPSTREAM_CUT
               ? NGHTTP2_PROTOCOL_ERROR
               : NGHTTP2_CANCEL;
}

static enum err err_from_client(uint32_t code)
{
    return code == NGHTTP2_CANCEL || code == NGHTTP2_NO_ERROR ? ERR_CLIENT_CLOSED : ERR_CLIENT_RESET;
}

static enum err err_from_service(uint32_t code)
{
    switch (code) {
    case NGHTTP2_REFUSED_STREAM:
        return ERR_UPSTREAM_REFUSED;
    case NGHTTP2_HTTP_1_1_REQUIRED:
        return ERR_HTTP_1_1_REQUIRED;
    case NGHTTP2_NO_ERROR:
        return ERR_UPSTREAM_CLOSED;
    default:
        return ERR_UPSTREAM_RESET;
    }
}

enum err h2_err_of(const struct h2_conn *conn, uint32_t code, bool peer)
{
    if (conn->is_client) /* what nghttp2 itself resets is a frame that may not be, but for refusals */
        return peer || code == NGHTTP2_REFUSED_STREAM ? err_from_service(code) : ERR_UPSTREAM_BAD_BODY;
    return peer ? err_from_client(code) : ERR_PROTOCOL;
}
