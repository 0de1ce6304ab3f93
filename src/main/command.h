/*
 * The program's commands.  Each takes its own arguments (argv[0] is the command's name) and returns the exit code.
 */
#pragma once

enum exit_code {
    EXIT_FINE = 0,
    EXIT_FAULT = 1,  /* it could not start, or ended with an error */
    EXIT_USAGE = 2,  /* the command line makes no sense */
    EXIT_CONFIG = 3, /* the configuration has mistakes */
};

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary; /* one line */
    const char *help;    /* the whole text of --help */
};

extern const struct command command_run, command_check, command_proxy, command_schema, command_reference,
    command_version, command_demo_service;

/* Prints "maitred NAME: message" and where help is; returns EXIT_USAGE. */
int command_usage(const struct command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));
