/* A listener, a loop, and two workers' worth of TLS. */
#include "pair.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/sys.h"
#include "net/listen.h"

struct loop loop;
struct memory memory;
struct tls_worker *workers[2];
char reports[8192];
static int listener;
static struct address listening;

static void note(void *user, bool warning, const char *text)
{
    size_t len = strlen(reports);

    (void)snprintf(reports + len, sizeof(reports) - len, "%s: %s\n", warning ? "warning" : "error", text);
}

const struct tls_reporter reporter = { .report = note };

static void on_ready(struct io *io)
{
}

int pair_set_up(void **state)
{
    struct listen_options options = { .backlog = 16 };
    struct sockaddr_storage at;
    socklen_t len = sizeof(at);

    reports[0] = '\0';
    if (tls_start() < 0 || memory_init(&memory, NULL, 0) < 0 || loop_init(&loop, &memory) < 0)
        return -1;
    for (int i = 0; i < 2; i++)
        workers[i] = tls_worker_new();
    if (address_parse(SLICE("127.0.0.1:0"), &listening, NULL) < 0 || listen_open(&listening, &options, &listener) < 0)
        return -1;
    if (getsockname(listener, (struct sockaddr *)&at, &len) < 0)
        return -1;
    address_from_sockaddr((struct sockaddr *)&at, len, &listening);
    return workers[0] && workers[1] ? 0 : -1;
}

int pair_tear_down(void **state)
{
    uint32_t watched = loop.watched;

    close(listener);
    if (memory.held_bytes > 0 ||
        tls_worker_counters(workers[0])->contexts + tls_worker_counters(workers[1])->contexts >
            0) /* a test that has failed left it: its message is worth more than these checks */
        return -1;
    tls_worker_free(workers[0]);
    tls_worker_free(workers[1]);
    loop_done(&loop);
    memory_done(&memory);
    return watched == 1 ? 0 : -1;
}

struct tls_settings server_settings(const char *names)
{
    static struct tls_files files[8];
    static char paths[16][128];
    static const char *const alpn[] = { "h2", "http/1.1" };
    size_t count = 0;
    char name[64];

    for (; sscanf(names, " %63s", name) == 1; count++) {
        (void)snprintf(paths[2 * count], sizeof(paths[0]), "%s", certificate_path(name, ".pem"));
        (void)snprintf(paths[2 * count + 1], sizeof(paths[0]), "%s", certificate_path(name, ".key"));
        files[count] = (struct tls_files){ .certificate = paths[2 * count], .key = paths[2 * count + 1] };
        names += strspn(names, " ") + strlen(name);
    }
    return (struct tls_settings){
        .role = TLS_SERVER, .certificates = files, .certificate_count = count, .alpn = { alpn, 2 }
    };
}

struct tls_settings client_settings(void)
{
    static const char *const alpn[] = { "h2", "http/1.1" };

    return (struct tls_settings){ .role = TLS_CLIENT, .ca_file = certificate_path("ca", ".pem"), .alpn = { alpn, 2 } };
}

static struct tls_layer *layer_of(int worker, const struct tls_settings *settings, const char *name)
{
    struct tls_material *material;
    struct tls_context *context;
    struct tls_layer *layer;

    if (tls_material_load(settings, &reporter, &material) < 0)
        fail_msg("%s", reports);
    assert_int_equal(tls_context_new(workers[worker], material, &context), 0);
    assert_int_equal(tls_layer_new(context, slice_from(name), &layer), 0);
    tls_context_drop(context);
    tls_material_drop(material);
    return layer;
}

struct tls_layer *server_layer(int worker, const struct tls_settings *settings)
{
    return layer_of(worker, settings, "");
}

struct tls_layer *client_layer(int worker, const struct tls_settings *settings, const char *name)
{
    return layer_of(worker, settings, name);
}

