/*
 * The table of handlers.  A new one is a folder with its descriptor and a line here.
 */
#include "handlers/registry.h"

#include "conf/conf.h"
#include "handlers/proxy/handler_proxy.h"
#include "handlers/proxy/proxy.h"
#include "handlers/redirect/handler_redirect.h"
#include "handlers/respond/handler_respond.h"

static const struct conf_variant variants[] = {
    { "proxy", &proxy_schema, &handler_proxy },
    { "redirect", &redirect_schema, &handler_redirect },
    { "respond", &respond_schema, &handler_respond },
    CONF_END,
};

const struct conf_registry handler_registry = { "handler", variants };
