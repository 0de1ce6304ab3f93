/*
 * grpc.health.v1.Health/Check by hand: two messages of one field each need no library.
 *
 *      frame     compressed (1 byte, 0)  length (4 bytes)  message
 *      request   field 1, string: the service     response   field 1, enum: SERVING is 1
 *
 * The reader takes fields that it does not know and passes them by, as protobuf wants it.
 */
#include "http/grpc.h"
#include "upstream/health_conf.h"
#include "upstream/probe_state.h"

#include "base/assert.h"

enum { FRAME_HEAD_BYTES = 5, VARINT_BYTES_MAX = 10, TAG_FIRST_STRING = 0x0a };
enum { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };

static size_t put_varint(char *at, size_t value)
{
    size_t len = 0;
    for (; value >= 0x80; value >>= 7)
        at[len++] = (char)(value | 0x80);
    at[len++] = (char)value;
    return len;
}

size_t grpc_health_request(struct slice service, char ret_bytes[GRPC_REQUEST_MAX])
{
    ENSURE(service.len <= GRPC_SERVICE_MAX);
    char *message = ret_bytes + FRAME_HEAD_BYTES;
    size_t len = 0;
    if (service.len > 0) {
        message[len++] = TAG_FIRST_STRING;
        len += put_varint(message + len, service.len);
        memcpy(message + len, service.at, service.len);
        len += service.len;
    }
    memset(ret_bytes, 0, FRAME_HEAD_BYTES);
    ret_bytes[3] = (char)(len >> 8);
    ret_bytes[4] = (char)len;
    return FRAME_HEAD_BYTES + len;
}

static bool take_varint(struct slice *rest, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && i < rest->len; i++) {
        unsigned char byte = (unsigned char)rest->at[i];
        value |= (uint64_t)(byte & 0x7f) << 7 * i;
        if (byte & 0x80)
            continue;
        *rest = slice_make(rest->at + i + 1, rest->len - i - 1);
        *ret_value = value;
        return true;
    }
    return false;
}

static bool pass_by(struct slice *rest, unsigned wire)
{
    uint64_t len;
    switch (wire) {
    case WIRE_VARINT:
        return take_varint(rest, &len);
    case WIRE_64:
        len = 8;
        break;
    case WIRE_32:
        len = 4;
        break;
    case WIRE_BYTES:
        if (!take_varint(rest, &len))
            return false;
        break;
    default:
        return false;
    }
    if (len > rest->len)
        return false;
    *rest = slice_make(rest->at + len, rest->len - (size_t)len);
    return true;
}

int grpc_health_parse(struct slice body, enum grpc_health *ret_health)
{
    const unsigned char *head = (const unsigned char *)body.at;
    uint64_t status = 0;
    if (body.len < FRAME_HEAD_BYTES || head[0] != 0)
        return -ERR_UPSTREAM_BAD_BODY;
    size_t len = (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
    struct slice rest = slice_make(body.at + FRAME_HEAD_BYTES, body.len - FRAME_HEAD_BYTES);
    if (rest.len != len)
        return -ERR_UPSTREAM_BAD_BODY;
    while (rest.len > 0) {
        uint64_t tag;
        if (!take_varint(&rest, &tag))
            return -ERR_UPSTREAM_BAD_BODY;
        bool fine = tag == (1 << 3 | WIRE_VARINT) ? take_varint(&rest, &status) : pass_by(&rest, tag & 7);
        if (!fine)
            return -ERR_UPSTREAM_BAD_BODY;
    }
    *ret_health = status <= GRPC_HEALTH_SERVICE_UNKNOWN ? (enum grpc_health)status : GRPC_HEALTH_UNKNOWN;
    return 0;
}

static void judge_call(struct probe *probe, enum grpc_status status)
{
    const char *service = probe->order.check->service;
    if (status == GRPC_STATUS_UNIMPLEMENTED)
        probe_report(probe, PROBE_CALL, "it has no gRPC health service (unimplemented)");
    else if (status == GRPC_STATUS_NOT_FOUND)
        probe_report(probe, PROBE_CALL, "it does not know the service `%s` (not_found)", service ? service : "");
    else
        probe_report(probe, PROBE_CALL, "the call ended with %s", grpc_status_word(status));
}

void probe_grpc_judge(struct probe *probe)
{
    static const char *const words[] = {
        [GRPC_HEALTH_UNKNOWN] = "unknown",
        [GRPC_HEALTH_NOT_SERVING] = "not serving",
        [GRPC_HEALTH_SERVICE_UNKNOWN] = "a service it does not know",
    };
    const struct message *head = probe->stream->head;
    if (head->status != 200) {
        probe_report(probe, PROBE_STATUS, "status %u", head->status);
        return;
    }
    const struct fields *trailers = probe->stream->in.trailers;
    enum grpc_status status = grpc_status_of(trailers);
    if (status == GRPC_STATUS_ABSENT)
        status = grpc_status_of(&head->fields);
    enum grpc_health health;
    if (status != GRPC_STATUS_OK)
        judge_call(probe, status);
    else if (grpc_health_parse(slice_make(probe->window, probe->window_len), &health) < 0)
        probe_report(probe, PROBE_MALFORMED, "its answer is no HealthCheckResponse");
    else if (health == GRPC_HEALTH_SERVING)
        probe_report(probe, PROBE_PASSED, "%s", "");
    else
        probe_report(probe, PROBE_NOT_SERVING, "it says that it is %s", words[health]);
}
