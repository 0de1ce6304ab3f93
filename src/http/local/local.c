/*
 * Two ends of one stream in one worker: what one sends goes to the other's `in` by pointer, heads and trailers are
 * copied to the other's arena.  Events of an end are bits; its task raises them in the run phase, in the order a
 * connection would: request, interim, head, body, room, sent, reset.
 *
 * The ends have arenas of their own and may be released in any order, so each forgets the other at once.  The server
 * end comes to be with the request's head; until its task has run, the client end owns it.
 */
#include "http/local.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "net/address.h"

enum local_event {
    LOCAL_REQUEST = 1,
    LOCAL_WRITTEN = 2,
    LOCAL_INTERIM = 4,
    LOCAL_HEAD = 8,
    LOCAL_BODY = 16,
    LOCAL_ROOM = 32,
    LOCAL_SENT = 64,
    LOCAL_RESET = 128,
};

enum { LOCAL_MAGIC = 0x6c6f6361 };

struct interim {
    struct interim *next;
    struct message *message;
};

struct local_stream {
    struct stream base; /* first */
    uint32_t magic;
    struct loop *loop;
    struct stream_host *host;
    struct local_stream *other; /* NULL when it is gone, or not there yet */
    struct task task;
    struct interim *interims, **interims_end;
    int64_t owed;   /* body bytes declared and not yet sent, or BODY_UNKNOWN */
    uint8_t events; /* enum local_event, not told yet */
    bool is_client;
    bool want_room;
    bool no_body;  /* what is sent as a body is dropped: HEAD, 204 ... */
    bool discards; /* reads no more */
    bool asks_tunnel;
};

static const struct stream_ops client_ops, server_ops;
static const struct address nowhere = { .family = AF_UNSPEC };

static void on_task(struct task *task);

static struct local_stream *from_stream(struct stream *stream)
{
    struct local_stream *end = (struct local_stream *)stream;

    MAGIC_CHECK(end, LOCAL_MAGIC);
    return end;
}

static struct local_stream *new_end(struct loop *loop, struct arena *arena, struct stream_host *host)
{
    struct local_stream *end = arena_zalloc(arena, sizeof(*end));

    if (end == NULL)
        return NULL;
    end->magic = LOCAL_MAGIC;
    end->loop = loop;
    end->host = host;
    end->interims_end = &end->interims;
    end->base.arena = arena;
    end->base.peer = end->base.local = &nowhere;
    pipe_init(&end->base.in, loop->memory, PIPE_ROOM_DEFAULT);
    task_init(&end->task, on_task);
    return end;
}

int local_open(struct loop *loop, struct arena *client_arena, const struct stream_events *events, void *user,
               struct stream_host *host, struct stream **ret_client)
{
    struct local_stream *client = new_end(loop, client_arena, host);

    if (client == NULL)
        return -ERR_MEMORY;
    client->is_client = true;
    client->base.ops = &client_ops;
    client->base.events = events;
    client->base.user = user;
    client->base.unsent = true;
    *ret_client = &client->base;
    return 0;
}

/* ---- events ---- */

static void tell(struct local_stream *end, enum local_event event)
{
    end->events |= (uint8_t)event;
    loop_defer(end->loop, &end->task, PHASE_RUN);
}

static bool take_event(struct local_stream *end, enum local_event event)
{
    bool due = (end->events & event) != 0;

    end->events &= (uint8_t)~event;
    return due;
}

static void begin_server(struct local_stream *server)
{
    server->host->on_request(server->host, &server->base, ERR_NONE);
    if (server->other) {
        server->other->base.unsent = false;
        tell(server->other, LOCAL_WRITTEN);
    }
}

static void tell_interims(struct local_stream *end)
{
    struct interim *interim = end->interims;

    end->interims = NULL;
    end->interims_end = &end->interims;
    for (; interim; interim = interim->next) {
        if (end->base.events->on_interim)
            end->base.events->on_interim(&end->base, interim->message);
    }
}

static void on_task(struct task *task)
{
    struct local_stream *end = container_of(task, struct local_stream, task);
    const struct stream_events *events;

    MAGIC_CHECK(end, LOCAL_MAGIC);
    if (take_event(end, LOCAL_REQUEST))
        begin_server(end);
    events = end->base.events;
    if (take_event(end, LOCAL_WRITTEN) && events->on_written)
        events->on_written(&end->base);
    if (take_event(end, LOCAL_INTERIM))
        tell_interims(end);
    if (take_event(end, LOCAL_HEAD))
        events->on_head(&end->base);
    if (take_event(end, LOCAL_BODY))
        events->on_body(&end->base);
    if (take_event(end, LOCAL_ROOM))
        events->on_room(&end->base);
    if (take_event(end, LOCAL_SENT))
        events->on_sent(&end->base);
    if (take_event(end, LOCAL_RESET))
        events->on_reset(&end->base);
}

