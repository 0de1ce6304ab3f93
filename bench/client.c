/*
 * The client side of HTTP/1.1, as far as a load generator needs it; client.h draws the states.
 * HTTP/2 is in session.c. A small request on a kept connection costs one send and one recv. Nothing is retried here:
 * whatever is not a complete 2xx answer of the expected length is reported by its name.
 */
#include "client.h"

#include "response.h"
#include "session.h"

#include <assert.h>
#include <err.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Upload bytes that one call offers to the socket; also the size of what is sent. */
enum { UPLOAD_CHUNK = 256 * 1024 };

static char upload_pattern[UPLOAD_CHUNK];

void client_init(struct client *client, const struct client_setup *setup)
{
    memset(client, 0, offsetof(struct client, in));
    client->setup = setup;
    client->wire.fd = -1;
    client->state = CLIENT_CLOSED;
}

void client_close(struct client *client)
{
    wire_close(&client->wire);
    client->state = CLIENT_CLOSED;
}

static enum client_event client_fail(struct client *client, enum failure failure, enum failure *ret_failure)
{
    client_close(client);
    *ret_failure = failure;
    return CLIENT_FAILED;
}

static void client_watch(struct client *client, bool writing)
{
    if (client->write_watched == writing)
        return;
    client->write_watched = writing;
    struct epoll_event event = { .events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = client };
    if (epoll_ctl(client->setup->epoll_fd, EPOLL_CTL_MOD, client->wire.fd, &event) != 0)
        err(1, "epoll_ctl");
}

/* Returns 0, or -1 when there can be no connection. */
static int client_connect(struct client *client)
{
    bool pending;
    if (wire_connect(&client->wire, &client->setup->address, client->setup->tls, &pending) != 0)
        return -1;
    client->write_watched = pending;
    struct epoll_event event = { .events = EPOLLIN | (pending ? EPOLLOUT : 0), .data.ptr = client };
    if (epoll_ctl(client->setup->epoll_fd, EPOLL_CTL_ADD, client->wire.fd, &event) != 0)
        err(1, "epoll_ctl");
    return 0;
}

/* Offers the socket what is left of head and body; in clear both at once. */
static ssize_t request_offer(struct client *client)
{
    const struct request *request = client->request;
    size_t upload = client->upload_left < UPLOAD_CHUNK ? (size_t)client->upload_left : UPLOAD_CHUNK;
    char *head = request->bytes + request->length - client->request_left;
    if (client->wire.ssl != NULL)
        return client->request_left > 0 ? wire_send(&client->wire, head, client->request_left)
                                        : wire_send(&client->wire, upload_pattern, upload);
    struct iovec parts[2] = { { head, client->request_left }, { upload_pattern, upload } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = upload > 0 ? 2 : 1 };
    return sendmsg(client->wire.fd, &message, MSG_NOSIGNAL);
}

/* Sends what is left of the request; waits for room when the socket is full. */
static enum client_event client_send(struct client *client, enum failure *ret_failure)
{
    while (client->request_left + client->upload_left > 0) {
        ssize_t sent = request_offer(client);
        if (sent < 0 && errno == EAGAIN) {
            client_watch(client, true);
            return CLIENT_PENDING;
        }
        if (sent <= 0)
            return client_fail(client, FAILURE_RESET, ret_failure);
        size_t head = (size_t)sent < client->request_left ? (size_t)sent : client->request_left;
        client->request_left -= head;
        client->upload_left -= (size_t)sent - head;
    }
    client_watch(client, false);
    client->state = CLIENT_HEAD;
    return CLIENT_PENDING;
}

static enum client_event client_handshake(struct client *client, enum failure *ret_failure)
{
    enum handshake handshake = wire_handshake(&client->wire, client->setup->tls);
    switch (handshake) {
    case HANDSHAKE_READ:
    case HANDSHAKE_WRITE:
        client_watch(client, handshake == HANDSHAKE_WRITE);
        return CLIENT_PENDING;
    case HANDSHAKE_DONE:
        client->state = CLIENT_SENDING;
        return client_send(client, ret_failure);
    case HANDSHAKE_NOT_RESUMED:
        return client_fail(client, FAILURE_NOT_RESUMED, ret_failure);
    case HANDSHAKE_FAILED:
        break;
    }
    return client_fail(client, FAILURE_TLS, ret_failure);
}

enum client_event client_start(struct client *client, const struct request *request, uint64_t started_ns,
                               enum failure *ret_failure)
{
    assert(client->state == CLIENT_CLOSED || client->state == CLIENT_IDLE);
    client->request = request;
    client->started_ns = started_ns;
    if (client->session != NULL)
        return session_start(client->session, client, ret_failure);
    client->request_left = request->length;
    client->upload_left = client->setup->upload_bytes;
    client->in_len = 0;
    bool fresh = client->wire.fd < 0;
    if (fresh && client_connect(client) != 0)
        return client_fail(client, FAILURE_CONNECT, ret_failure);
    client->state = fresh && client->setup->tls != NULL ? CLIENT_HANDSHAKE : CLIENT_SENDING;
    if (client->write_watched)
        return CLIENT_PENDING;
    return client->state == CLIENT_HANDSHAKE ? client_handshake(client, ret_failure) : client_send(client, ret_failure);
}

