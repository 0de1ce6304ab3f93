/*
 * The contract of a policy: whether a request may go, how often, in which shape.  A policy never knows which target
 * will serve.
 *
 * A hook returns NEXT to go on, WAIT when it started an op (exchange_op) and wants to be called again, or REPLIED after
 * exchange_reply or exchange_fail.  Resume calls the same hook again; the policy's state says why. on_head of a request
 * runs in the plan's order, of a response in reverse; only policies whose request on_head was called (started) see the
 * response. Bodies: by default a policy does not see them and they cost nothing. In on_head it may ask with
 * exchange_want_body; at most what `need` declares. STREAM: on_body is called whenever bytes, the end, or room came; it
 * moves what it can from `in` to `out` (never beyond out's room) and ends `out` when `in` has ended and is empty. A cut
 * of `in` is passed on by the spine, not by the policy. WHOLE:  the cursor stops behind this on_head until the body has
 * been read whole (413 past the limit, 502 on a response); then on_body is called once, with `in` ended. `out` has no
 * limit. Later policies see the head only after that, so the head may still be changed. Who changes a body sets
 * body_length of the message (before its head is sent on, or BODY_UNKNOWN) and calls message_drop_digests. on_done runs
 * once for each started policy, in reverse, after the last byte or the reset; it starts no op.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct exchange;
struct fields;
struct worker;
struct conf;
struct conf_node;
struct conf_struct;
struct loop;
struct pipe;
struct resolver;

enum verdict { NEXT, WAIT, REPLIED };
enum body_need { BODY_PASS, BODY_STREAM, BODY_WHOLE };
enum direction { DIR_REQUEST, DIR_RESPONSE, DIR_COUNT };

/* What the control thread has for those who work in the background. It outlives them. */
struct policy_ground {
    struct loop *loop;
    struct resolver *resolver;
    unsigned cell; /* the control thread's, in metrics */
};

struct policy_type {
    const char *name;
    const struct conf_struct *schema;
    size_t state_size;             /* zeroed per exchange, in its arena; 0 is fine */
    unsigned char need[DIR_COUNT]; /* enum body_need: at most */
    /* With these settings, may it ask for that body at all? NULL: whatever `need` says. A body that nobody may ask for
     * can stay in the kernel. */
    bool (*takes_body)(const void *data, enum direction direction);
    /* It says who a request comes from, and may stand in a composition (any_of, all_of). `strip` takes its credential
     * out of the request, as it does itself when it has accepted one (0 or -ERR_x); `disclaim` takes fields out
     * that it alone may write, of the head and of trailers. NULL: there is nothing to take. */
    bool authenticates;
    int (*strip)(struct exchange *x, const void *data);
    void (*disclaim)(const void *data, struct fields *fields);
    /* Control thread: from checked settings (schema's struct, which stays alive) to immutable data. Mistakes go to
     * conf_error at `node`; returns 0 or -1. */
    int (*load)(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data);
    void (*unload)(void *data);
    /* Control thread: a snapshot with it comes into force; called again with each further one. What it does in the
     * background from now on ends with unload. May be NULL. */
    void (*begin)(void *data, const struct policy_ground *ground);
    /* Worker thread: what a worker needs of its own; may be NULL. 0 or -ERR_x. */
    int (*attach)(void *data, struct worker *worker, void **ret_local);
    void (*detach)(void *data, struct worker *worker, void *local);
    enum verdict (*on_head[DIR_COUNT])(struct exchange *x, void *state, const void *data);
    enum verdict (*on_body[DIR_COUNT])(struct exchange *x, void *state, const void *data, struct pipe *in,
                                       struct pipe *out);
    void (*on_done)(struct exchange *x, void *state, const void *data);
};
