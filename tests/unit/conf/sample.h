/*
 * A schema that has every kind once, shaped like the real configuration: for the tests of this folder and for
 * fuzz/yaml_conf.c.
 */
#pragma once

#include <netinet/in.h>

#include "conf/conf.h"

enum sample_mode { MODE_FAST = 1, MODE_SAFE, MODE_OFF };

struct sample_target {
    struct sample_address {
        uint32_t ip;
        uint16_t port;
    } address; /* CUSTOM */
    int64_t weight;
};

struct sample_check {
    int64_t interval_ms, timeout_ms; /* validated: timeout within interval */
};

struct sample_upstream {
    struct conf_list targets;   /* of sample_target, with a short form */
    struct sample_check *check; /* CONF_POINTER */
    struct sample_check probe;  /* embedded */
};

struct sample_limit {
    int64_t rate;
    double share_percent;
};
struct sample_proxy {
    struct conf_ref upstream;
};
struct sample_respond {
    int64_t status;
    const char *body;
};

struct sample_route {
    const char *path;
    struct conf_list policies;  /* of conf_choice */
    struct conf_choice handler; /* inline */
    struct conf_list children;  /* of sample_route: recursion through a list */
};

struct sample_filter { /* recursion through a pointer */
    const char *word;
    struct sample_filter *not_filter;
};

struct sample {
    bool enabled;
    int64_t workers;
    double factor;
    int64_t size_bytes, timeout_ms;
    double share_percent;
    const char *name, *secret;
    int mode;
    struct conf_list tags;      /* of text, one allowed alone */
    struct conf_list labels;    /* name to text */
    struct conf_list upstreams; /* name to sample_upstream, declares */
    struct conf_list routes;
    struct sample_filter *filter;
};

extern const struct conf_struct sample_schema, sample_upstream_schema;
extern const struct conf_type sample_tag_type, sample_label_type, sample_upstream_type, sample_target_type,
    sample_route_type, sample_policy_type;
