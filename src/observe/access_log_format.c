/*
 * A record as one line of the access log: JSON, or Apache's combined format.  docs/access-log.md describes the fields.
 *
 * Everything in a record that a peer can choose goes through an escape of line.h, so no value can end its field or its
 * line.  When a line does not fit with all its text, it is made once more with each text cut short, and says so; a
 * request too long to be logged whole is logged all the same.
 */
#include "base/clock.h"
#include "base/err.h"
#include "net/address.h"
#include "net/facts.h"
#include "observe/access_log.h"
#include "observe/line.h"

/* In the second try: 18 texts of that many bytes, each byte as \u00xx, and the rest, are below access_log.c's LINE_MAX.
 */
enum { CUT_TEXT_MAX = 512 };
enum { GRPC_STATUS_LAST = 16 }; /* of those that the protocol knows */

static void format_json(struct line *line, const struct record *record);
static void format_combined(struct line *line, const struct record *record);

static size_t format_once(enum access_log_format format, const struct record *record, struct line *line)
{
    const char *begin = line->at;
    if (format == ACCESS_LOG_COMBINED)
        format_combined(line, record);
    else
        format_json(line, record);
    return line->full ? 0 : (size_t)(line->at - begin);
}

size_t access_log_format(enum access_log_format format, const struct record *record, char *buf, size_t size)
{
    struct line line;
    line_init(&line, buf, size, SIZE_MAX);
    size_t len = format_once(format, record, &line);
    if (len > 0)
        return len;
    line_init(&line, buf, size, CUT_TEXT_MAX);
    return format_once(format, record, &line);
}

/* What the client was sent; a client that went away before an answer is 499 in logs, as elsewhere in the field; else 0.
 */
static unsigned status_of(const struct record *record)
{
    if (record->status != 0)
        return record->status;
    unsigned status = err_info(record->err)->status;
    return status == 499 ? status : 0;
}

/* The trusted hops' word for the client, or the peer itself; the length, 0 when there is neither. */
static struct slice client_of(const struct record *record, char buf[ADDRESS_TEXT_MAX])
{
    if (record->client.len > 0 || record->peer == NULL)
        return record->client;
    return slice_make(buf, address_format(record->peer, false, buf));
}

/* ---- JSON ---- */

/* `,"name":` with its comma is one literal, so that a member costs one copy. */
#define member(line, name) line_literal(line, ",\"" name "\":")

#define member_text(line, name, text)                                                                                  \
    do {                                                                                                               \
        line_literal(line, ",\"" name "\":\"");                                                                        \
        line_text(line, LINE_JSON, text);                                                                              \
        line_char(line, '"');                                                                                          \
    } while (0)

#define member_text_if(line, name, text)                                                                               \
    do {                                                                                                               \
        if ((text).len > 0)                                                                                            \
            member_text(line, name, text);                                                                             \
    } while (0)

#define member_u64(line, name, value)                                                                                  \
    do {                                                                                                               \
        member(line, name);                                                                                            \
        line_u64(line, value);                                                                                         \
    } while (0)

/* Left out when one of the two moments did not come. */
#define member_ms(line, name, from_ns, to_ns)                                                                          \
    do {                                                                                                               \
        if ((from_ns) != 0 && (to_ns) >= (from_ns)) {                                                                  \
            member(line, name);                                                                                        \
            line_ms(line, (to_ns) - (from_ns));                                                                        \
        }                                                                                                              \
    } while (0)

/* "1.1", "1.0", "2", "3" */
static void json_version(struct line *line, unsigned version)
{
    if (version == 0)
        return;
    line_literal(line, ",\"version\":\"");
    line_u64(line, version / 10);
    if (version < 20) {
        line_char(line, '.');
        line_u64(line, version % 10);
    }
    line_char(line, '"');
}

static void json_request(struct line *line, const struct record *record)
{
    char text[ADDRESS_TEXT_MAX];
    member_text(line, "client", client_of(record, text));
    if (record->peer)
        member_text(line, "peer", slice_make(text, address_format(record->peer, true, text)));
    json_version(line, record->version);
    member_text(line, "method", record->method);
    member_text_if(line, "scheme", record->scheme);
    member_text(line, "host", record->authority);
    member_text(line, "path", record->path);
    member_text_if(line, "query", record->query);
    member_text_if(line, "user_agent", record->user_agent);
    member_text_if(line, "referer", record->referer);
    member_text_if(line, "consumer", record->consumer);
    member_text_if(line, "access", record->access);
    member_text_if(line, "request_id", record->request_id);
    member_text_if(line, "trace_id", record->trace_id);
}

static void json_tls(struct line *line, const struct conn_facts *facts)
{
    if (!facts || !facts->secure)
        return;
    member_text(line, "tls", facts->version);
    member_text(line, "tls_cipher", facts->cipher);
    member_text_if(line, "sni", facts->sni);
    if (facts->resumed)
        line_literal(line, ",\"tls_resumed\":true");
    if (facts->proof == PROOF_VERIFIED)
        member_text(line, "client_subject", facts->subject);
}

