/*
 * How the access log's lines get from the workers to a file.
 *
 *      slot (a worker) --writing--> channel: ring + format + sink <--reading-- the writer thread
 *                      --pending--> channel put there by access_log_change
 *
 * A changed configuration is a new channel for each worker.  The worker takes it up at its next line and links it as
 * the successor of the old one; the writer empties the old channel into the old sink before it goes on to the
 * successor.  So every line is in the format of the sink it goes to, none is lost, and neither side waits for the
 * other.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "observe/access_log.h"
#include "observe/doze.h"
#include "observe/metrics.h"
#include "observe/ring.h"

/* Where lines go. Made by control, written and freed by the writer; `channels` and the list are under access_log.lock.
 */
struct sink {
    struct sink *next;
    int fd;       /* -1: opened again when a line comes */
    bool is_file; /* stdout and stderr are never closed or reopened */
    unsigned channels;
    _Atomic(bool) retired; /* not the current one any more */
    bool failing;          /* the last write failed, and that was said */
    struct channel *torn;  /* half of this channel's oldest line is written: no other may write before the rest */
    char name[];           /* the path, or stdout or stderr */
};

struct channel {
    void *raw;         /* as allocated; the channel is aligned within */
    struct sink *sink; /* NULL: off, and there is no ring */
    int format;
    _Atomic(struct channel *) successor;
    struct ring ring;
};

struct slot {
    _Alignas(64) _Atomic(struct channel *) pending;
    struct channel *writing;              /* the worker's */
    char *buf;                            /* the worker's, for the line being made */
    _Atomic(uint64_t) lost;               /* written by the worker, read by all */
    _Alignas(64) struct channel *reading; /* the writer's */
};

struct access_log {
    void *raw; /* as allocated; the log is aligned within, as are its slots */
    unsigned workers;
    struct slot *slots;
    struct sink *sinks;
    struct sink *current;        /* control's; NULL: off */
    struct access_log_conf conf; /* control's copy of what is in force; `to` is ours */
    pthread_mutex_t lock;        /* over `sinks` and sink.channels; workers never take it */
    pthread_t thread;
    _Atomic(bool) stopping;
    _Atomic(bool) reopening;
    _Atomic(uint64_t) errors;    /* failed writes and openings */
    _Atomic(uint64_t) discarded; /* lines that the writer had to give up */
    uint64_t lost_said;          /* the writer's */
    struct doze doze;
    struct metric_source sources[2];
};

/* A line is at most ACCESS_LINE_MAX, and a ring takes lines up to half its size. */
enum { ACCESS_LINE_MAX = 64 * 1024, ACCESS_RING_MIN = 2 * ACCESS_LINE_MAX };

/* The thread's function; the argument is the access_log. */
void *access_log_writer(void *log);

/* Opens; NULL after ret_why. Not for "off". */
struct sink *sink_new(const char *to, const char **ret_why);
void sink_free(struct sink *sink);
/* NULL without memory; `sink` NULL is off. */
struct channel *channel_new(struct sink *sink, const struct access_log_conf *conf);
void channel_free(struct channel *channel);
