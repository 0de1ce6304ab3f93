/*
 * maitred: a load balancer and API gateway.  This file only finds the command.
 */
#include <stdarg.h>
#include <stdbool.h>

#include "base/assert.h"
#include "main/command.h"

static const struct command *const commands[] = {
    &command_run,       &command_check,   &command_proxy,        &command_schema,
    &command_reference, &command_version, &command_demo_service,
};

static void print_help(FILE *out)
{
    fprintf(out, "maitred %s: load balancer and API gateway\n\nUsage: maitred COMMAND [ARGUMENTS]\n\nCommands:\n",
            MAITRED_VERSION);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  %-13s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(
        out,
        "\n`maitred COMMAND --help` tells more.\n\n"
        "Exit codes: %d fine, %d it could not start or failed, %d wrong arguments, %d mistakes in the configuration.\n",
        EXIT_FINE, EXIT_FAULT, EXIT_USAGE, EXIT_CONFIG);
}

int command_usage(const struct command *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "maitred %s: ", command->name);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\nTry `maitred %s --help`.\n", command->name);
    va_end(args);
    return EXIT_USAGE;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return EXIT_FINE;
    }
    const char *name = strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(name, commands[i]->name) != 0)
            continue;
        if (wants_help(argc - 1, argv + 1)) {
            fputs(commands[i]->help, stdout);
            return EXIT_FINE;
        }
        int rc = commands[i]->run(argc - 1, argv + 1);
        return rc == EXIT_FINE && (fflush(stdout) != 0 || ferror(stdout)) ? EXIT_FAULT
                                                                          : rc; /* what did not get out was not said */
    }
    fprintf(stderr, "maitred: there is no command `%s`. Try `maitred --help`.\n", argv[1]);
    return EXIT_USAGE;
}
