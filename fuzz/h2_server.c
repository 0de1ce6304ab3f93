/* What a client sends on an HTTP/2 connection, behind its preface: nothing is left of it, whatever it was. */
#include "h2_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_request(struct stream_host *host, struct stream *stream, enum err err)
{
    static const struct message answer = { .version = HTTP_2, .status = 200, .body_length = 0 };

    stream->events = &h2_fuzz_events;
    h2_fuzz_take(stream);
    if (stream_send_head(stream, &answer, true) < 0)
        stream_reset(stream, ERR_INTERNAL);
}

static void on_connection_end(struct stream_host *host)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct address nowhere = { 0 };
    struct stream_host host = {
        .limits = &h2_fuzz_limits,
        .local = &nowhere,
        .on_request = on_request,
        .on_connection_end = on_connection_end,
    };
    struct transport transport;

    list_init(&host.conns);
    h2_fuzz_begin(&transport);
    if (h2_adopt(&transport, SLICE(NGHTTP2_CLIENT_MAGIC), &nowhere, &host))
        h2_fuzz_send(data, size);
    if (!list_empty(&host.conns))
        http_close(http_conn_of(host.conns.next));
    h2_fuzz_end();
    return 0;
}
