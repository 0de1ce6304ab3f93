/* Which way a client's connection begins. */
#include "http/serve.h"

#include "http/birth.h"
#include "http/h1/h1.h"

struct http_conn *http_serve(struct loop *loop, int fd, const struct address *peer, struct stream_host *host)
{
    return birth_needed(host, peer) ? birth_begin(loop, fd, peer, host) : h1_serve(loop, fd, peer, host);
}
