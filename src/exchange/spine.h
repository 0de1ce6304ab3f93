/*
 * What the files of this room share and nobody else sees: the parts of exchange_run.
 *
 *      exchange.c   life: begin, events, run, end
 *      heads.c      the two cursors over the policies' head hooks
 *      flow.c       bodies through the stages
 *      answer.c     responses: of the handler, local replies, failures
 *      tunnel.c     what is left when a 101 has gone down
 */
#pragma once

#include "base/assert.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"

enum { EXCHANGE_MAGIC = 0x45584348 }; /* "EXCH" */

/* A policy that takes a body. `out` is what it makes of the body; a WHOLE stage gathers the input in `gathered` first.
 */
struct stage {
    struct stage *next;
    uint64_t bytes_max; /* WHOLE */
    struct pipe gathered, out;
    uint8_t policy; /* index */
    uint8_t need;   /* enum body_need */
    bool waiting;   /* its on_body said WAIT */
    bool done;      /* WHOLE: on_body has been called and said NEXT */
};

enum { WHOLE_BYTES_DEFAULT = 1 << 20 };

static inline unsigned exchange_policy_count(const struct exchange *x)
{
    return x->plan ? x->plan->policy_count : 0;
}

/* heads.c: run what can run. */
void heads_request(struct exchange *x);
void heads_response(struct exchange *x);
/* flow.c */
int flow_add_stage(struct exchange *x, enum direction direction, unsigned policy);
void flow_drop_stages(struct exchange *x, enum direction direction);
void flow_disclaim_trailers(struct exchange *x);
void flow_request(struct exchange *x);
void flow_response(struct exchange *x);
/* answer.c: the response cursor starts (again) in front of policy `from`, counting down. */
void answer_begin(struct exchange *x, unsigned from);
void answer_send_head(struct exchange *x);
/* exchange_fail for what is no policy's doing and not the handler's: every policy that has started sees the answer. */
void answer_error(struct exchange *x, enum err err);
/* exchange.c */
void exchange_abort(struct exchange *x,
                    enum err err); /* the client's stream is broken or must be: nothing more goes down */
void exchange_cancel_handler(struct exchange *x);
void exchange_arm(struct exchange *x);                    /* the timer, for the nearer of deadline and alarm */
void exchange_raise(struct exchange *x, unsigned events); /* from anywhere: sets bits, queues */
