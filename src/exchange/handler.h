/*
 * The contract of a handler: the one thing that answers an exchange (proxy, respond, redirect ...).
 *
 * start is called once all request policies have said NEXT. The handler answers with exchange_respond (a head, and a
 * pipe that its body will come through), exchange_reply (a small local answer) or exchange_fail. All calls come from
 * exchange_run, never nested.
 */
#pragma once

#include <stddef.h>

struct exchange;
struct worker;
struct conf;
struct conf_node;
struct conf_struct;

struct handler_type {
    const char *name;
    const struct conf_struct *schema;
    size_t state_size; /* zeroed per exchange, in its arena */
    int (*load)(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data);
    void (*unload)(void *data);
    int (*attach)(void *data, struct worker *worker, void **ret_local); /* may be NULL */
    void (*detach)(void *data, struct worker *worker, void *local);
    void (*start)(struct exchange *x, void *state, const void *data);
    /* Bytes or the end reached exchange_body(x); may be NULL when the handler takes no body (the spine then stops
     * reading it). */
    void (*on_request_body)(struct exchange *x, void *state);
    /* The pipe given to exchange_respond has room again. May be NULL. */
    void (*on_response_room)(struct exchange *x, void *state);
    /* Something the handler waits for has happened (it called exchange_wake from an event). May be NULL. */
    void (*on_wake)(struct exchange *x, void *state);
    /* Stop at once: no more calls but on_done. Only when the answer is not complete. May be NULL. */
    void (*cancel)(struct exchange *x, void *state);
    /* The exchange ends: give back what is held. Once, if start was called. May be NULL. */
    void (*on_done)(struct exchange *x, void *state);
};
