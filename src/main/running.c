/*
 * The running process.  Signals:
 *
 *      HUP          reload
 *      USR1         reopen the access log
 *      USR2         upgrade the binary in place
 *      TERM, INT    drain within `timeouts.drain`, then exit; a second one exits at once
 *      QUIT         the same as TERM
 */
#include "main/running.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/admin.h"
#include "base/assert.h"
#include "base/sys.h"
#include "control/gateway.h"
#include "main/command.h"
#include "main/notify.h"
#include "main/privileges.h"
#include "main/signals.h"
#include "main/upgrade.h"
#include "net/address.h"
#include "observe/access_log.h"
#include "observe/log.h"
#include "tls/tls.h"

enum {
    DRAINED_LOOK_MS = 10,
    ADMIN_LINGER_MS = 1000, /* behind the workers' end: a scraper's idle connection is not waited for any longer */
};

struct running {
    struct gateway gateway;
    struct signals signals;
    struct upgrade upgrade;
    struct admin *admin;
    struct timer drained_timer;
    uint64_t admin_deadline_ms; /* 0: not waited for */
    bool draining;
    bool told_to_stop; /* TERM: a second one cuts */
    bool handed;       /* to the process that an upgrade has started */
    bool announced;
    bool failed; /* a worker could not begin: it ends as if it had not started */
};

/* ---- ending ---- */

/* A request to the admin listener that we have taken from the socket is ours to answer, though another process has it
 * now. */
static bool admin_is_done(struct running *r)
{
    uint64_t now_ms = r->gateway.control.loop.now_ms;
    if (!r->handed || !r->admin || admin_is_quiet(r->admin))
        return true;
    if (r->admin_deadline_ms == 0)
        r->admin_deadline_ms = now_ms + ADMIN_LINGER_MS;
    return now_ms >= r->admin_deadline_ms;
}

/* The workers end by themselves; the control loop looks whether all have. */
static void on_drained_look(struct timer *timer)
{
    struct running *r = container_of(timer, struct running, drained_timer);
    if (gateway_is_drained(&r->gateway) && admin_is_done(r))
        loop_stop(&r->gateway.control.loop);
    else
        timer_set(&r->gateway.control.loop, timer, r->gateway.control.loop.now_ms + DRAINED_LOOK_MS);
}

static void begin_drain(struct running *r, enum drain_how how)
{
    if (!r->draining) {
        r->draining = true;
        timer_set(&r->gateway.control.loop, &r->drained_timer, r->gateway.control.loop.now_ms + 1);
    }
    gateway_drain(&r->gateway, how);
}

static void stop(struct running *r)
{
    notify_stopping();
    upgrade_abandon(&r->upgrade);
    if (r->told_to_stop) {
        gateway_drain_now(&r->gateway);
        return;
    }
    r->told_to_stop = true;
    log_notice("stop", "draining for at most %lld ms", (long long)r->gateway.current->settings.timeouts.drain_ms);
    begin_drain(r, DRAIN_STOP);
}

static void on_handed(struct upgrade *upgrade)
{
    struct running *r = container_of(upgrade, struct running, upgrade);
    if (r->admin)
        admin_hand(r->admin);
    r->handed = true;
    begin_drain(r, DRAIN_HANDED);
}

/* ---- signals ---- */