/* ---- the end of an end ---- */

/* The other end learns that this one is gone before both halves were complete. */
static void lose(struct local_stream *end, enum err err)
{
    end->other = NULL;
    end->base.err = (uint8_t)err;
    end->base.sent_cut = true;
    if (!end->is_client || end->base.head)
        pipe_cut(&end->base.in, err);
    tell(end, LOCAL_RESET);
}

/* A server end that was never handed out goes with the client's. */
static void drop_unborn(struct local_stream *server)
{
    task_cancel(&server->task);
    pipe_done(&server->base.in);
    arena_free(server->base.arena);
}

static void leave(struct local_stream *end)
{
    struct local_stream *other = end->other;

    task_cancel(&end->task);
    end->events = 0;
    end->other = NULL;
    pipe_done(&end->base.in);
    if (other == NULL)
        return;
    if (other->events & LOCAL_REQUEST) {
        drop_unborn(other);
        return;
    }
    bool sent_all = end->base.end_sent, got_all = other->base.end_sent;
    if (end->is_client ? sent_all && got_all : sent_all)
        other->other = NULL; /* a server may answer before the request's end */
    else
        lose(other, end->is_client ? ERR_CLIENT_CLOSED : ERR_UPSTREAM_RESET);
}

static void local_reset(struct stream *stream, enum err err)
{
    struct local_stream *end = from_stream(stream);

    stream->err = (uint8_t)err;
    stream->end_sent = false; /* whatever was sent, the other end shall not wait for more */
    leave(end);
}

static void local_release(struct stream *stream)
{
    leave(from_stream(stream));
}

/* ---- sending ---- */

static int send_request(struct stream *stream, const struct message *head, bool end)
{
    struct local_stream *client = from_stream(stream);

    ENSURE(!stream->head_sent);
    if (stream->sent_cut)
        return -ERR_UPSTREAM_RESET;
    struct arena *arena = arena_new(client->loop->memory, ARENA_LIMIT_DEFAULT);
    struct local_stream *server = arena ? new_end(client->loop, arena, client->host) : NULL;
    struct message *copy = server ? message_copy(arena, head) : NULL;
    if (copy == NULL) {
        arena_free(arena);
        return -ERR_MEMORY;
    }
    if (copy->version < HTTP_1_1)
        copy->version = HTTP_1_1;
    server->base.ops = &server_ops;
    server->base.head = copy;
    server->other = client;
    client->other = server;
    client->owed = head->body_length >= 0 ? head->body_length : BODY_UNKNOWN;
    client->asks_tunnel = head->method == METHOD_CONNECT || head->upgrade.len > 0;
    stream->head_sent = true;
    stream->end_sent = end;
    if (end)
        pipe_finish(&server->base.in, NULL);
    tell(server, LOCAL_REQUEST);
    return 0;
}

static void become_tunnel(struct local_stream *end)
{
    end->base.tunnel = true;
    end->base.end_sent = false;
    end->base.in.end = PIPE_OPEN;
    end->no_body = false;
    end->owed = BODY_UNKNOWN;
}

static int send_response(struct stream *stream, const struct message *head, bool end)
{
    struct local_stream *server = from_stream(stream), *client = server->other;
    enum method method = stream->head->method;
    bool tunnel = head->status == 101 || (method == METHOD_CONNECT && head->status >= 200 && head->status < 300);

    ENSURE(!stream->head_sent);
    if (client == NULL || stream->sent_cut)
        return -ERR_CLIENT_CLOSED;
    if (tunnel && !(client->asks_tunnel && client->base.end_sent))
        return -ERR_INTERNAL;
    struct message *copy = message_copy(client->base.arena, head);
    if (copy == NULL)
        return -ERR_MEMORY;
    client->base.head = copy;
    stream->head_sent = true;
    server->owed = head->body_length >= 0 ? head->body_length : BODY_UNKNOWN;
    server->no_body = !status_has_body(head->status, method);
    if (tunnel) {
        become_tunnel(server);
        become_tunnel(client);
    } else if (end) {
        stream->end_sent = true;
        pipe_finish(&client->base.in, NULL);
        tell(server, LOCAL_SENT);
    }
    tell(client, LOCAL_HEAD);
    return 0;
}