static enum client_event client_answered(struct client *client)
{
    if (client->setup->close)
        client->state = CLIENT_CLOSING;
    else if (client->last)
        client_close(client);
    else
        client->state = CLIENT_IDLE;
    return CLIENT_ANSWERED;
}

static enum failure response_check(const struct client *client, const struct response *response)
{
    if (response->status < 200 || response->status > 299)
        return FAILURE_STATUS;
    if (!response->has_length)
        return FAILURE_WRONG_LENGTH;
    if (client->setup->expect_bytes != UINT64_MAX && response->length != client->setup->expect_bytes)
        return FAILURE_WRONG_LENGTH;
    return FAILURE_NONE;
}

static enum client_event head_read(struct client *client, enum failure *ret_failure)
{
    ssize_t got = wire_recv(&client->wire, client->in + client->in_len, CLIENT_HEAD_MAX - client->in_len);
    if (got < 0 && errno == EAGAIN)
        return CLIENT_PENDING;
    if (got <= 0)
        return client_fail(client, FAILURE_RESET, ret_failure);
    client->in_len += (size_t)got;
    struct response response;
    if (response_parse(client->in, client->in_len, &response) != 0)
        return client_fail(client, FAILURE_BAD_HEAD, ret_failure);
    if (response.head_len == 0) {
        if (client->in_len == CLIENT_HEAD_MAX)
            return client_fail(client, FAILURE_BAD_HEAD, ret_failure);
        return CLIENT_PENDING;
    }
    enum failure failure = response_check(client, &response);
    if (failure != FAILURE_NONE)
        return client_fail(client, failure, ret_failure);
    size_t body = client->in_len - response.head_len;
    if (body > response.length)
        return client_fail(client, FAILURE_LONG_BODY, ret_failure);
    client->last = response.last;
    client->body_bytes = response.length;
    client->body_left = response.length - body;
    if (client->body_left == 0)
        return client_answered(client);
    client->state = CLIENT_BODY;
    return CLIENT_PENDING;
}

static enum client_event body_read(struct client *client, enum failure *ret_failure)
{
    ssize_t got = wire_discard(&client->wire, (size_t)client->body_left);
    if (got < 0 && errno == EAGAIN)
        return CLIENT_PENDING;
    if (got <= 0)
        return client_fail(client, FAILURE_SHORT_BODY, ret_failure);
    client->body_left -= (uint64_t)got;
    return client->body_left == 0 ? client_answered(client) : CLIENT_PENDING;
}

/* An event on a connection that expects nothing but its end. */
static enum client_event end_read(struct client *client, enum failure *ret_failure)
{
    char byte;
    ssize_t got = wire_recv(&client->wire, &byte, 1);
    if (got > 0)
        return client_fail(client, FAILURE_LONG_BODY, ret_failure);
    if (got < 0 && errno == EAGAIN)
        return CLIENT_PENDING;
    client_close(client);
    return CLIENT_ENDED;
}

static enum client_event sending_event(struct client *client, uint32_t events, enum failure *ret_failure)
{
    if (events & (EPOLLERR | EPOLLHUP)) {
        bool refused = client->request_left == client->request->length;
        return client_fail(client, refused ? FAILURE_CONNECT : FAILURE_RESET, ret_failure);
    }
    if (events & EPOLLIN)
        return client_fail(client, FAILURE_EARLY, ret_failure);
    return client_send(client, ret_failure);
}

static enum client_event handshake_event(struct client *client, uint32_t events, enum failure *ret_failure)
{
    if ((events & (EPOLLERR | EPOLLHUP)) && client->write_watched)
        return client_fail(client, FAILURE_CONNECT, ret_failure);
    return client_handshake(client, ret_failure);
}

static enum client_event state_event(struct client *client, uint32_t events, enum failure *ret_failure)
{
    switch (client->state) {
    case CLIENT_HANDSHAKE:
        return handshake_event(client, events, ret_failure);
    case CLIENT_SENDING:
        return sending_event(client, events, ret_failure);
    case CLIENT_HEAD:
        return head_read(client, ret_failure);
    case CLIENT_BODY:
        return body_read(client, ret_failure);
    case CLIENT_IDLE:
    case CLIENT_CLOSING:
        return end_read(client, ret_failure);
    case CLIENT_CLOSED:
        break;
    }
    /* Closed earlier in this loop turn, in the same batch of events. */
    return CLIENT_PENDING;
}

enum client_event client_on_event(struct client *client, uint32_t events, enum failure *ret_failure)
{
    enum client_event event;
    do {
        event = state_event(client, events, ret_failure);
    } while (event == CLIENT_PENDING && wire_has_more(&client->wire));
    return event;
}
