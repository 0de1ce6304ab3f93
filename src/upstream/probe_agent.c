/*
 * Asking a target's agent: a connection in clear, perhaps a few bytes, then one line or the end of what it sends.
 */
#include "base/assert.h"
#include "upstream/health_conf.h"
#include "upstream/probe_state.h"

#include <errno.h>

static void judge(struct probe *probe)
{
    struct slice line = slice_make(probe->line, probe->line_len), rest = line;
    line = slice_cut(&rest, '\n');
    if (agent_parse(line, &probe->report.agent))
        probe_report(probe, PROBE_PASSED, "%s", "");
    else
        probe_report(probe, PROBE_MALFORMED, "its line has no word that is known");
}

/* A few bytes into a fresh connection: the kernel takes them at once, or something is wrong with it. */
static bool send_question(struct probe *probe)
{
    const char *text = probe->order.check->send;
    struct iovec iov = { (void *)(uintptr_t)text, text ? strlen(text) : 0 };
    probe->asked = true;
    if (iov.iov_len == 0 || transport_sendv(&probe->wire, &iov, 1, false) == (ssize_t)iov.iov_len)
        return true;
    probe_report(probe, PROBE_CLOSED, "it takes no question");
    return false;
}

void probe_agent_work(struct probe *probe)
{
    if (!probe->asked && !send_question(probe))
        return;
    for (;;) {
        ENSURE(probe->line_len < sizeof probe->line);
        ssize_t n = transport_recv(&probe->wire, probe->line + probe->line_len, sizeof probe->line - probe->line_len);
        if (n == -EAGAIN)
            return;
        if (n < 0) {
            probe_report(probe, PROBE_CLOSED, "the connection was reset");
            return;
        }
        probe->line_len += (size_t)n;
        bool whole = n == 0 || memchr(probe->line, '\n', probe->line_len);
        if (whole || probe->line_len == sizeof probe->line) {
            judge(probe);
            return;
        }
    }
}