static int send_interim(struct stream *stream, const struct message *head)
{
    struct local_stream *server = from_stream(stream), *client = server->other;

    if (server->is_client)
        return -ERR_INTERNAL;
    if (client == NULL)
        return -ERR_CLIENT_CLOSED;
    struct interim *interim = arena_zalloc(client->base.arena, sizeof(*interim));
    if (interim == NULL)
        return -ERR_MEMORY;
    interim->message = message_copy(client->base.arena, head);
    if (interim->message == NULL)
        return -ERR_MEMORY;
    *client->interims_end = interim;
    client->interims_end = &interim->next;
    tell(client, LOCAL_INTERIM);
    return 0;
}

static struct fields *copy_trailers(struct local_stream *to, const struct fields *trailers)
{
    struct fields *copy = trailers ? arena_zalloc(to->base.arena, sizeof(*copy)) : NULL;

    return copy && message_copy_fields(to->base.arena, trailers, copy) == 0 ? copy : NULL;
}

/* This end's message stops short. */
static void cut(struct local_stream *end, enum err err)
{
    struct local_stream *to = end->other;

    end->base.sent_cut = true;
    if (end->is_client) {
        pipe_cut(&to->base.in, err);
        tell(to, LOCAL_BODY);
    } else {
        end->other = NULL;
        lose(to, ERR_UPSTREAM_CUT);
        tell(end, LOCAL_SENT);
    }
}

/* The pipe is empty and has ended: so does the message. */
static void end_message(struct local_stream *end, const struct pipe *pipe)
{
    struct local_stream *to = end->other;
    struct fields *trailers = copy_trailers(to, pipe->trailers);

    if (pipe->end == PIPE_CUT) {
        cut(end, pipe->err);
    } else if (end->owed > 0 && !end->no_body) {
        cut(end, ERR_INTERNAL); /* less than was declared */
    } else if (pipe->trailers && trailers == NULL) {
        cut(end, ERR_MEMORY);
    } else {
        end->base.end_sent = true;
        if (to->base.in.end == PIPE_OPEN)
            pipe_finish(&to->base.in, trailers);
        tell(to, LOCAL_BODY);
        if (!end->is_client)
            tell(end, LOCAL_SENT);
    }
}

/* Nobody takes it. */
static enum sent swallow(struct local_stream *end, struct pipe *pipe)
{
    pipe_done(pipe);
    if (pipe->end == PIPE_OPEN)
        return EMPTY;
    if (end->other && !end->base.end_sent && !end->base.sent_cut)
        end_message(end, pipe);
    return SENT;
}

static enum sent local_send_body(struct stream *stream, struct pipe *pipe)
{
    struct local_stream *end = from_stream(stream), *to = end->other;

    ENSURE(stream->head_sent && pipe->kernel_bytes == 0);
    if (to == NULL || stream->sent_cut || stream->end_sent || end->no_body || to->discards)
        return swallow(end, pipe);
    if (end->owed != BODY_UNKNOWN && pipe->bytes > (uint64_t)end->owed) {
        cut(end, ERR_INTERNAL); /* more than was declared */
        return swallow(end, pipe);
    }
    size_t moved = pipe_move(pipe, &to->base.in, pipe_room(&to->base.in));
    stream->bytes_out += moved;
    to->base.bytes_in += moved;
    if (end->owed != BODY_UNKNOWN)
        end->owed -= (int64_t)moved;
    if (moved > 0)
        tell(to, LOCAL_BODY);
    if (pipe->bytes > 0) {
        end->want_room = true;
        if (pipe_room(&to->base.in) > 0)
            tell(end, LOCAL_ROOM); /* memory is short: tried again later */
        return BLOCKED;
    }
    if (pipe->end == PIPE_OPEN)
        return EMPTY;
    end_message(end, pipe);
    return SENT;
}

/* ---- reading ---- */

static void give_room(struct local_stream *end)
{
    struct local_stream *from = end->other;

    if (from && from->want_room) {
        from->want_room = false;
        tell(from, LOCAL_ROOM);
    }
}

static void local_read_more(struct stream *stream)
{
    struct local_stream *end = from_stream(stream);

    if (pipe_room(&stream->in) > 0)
        give_room(end);
}

static void local_stop_reading(struct stream *stream)
{
    struct local_stream *end = from_stream(stream);

    end->discards = true;
    give_room(end);
}

static const struct stream_ops client_ops = {
    .send_head = send_request,
    .send_interim = send_interim,
    .send_body = local_send_body,
    .read_more = local_read_more,
    .reset = local_reset,
    .release = local_release,
    .stop_reading = local_stop_reading,
};

static const struct stream_ops server_ops = {
    .send_head = send_response,
    .send_interim = send_interim,
    .send_body = local_send_body,
    .read_more = local_read_more,
    .reset = local_reset,
    .release = local_release,
    .stop_reading = local_stop_reading,
};
