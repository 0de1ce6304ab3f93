/*
 * Telling the service manager (sd_notify's protocol: datagrams of NAME=VALUE lines to $NOTIFY_SOCKET).  Without that
 * variable all calls do nothing.
 */
#pragma once

void notify_ready(void);     /* with MAINPID, so that an upgrade's new process becomes the main one */
void notify_reloading(void); /* with MONOTONIC_USEC, as Type=notify-reload wants it */
void notify_stopping(void);