static void advance(struct end *end)
{
    const char *failure;

    if (end->established != 1)
        return;
    end->established = transport_establish(&end->t);
    if (end->established < 0) {
        failure = tls_failure(&end->t, &end->reason);
        (void)snprintf(end->failure, sizeof(end->failure), "%s", failure);
        shutdown(end->t.io.fd, SHUT_WR); /* so that the other end comes to its own */
    }
}

static int accept_one(void)
{
    int fd = -1;

    for (int i = 0; i < 100 && fd < 0; i++)
        fd = sys->accept(listener, NULL, NULL);
    return fd;
}

bool try_connect(struct pair *pair, struct tls_layer *server, struct tls_layer *client)
{
    const struct dial dial = { .to = &listening, .layer = &client->layer };

    memset(pair, 0, sizeof(*pair));
    pair->server.t.io.fd = -1;
    pair->server.established = pair->client.established = 1;
    if (transport_connect(&pair->client.t, &loop, &dial, on_ready) < 0)
        return false;
    int fd = accept_one();
    if (fd < 0 || transport_accept(&pair->server.t, &loop, fd, on_ready) < 0 ||
        server->layer.begin(&server->layer, &pair->server.t) < 0)
        return false;
    for (int i = 0; i < 100 && (pair->server.established == 1 || pair->client.established == 1); i++) {
        advance(&pair->client);
        advance(&pair->server);
        if (pair->server.established == 1 || pair->client.established == 1)
            loop_turn(&loop, 50);
    }
    loop_turn(&loop, 0); /* what was held back goes */
    return true;
}

void pair_connect(struct pair *pair, struct tls_layer *server, struct tls_layer *client)
{
    assert_true(try_connect(pair, server, client));
    assert_int_not_equal(pair->server.established, 1);
    assert_int_not_equal(pair->client.established, 1);
}

static void close_end(struct transport *t)
{
    if (t->ops && t->io.fd >= 0)
        transport_close(t);
}

void close_tried(struct pair *pair)
{
    int waiting;

    close_end(&pair->client.t);
    close_end(&pair->server.t);
    loop_turn(&loop, 0);
    while ((waiting = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) /* what was not accepted */
        close(waiting);
}

void pair_close(struct pair *pair)
{
    close_tried(pair);
    assert_int_equal(memory.held_bytes, 0);
}

int raw_connect(struct transport *t, struct tls_layer *server)
{
    struct sockaddr_storage at;
    socklen_t len = address_to_sockaddr(&listening, &at);
    int peer = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(connect(peer, (struct sockaddr *)&at, len), 0);
    int fd = accept_one();
    assert_int_equal(transport_accept(t, &loop, fd, on_ready), 0);
    assert_int_equal(server->layer.begin(&server->layer, t), 0);
    return peer;
}

int establish_alone(struct transport *t)
{
    int rc;

    while ((rc = transport_establish(t)) == 1)
        loop_turn(&loop, 1000);
    return rc;
}

ssize_t try_receive(struct transport *t, void *buf, size_t len)
{
    ssize_t got = -EAGAIN;

    for (int i = 0; i < 20 && (got = transport_recv(t, buf, len)) == -EAGAIN; i++)
        loop_turn(&loop, 50);
    return got;
}

ssize_t receive(struct transport *t, void *buf, size_t len)
{
    ssize_t got;

    while ((got = transport_recv(t, buf, len)) == -EAGAIN)
        loop_turn(&loop, 1000);
    return got;
}

void pair_say(struct transport *from, struct transport *to, const char *text)
{
    struct iovec iov = { (char *)text, strlen(text) };
    char got[256];
    size_t len = 0;

    assert_int_equal(transport_sendv(from, &iov, 1, false), strlen(text));
    while (len < strlen(text)) {
        ssize_t part = receive(to, got + len, sizeof(got) - len);
        assert_true(part > 0);
        len += (size_t)part;
    }
    assert_memory_equal(got, text, len);
}

bool text_is(struct slice got, const char *expected)
{
    if (slice_eq(got, slice_from(expected)))
        return true;
    print_error("got `%.*s`, expected `%s`\n", SLICE_ARG(got), expected);
    return false;
}
