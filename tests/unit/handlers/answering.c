/* See answering.h. */
#include "answering.h"

#include "base/assert.h"
#include "handlers/registry.h"
#include "http/local.h"

static void never_free(struct plan *plan)
{
    fail_msg("the plan is the test's");
}

static const struct conf_node *find_handler(const struct conf_node *route, const struct conf_variant **ret_variant)
{
    for (const struct conf_node *node = route->first; node; node = node->next)
        for (const struct conf_variant *v = handler_registry.variants; v->name; v++)
            if (slice_eq(node->key->text, slice_from(v->name))) {
                *ret_variant = v;
                return node;
            }
    fail_msg("the route has no handler");
    return NULL;
}

static void on_request(struct stream_host *host, struct stream *stream, enum err err)
{
    struct answering *a = container_of(host, struct answering, host);
    struct exchange *x;
    assert_int_equal(err, ERR_NONE);
    assert_int_equal(exchange_begin(&a->worker, stream, &a->plan, err, &x), 0);
    x->captures = a->captures;
    x->capture_count = (uint8_t)a->capture_count;
}

static void on_connection_end(struct stream_host *host)
{
}

void answering_load(struct answering *a, const char *yaml)
{
    const struct conf_variant *variant = NULL;
    memset(a, 0, sizeof(*a));
    a->conf = conf_new(NULL);
    const struct conf_node *route = conf_parse_text(a->conf, "test.yaml", slice_from(yaml));
    assert_non_null(route);
    const struct conf_node *node = find_handler(route, &variant);
    void *settings = arena_zalloc(conf_arena(a->conf), variant->structure->size);
    a->type = variant->type;
    if (conf_load(a->conf, node, variant->structure, settings) < 0 ||
        a->type->load(a->conf, node, settings, &a->plan.handler_data) < 0) {
        a->type = NULL;
        assert_true(conf_error_count(a->conf) > 0);
        return;
    }
    a->plan.handler = a->type;
    a->plan.route = "test";
    a->plan.free = never_free;
    a->plan.locals = &a->local;
    a->plan.workers = 1;
    atomic_init(&a->plan.refs, 1);
    a->host.on_request = on_request;
    a->host.on_connection_end = on_connection_end;
    assert_int_equal(worker_init(&a->worker, 0, NULL, 0), 0);
    assert_int_equal(plan_attach(&a->plan, &a->worker), 0);
}

static void let_go(struct answering *a)
{
    if (a->client && !a->reset)
        a->client->ops->release(a->client);
    a->client = NULL;
    loop_turn(&a->worker.loop, 0);
    arena_free(a->arena);
    a->arena = NULL;
}

void answering_done(struct answering *a)
{
    if (a->type) {
        let_go(a);
        assert_int_equal(a->worker.exchange_count, 0);
        plan_retire(&a->plan, &a->worker);
        a->type->unload(a->plan.handler_data);
        worker_done(&a->worker);
    }
    conf_free(a->conf);
}

static void on_head(struct stream *stream)
{
    ((struct answering *)stream->user)->response = stream->head;
}

static void on_reset(struct stream *stream)
{
    struct answering *a = stream->user;
    a->reset = true;
    stream->ops->release(stream);
}

static void on_nothing(struct stream *stream)
{
}

static const struct stream_events events = {
    .on_head = on_head,
    .on_body = on_nothing,
    .on_room = on_nothing,
    .on_reset = on_reset,
};

static void read_body(struct answering *a)
{
    struct pipe *in = &a->client->in;
    struct iovec iov[16];
    char *text = arena_alloc(a->arena, in->bytes + 1);
    size_t len = 0;
    int count = pipe_peek(in, iov, ARRAY_LEN(iov), in->bytes);
    for (int i = 0; i < count; i++) {
        memcpy(text + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    assert_int_equal(len, in->bytes);
    a->body = slice_make(text, len);
    pipe_consume(in, len);
}

void answering_ask(struct answering *a, const char *line)
{
    struct slice rest = slice_from(line);
    struct message *m = &a->request;
    if (a->arena)
        let_go(a);
    a->response = NULL;
    a->reset = false;
    a->arena = arena_new(&a->worker.memory, SIZE_MAX);
    m->version = HTTP_1_1;
    m->method_name = slice_cut(&rest, ' ');
    m->method = (uint8_t)method_from(m->method_name);
    m->scheme = SLICE("http");
    if (!m->authority.at)
        m->authority = SLICE("gateway.example:8080");
    m->has_query = slice_find(rest, '?') >= 0;
    m->path = slice_cut(&rest, '?');
    m->query = rest;
    m->body_length = BODY_NONE;
    assert_int_equal(local_open(&a->worker.loop, a->arena, &events, a, &a->host, &a->client), 0);
    assert_int_equal(stream_send_head(a->client, m, true), 0);
    for (int turn = 0; turn < 20 && !a->reset && !(a->response && a->client->in.end != PIPE_OPEN); turn++)
        loop_turn(&a->worker.loop, 0);
    assert_non_null(a->response);
    assert_int_equal(a->client->in.end, PIPE_ENDED);
    read_body(a);
}

struct slice answering_field(const struct answering *a, const char *name)
{
    const struct field *field = fields_find_name(&a->response->fields, slice_from(name));
    return field ? field->value : SLICE("(none)");
}

bool answering_told(const struct answering *a, const char *text)
{
    for (const struct conf_diagnostic *d = conf_diagnostics(a->conf); d; d = d->next)
        if (strstr(d->message, text))
            return true;
    return false;
}
