/*
 * Upgrading the binary in place (USR2).
 *
 *      old: starts the new binary with the same arguments, the listening sockets, one end of a pipe, and memory with
 *           the TLS keys that it may not be able to read itself
 *      new: loads, serves, writes one byte into the pipe
 *      old: on the byte, drains (its sockets live on in the new one); at the pipe's end without one, says so and goes
 * on
 */
#pragma once

#include <stdbool.h>

#include "loop/loop.h"

struct gateway;

struct upgrade {
    struct gateway *gateway;
    char **argv;
    struct io io; /* the pipe's reading end while the new process starts */
    int pid;
    bool running;
    void (*on_handed)(struct upgrade *upgrade); /* the new process serves */
};

void upgrade_init(struct upgrade *upgrade, struct gateway *gateway, char **argv, void (*on_handed)(struct upgrade *));
/* Starts the new process. Failures go to the error log. */
void upgrade_start(struct upgrade *upgrade);
/* We stop: the new process, if it does not serve yet, must not live on alone. */
void upgrade_abandon(struct upgrade *upgrade);
void upgrade_done(struct upgrade *upgrade);

/* In the new process: the sockets handed over, or NULL; and telling the old one that we serve. */
const char *upgrade_inherited(void);
void upgrade_take_kept(void); /* before anything is loaded: files that only root may read, ticket keys */
void upgrade_tell_ready(void);
