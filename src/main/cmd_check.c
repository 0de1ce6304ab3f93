/*
 * maitred check: every mistake of a configuration, and what a reload could not do.
 */
#include "base/hash.h"
#include "base/slice.h"
#include "control/secured.h"
#include "control/snapshot.h"
#include "main/command.h"
#include "main/privileges.h"
#include "observe/metrics.h"
#include "tls/tls.h"

/* Builds what `run` would build: bad templates, regexes and routes that can never match show only then. */
static void try_build(struct conf *conf, const struct conf_node *root, const struct settings *settings)
{
    const struct snapshot_context context = { .cells = 1 };
    struct snapshot *snapshot = snapshot_build(conf, root, settings, &context);
    int tickets = secured_use_tickets(settings, conf, root);
    (void)tickets; /* its mistakes are in the conf */
    if (snapshot)
        snapshot_drop(snapshot);
}

static int check_file(const char *path)
{
    struct conf *conf = conf_new(NULL);
    struct settings settings = { 0 };
    const struct conf_node *root;
    int loaded = settings_load(conf, path, &settings, &root);
    if (root)
        try_build(conf, root, &settings);
    if (loaded == 0)
        privileges_check(conf, root, &settings, path);
    conf_print_diagnostics(conf, stderr, true);
    unsigned errors = conf_error_count(conf);
    if (errors == 0)
        printf("%s: fine: %zu listener%s, %zu upstream%s, %zu route%s\n", path, settings.listeners.count,
               settings.listeners.count == 1 ? "" : "s", settings.upstreams.count,
               settings.upstreams.count == 1 ? "" : "s", settings.routes.count, settings.routes.count == 1 ? "" : "s");
    else
        fprintf(stderr, "%s: %u mistake%s\n", path, errors, errors == 1 ? "" : "s");
    conf_free(conf);
    return errors == 0 ? EXIT_FINE : EXIT_CONFIG;
}

static int run(int argc, char **argv)
{
    const char *path = NULL;
    for (int i = 1; i < argc; i++) {
        if ((strcmp(argv[i], "-c") == 0 || strcmp(argv[i], "--config") == 0) && i + 1 < argc && !path)
            path = argv[++i];
        else if (argv[i][0] != '-' && !path)
            path = argv[i];
        else
            return command_usage(&command_check, "`%s` is no argument of it", argv[i]);
    }
    if (!path)
        return command_usage(&command_check, "which configuration? Give FILE");
    hash_seed();
    if (tls_start() < 0) {
        fprintf(stderr, "maitred: no memory\n");
        return EXIT_FAULT;
    }
    metrics_init(1);
    int rc = check_file(path);
    metrics_done();
    return rc;
}

const struct command command_check = {
    .name = "check",
    .run = run,
    .summary = "report every mistake in a configuration file",
    .help = "Usage: maitred check FILE\n\n"
            "Reports every mistake in FILE with line, column, the path in the document and a suggestion, and warns of\n"
            "routes that can never match. As root it also says what a reload could not do as `user`.\n\n"
            "Exit code: 0 when `run` would start with it, 3 with mistakes.\n",
};
