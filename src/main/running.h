/*
 * The running process: a gateway, its signals, and what the service manager is told.  Shared by `run` and `proxy`.
 */
#pragma once

struct running_options {
    const char *config_path; /* or */
    const char *config_text;
    char **argv; /* for an upgrade: the program's own arguments */
};

/* Serves until told to stop. Returns the exit code. */
int running_main(const struct running_options *options);
