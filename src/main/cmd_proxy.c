/*
 * maitred proxy: a load balancer from the command line, no file needed.
 */
#include "base/assert.h"
#include "base/json.h"
#include "main/command.h"
#include "main/running.h"

enum { ADDRESSES_MAX = 64 };

struct proxy_arguments {
    const char *listen[ADDRESSES_MAX], *to[ADDRESSES_MAX];
    size_t listen_count, to_count;
    const char *algorithm, *admin, *access_log;
};

static int parse(int argc, char **argv, struct proxy_arguments *a)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!value)
            return command_usage(&command_proxy, "`%s` is no argument of it, or wants a value", name);
        i++;
        if (strcmp(name, "--listen") == 0 && a->listen_count < ADDRESSES_MAX)
            a->listen[a->listen_count++] = value;
        else if (strcmp(name, "--to") == 0 && a->to_count < ADDRESSES_MAX)
            a->to[a->to_count++] = value;
        else if (strcmp(name, "--algorithm") == 0)
            a->algorithm = value;
        else if (strcmp(name, "--admin") == 0)
            a->admin = value;
        else if (strcmp(name, "--access-log") == 0)
            a->access_log = value;
        else
            return command_usage(&command_proxy, "`%s` is no argument of it", name);
    }
    if (a->listen_count == 0 || a->to_count == 0)
        return command_usage(&command_proxy, "it wants --listen ADDRESS and --to ADDRESS");
    return EXIT_FINE;
}

static void put_list(struct json_out *out, const char *name, const char *const *items, size_t count)
{
    json_name(out, name);
    json_open(out, '[');
    for (size_t i = 0; i < count; i++)
        json_put_string(out, slice_from(items[i]));
    json_close(out, ']');
}

/* The configuration that the arguments stand for, as JSON, which is YAML: it goes the same way as a file. */
static void write_configuration(const struct proxy_arguments *a, struct json_out *out)
{
    json_open(out, '{');
    put_list(out, "listeners", a->listen, a->listen_count);
    json_name(out, "access_log");
    json_put_string(out, slice_from(a->access_log));
    if (a->admin) {
        json_name(out, "admin");
        json_put_string(out, slice_from(a->admin));
    }
    json_name(out, "upstreams");
    json_open(out, '{');
    json_name(out, "services");
    json_open(out, '{');
    json_name(out, "algorithm");
    json_put_string(out, slice_from(a->algorithm));
    put_list(out, "targets", a->to, a->to_count);
    json_close(out, '}');
    json_close(out, '}');
    json_name(out, "routes");
    json_put_raw(out, SLICE("[{\"proxy\":{\"upstream\":\"services\"}}]"));
    json_close(out, '}');
}

static int run(int argc, char **argv)
{
    struct proxy_arguments a = { .algorithm = "round_robin", .access_log = "off" };
    int rc = parse(argc, argv, &a);
    if (rc != EXIT_FINE)
        return rc;
    struct json_out out;
    json_out_init(&out, 0);
    write_configuration(&a, &out);
    out.comma = false;
    json_put_raw(&out, SLICE("\0"));
    if (out.failed)
        return EXIT_FAULT;
    const struct running_options options = { .config_text = out.buf, .argv = argv - 1 };
    rc = running_main(&options);
    json_out_done(&out);
    return rc;
}

const struct command command_proxy = {
    .name = "proxy",
    .run = run,
    .summary = "balance between services given on the command line",
    .help = "Usage: maitred proxy --listen ADDRESS --to ADDRESS [--to ADDRESS ...]\n\n"
            "Balances requests between the services, without a configuration file.\n\n"
            "  --listen ADDRESS      where clients connect: `:8080`, `127.0.0.1:8080`, `unix:PATH`; may be repeated\n"
            "  --to ADDRESS          a service: `127.0.0.1:9001`, `users.internal:80`; may be repeated\n"
            "  --algorithm NAME      round_robin (default) or least_connections\n"
            "  --access-log TO       off (default), stdout or a file\n"
            "  --admin ADDRESS       a loopback address for /metrics, /healthz and /readyz\n",
};