static void reap_children(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

static void reload(struct running *r)
{
    notify_reloading();
    if (gateway_reload(&r->gateway) < 0)
        notify_ready(); /* what is in force goes on */
}

static void on_signal(struct signals *signals, int number)
{
    struct running *r = container_of(signals, struct running, signals);
    switch (number) {
    case SIGHUP:
        if (!r->draining)
            reload(r);
        break;
    case SIGUSR1:
        if (r->gateway.access_log)
            access_log_reopen(r->gateway.access_log);
        break;
    case SIGUSR2:
        if (!r->draining)
            upgrade_start(&r->upgrade);
        break;
    case SIGCHLD:
        reap_children();
        break;
    default:
        stop(r);
        break;
    }
}

/* ---- starting ---- */

static void log_addresses(const struct gateway *gateway)
{
    const struct settings *settings = &gateway->current->settings;
    const struct listener_conf *listeners = settings->listeners.items;
    char text[ADDRESS_TEXT_MAX];
    for (size_t i = 0; i < settings->listeners.count; i++) {
        address_format(&listeners[i].address, true, text);
        log_notice("start", "listening on %s", text);
    }
    if (settings->admin) {
        address_format(&settings->admin->address, true, text);
        log_notice("start", "admin on %s", text);
    }
}

/* Without READY: who waits for it, an old process or a supervisor, sees the end. */
static void fail_to_start(struct running *r)
{
    log_error("start", "cannot serve with all workers: ending");
    r->failed = true;
    begin_drain(r, DRAIN_STOP);
    gateway_drain_now(&r->gateway);
}

static void on_applied(struct gateway *gateway, void *user)
{
    struct running *r = user;
    if (gateway->state == GATEWAY_FAILED) {
        fail_to_start(r);
        return;
    }
    if (!r->announced) {
        r->announced = true;
        log_addresses(gateway);
        log_notice("start", "maitred %s serves with %u worker%s", MAITRED_VERSION, gateway->worker_count,
                   gateway->worker_count == 1 ? "" : "s");
    } else {
        log_notice("reload", "configuration %llu is in force", (unsigned long long)gateway->current->generation);
    }
    notify_ready();
    upgrade_tell_ready(); /* behind it: the old process may end at once, and must not be the main one any more */
}

/* Two descriptors an exchange: what the soft limit allows is raised to the hard one. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int start(struct running *r, const struct running_options *options)
{
    struct gateway *gateway = &r->gateway;
    if (signals_init(&r->signals, &gateway->control.loop, on_signal) < 0) {
        log_error("start", "cannot watch signals");
        return EXIT_FAULT;
    }
    if (geteuid() == 0)
        tls_keep_files(); /* what is read now may not be readable for `user` */
    upgrade_take_kept();
    enum gateway_loaded loaded = gateway_load(gateway, upgrade_inherited());
    if (loaded != GATEWAY_LOADED)
        return loaded == GATEWAY_REFUSED ? EXIT_FAULT : EXIT_CONFIG;
    const struct settings *settings = &gateway->current->settings;
    if (settings->admin && !(r->admin = admin_open(gateway, &settings->admin->address)))
        return EXIT_FAULT;
    if (privileges_drop(settings->user, settings->access_log.to) < 0 || log_start() < 0)
        return EXIT_FAULT;
    gateway->on_applied = on_applied;
    gateway->user = r;
    timer_init(&r->drained_timer, on_drained_look);
    upgrade_init(&r->upgrade, gateway, options->argv, on_handed);
    if (gateway_start(gateway) < 0)
        return EXIT_FAULT;
    return EXIT_FINE;
}

/* The variable names the journal's stream as DEVICE:INODE, and is inherited by processes that write elsewhere. */
static bool stderr_is_journal(void)
{
    const char *named = getenv("JOURNAL_STREAM");
    struct stat info;
    char ours[64];
    if (!named || fstat(STDERR_FILENO, &info) < 0)
        return false;
    snprintf(ours, sizeof(ours), "%llu:%llu", (unsigned long long)info.st_dev, (unsigned long long)info.st_ino);
    return strcmp(named, ours) == 0;
}

int running_main(const struct running_options *options)
{
    struct running *r = mem_must(sizeof(*r));
    log_set_journal(stderr_is_journal());
    raise_descriptor_limit();
    if (gateway_init(&r->gateway, options->config_path, options->config_text) < 0) {
        log_error("start", "cannot start: no memory or no descriptors");
        return EXIT_FAULT;
    }
    int rc = start(r, options);
    if (rc == EXIT_FINE) {
        loop_run(&r->gateway.control.loop);
        log_notice("stop", "ended");
    }
    if (r->failed) {
        rc = EXIT_FAULT;
        r->handed = upgrade_inherited() != NULL;
    } else if (rc != EXIT_FINE) {
        gateway_drain_now(&r->gateway);
        r->handed = upgrade_inherited() != NULL; /* the sockets' paths are those of the process that started us */
    }
    upgrade_done(&r->upgrade);
    if (r->admin)
        admin_stop(r->admin);
    if (!r->handed)
        sockets_unlink(&r->gateway.sockets);
    signals_done(&r->signals);
    gateway_done(&r->gateway);
    tls_kept_forget();
    log_stop();
    mem_free(r);
    return rc;
}