static void json_upstream(struct line *line, const struct record *record)
{
    struct slice upstream = slice_from(record->upstream);
    struct slice target = slice_from(record->target);
    if (upstream.len == 0 && record->tries == 0)
        return;
    member_text(line, "upstream", upstream);
    member_text_if(line, "target", target);
    member_u64(line, "tries", record->tries);
    if (record->retries > 0)
        member_u64(line, "retries", record->retries);
    if (record->hedges > 0)
        member_u64(line, "hedged", record->hedges);
    if (record->hedge_won)
        line_literal(line, ",\"hedge_won\":true");
    if (record->up_status != 0)
        member_u64(line, "up_status", record->up_status);
    if (record->tries > 0) {
        member(line, "reused");
        record->reused_up ? line_literal(line, "true") : line_literal(line, "false");
    }
}

static void json_times(struct line *line, const struct record *record)
{
    member_ms(line, "duration_ms", record->start_ns, record->end_ns);
    member_ms(line, "request_ms", record->start_ns, record->request_end_ns);
    if (record->queue_ns > 0) {
        member(line, "queue_ms");
        line_ms(line, record->queue_ns);
    }
    member_ms(line, "before_try_ms", record->start_ns, record->try_start_ns);
    member_ms(line, "up_head_ms", record->try_start_ns, record->up_head_ns);
    member_ms(line, "down_head_ms", record->start_ns, record->down_head_ns);
}

static void json_end(struct line *line, const struct record *record)
{
    if (record->err != ERR_NONE) {
        const struct err_info *info = err_info(record->err);
        line_literal(line, ",\"error\":{\"side\":\"");
        line_text(line, LINE_JSON, slice_from(err_side_word(info->side)));
        line_literal(line, "\",\"word\":\"");
        line_text(line, LINE_JSON, slice_from(info->word));
        line_literal(line, "\"}");
    }
    if (!record->complete)
        line_literal(line, ",\"complete\":false");
    if (record->tunnel)
        line_literal(line, ",\"tunnel\":true");
    if (record->tunnel_end)
        member_text(line, "tunnel_end", slice_from(record->tunnel_end));
    if (line->cut)
        line_literal(line, ",\"cut\":true");
    line_literal(line, "}\n");
}

static void format_json(struct line *line, const struct record *record)
{
    char time[RFC3339_LEN];
    clock_rfc3339(record->wall_start_ns, time);
    line_literal(line, "{\"time\":\"");
    line_put(line, time, sizeof(time));
    line_char(line, '"');
    json_request(line, record);
    json_tls(line, record->facts);
    member_u64(line, "status", status_of(record));
    if (record->grpc && record->grpc_status <= GRPC_STATUS_LAST)
        member_u64(line, "grpc_status", record->grpc_status);
    member_u64(line, "bytes_in", record->bytes_in);
    member_u64(line, "bytes_out", record->bytes_out);
    member_text(line, "route", slice_from(record->route));
    json_upstream(line, record);
    json_times(line, record);
    json_end(line, record);
}

/* ---- combined: host - user [time] "request" status bytes "referer" "user agent" ---- */

static void text_or_dash(struct line *line, enum line_style style, struct slice text)
{
    if (text.len > 0)
        line_text(line, style, text);
    else
        line_char(line, '-');
}

static void combined_request(struct line *line, const struct record *record)
{
    if (record->method.len == 0) {
        line_char(line, '-');
        return;
    }
    line_text(line, LINE_BARE, record->method);
    line_char(line, ' ');
    /* CONNECT has no path: its target is the authority */
    text_or_dash(line, LINE_BARE, record->path.len > 0 ? record->path : record->authority);
    if (record->query.len > 0) {
        line_char(line, '?');
        line_text(line, LINE_BARE, record->query);
    }
    if (record->version != 0) {
        line_literal(line, " HTTP/");
        line_u64(line, record->version / 10);
        line_char(line, '.');
        line_u64(line, record->version % 10);
    }
}

static void format_combined(struct line *line, const struct record *record)
{
    char text[ADDRESS_TEXT_MAX], time[CLF_DATE_LEN];
    text_or_dash(line, LINE_BARE, client_of(record, text));
    line_literal(line, " - ");
    text_or_dash(line, LINE_BARE, record->consumer);
    clock_clf(record->wall_start_ns, time);
    line_literal(line, " [");
    line_put(line, time, sizeof(time));
    line_literal(line, "] \"");
    combined_request(line, record);
    line_literal(line, "\" ");
    unsigned status = status_of(record);
    status ? line_u64(line, status) : line_char(line, '-');
    line_char(line, ' ');
    record->bytes_out ? line_u64(line, record->bytes_out) : line_char(line, '-');
    line_literal(line, " \"");
    text_or_dash(line, LINE_QUOTED, record->referer);
    line_literal(line, "\" \"");
    text_or_dash(line, LINE_QUOTED, record->user_agent);
    line_literal(line, "\"\n");
}
