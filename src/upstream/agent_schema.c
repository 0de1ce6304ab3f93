/*
 * The configuration of agents: small programs beside a service that say in one line how much it wants to take.
 *
 * It fills the settings of a check, as an agent is asked like one.
 */
#include "upstream/health_conf.h"

#include "upstream/upstream.h"

#define HOUR_MS 3600000

enum { INTERVAL_MIN_MS = 10, SEND_BYTES_MAX = 256 };

static void validate_agent(struct conf *conf, const struct conf_node *node, void *value);

static const struct conf_field agent_fields[] = {
    { .name = "port",
      .type = { .kind = CONF_INT, .min = 1, .max = 65535 },
      .offset = CONF_AT(health_check_conf, port),
      .flags = CONF_REQUIRED,
      .doc = "Where the agent listens, on each target's address. It is spoken to in clear." },
    { .name = "address",
      .type = { .kind = CONF_CUSTOM, .parse = health_parse_ip, .size = sizeof(struct address), .pattern = "IP" },
      .offset = CONF_AT(health_check_conf, address),
      .doc = "Another address than the target's." },
    { .name = "send",
      .type = { .kind = CONF_STRING },
      .offset = CONF_AT(health_check_conf, send),
      .doc = "What is sent to it first. Left out, nothing is." },
    { .name = "interval",
      .type = { .kind = CONF_DURATION, .min = INTERVAL_MIN_MS, .max = 24 * HOUR_MS },
      .offset = CONF_AT(health_check_conf, pace.interval_ms),
      .default_text = "2s",
      .doc = "From one question to the next." },
    { .name = "timeout",
      .type = { .kind = CONF_DURATION, .min = 1, .max = HOUR_MS },
      .offset = CONF_AT(health_check_conf, pace.timeout_ms),
      .default_text = "1s",
      .doc = "How long the answer may take; at most the interval, and by default no more than that." },
    { .name = "jitter",
      .type = { .kind = CONF_PERCENT },
      .offset = CONF_AT(health_check_conf, pace.jitter_percent),
      .default_text = "10%",
      .doc = "Each wait is drawn from so much less to so much more." },
    CONF_END,
};

const struct conf_struct agent_check_schema = {
    .name = "agent_check",
    .size = sizeof(struct health_check_conf),
    .fields = agent_fields,
    .shorthand = "port",
    .validate = validate_agent,
    .doc = "An agent beside each target, asked for one line: `75%` of its weight, `ready`, `drain` or `maint`, `up` or "
           "`down#why` (HAProxy's agent-check). An agent that does not answer changes nothing.",
    .example = "upstreams:\n"
               "  users:\n"
               "    targets: [ 10.0.0.1:9001, 10.0.0.2:9001 ]\n"
               "    agent_check: { port: 9777, interval: 5s }\n",
};

static void validate_agent(struct conf *conf, const struct conf_node *node, void *value)
{
    struct health_check_conf *agent = value;
    health_check_pace(conf, node, &agent->pace);
    agent->type = PROBE_AGENT;
    agent->pace.fast_interval_ms = agent->pace.interval_ms;
    agent->pace.unhealthy_after = agent->pace.healthy_after = 1;
    if (agent->send && strlen(agent->send) > SEND_BYTES_MAX)
        conf_error(conf, conf_get(node, "send"), "at most %d bytes are sent", SEND_BYTES_MAX);
}
