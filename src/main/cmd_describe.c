/*
 * maitred schema, reference and version: what the binary knows of itself.
 */
#include "control/settings.h"
#include "main/command.h"

static int no_arguments(const struct command *command, int argc, char **argv)
{
    return argc > 1 ? command_usage(command, "it takes no arguments, got `%s`", argv[1]) : EXIT_FINE;
}

static int run_schema(int argc, char **argv)
{
    int rc = no_arguments(&command_schema, argc, argv);
    if (rc == EXIT_FINE)
        conf_write_json_schema(&settings_schema, stdout);
    return rc;
}

static int run_reference(int argc, char **argv)
{
    int rc = no_arguments(&command_reference, argc, argv);
    if (rc == EXIT_FINE)
        conf_write_reference(&settings_schema, stdout);
    return rc;
}

static int run_version(int argc, char **argv)
{
    int rc = no_arguments(&command_version, argc, argv);
    if (rc == EXIT_FINE)
        printf("maitred %s\n", MAITRED_VERSION);
    return rc;
}

const struct command command_schema = {
    .name = "schema",
    .run = run_schema,
    .summary = "print the JSON Schema of the configuration, for editors",
    .help = "Usage: maitred schema\n\nPrints the JSON Schema (2020-12) of the configuration file.\n",
};
const struct command command_reference = {
    .name = "reference",
    .run = run_reference,
    .summary = "print the configuration reference as Markdown",
    .help = "Usage: maitred reference\n\nPrints the reference of the configuration file as Markdown.\n",
};
const struct command command_version = {
    .name = "version",
    .run = run_version,
    .summary = "print the version",
    .help = "Usage: maitred version\n\nPrints the version.\n",
};
