/*
 * Writing the requests out; requests.h says why they look as they do. The fields are those
 * that any simple client sends.
 */
#include "requests.h"

#include "load_run.h"

#include <assert.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PATH_MAX_LEN = 512,
    STRIDE = 7919, /* a prime larger than half of any sensible count: it visits all */
};

/* Replaces each {n} by a number of five digits. */
static void path_expand(const char *path, unsigned number, char ret_path[static PATH_MAX_LEN])
{
    size_t length = 0;
    for (const char *from = path; *from != '\0';) {
        if (length + 6 >= PATH_MAX_LEN)
            errx(2, "the path is too long");
        if (strncmp(from, "{n}", 3) == 0) {
            length += (size_t)snprintf(ret_path + length, PATH_MAX_LEN - length, "%05u", number);
            from += 3;
        } else {
            ret_path[length++] = *from++;
        }
    }
    ret_path[length] = '\0';
}

static void request_build(struct request *request, const struct load_options *options, unsigned number)
{
    char path[PATH_MAX_LEN];
    char length[64] = "";
    bool upload = options->setup.upload_bytes > 0;
    path_expand(options->path, number, path);
    if (upload)
        snprintf(length, sizeof length, "Content-Length: %" PRIu64 "\r\n", options->setup.upload_bytes);
    int size = asprintf(&request->bytes,
                        "%s %s HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n%s%s\r\n",
                        upload ? "POST" : "GET", path, length, options->setup.close ? "Connection: close\r\n" : "");
    if (size < 0)
        err(1, "asprintf");
    request->length = (size_t)size;
    request->path = strdup(path);
    request->path_len = strlen(path);
    if (request->path == NULL)
        err(1, "strdup");
}

void requests_build(struct requests *requests, const struct load_options *options)
{
    assert(options->paths > 0);
    requests->count = options->paths;
    requests->next = 0;
    requests->stride = STRIDE % options->paths;
    requests->list = calloc(options->paths, sizeof *requests->list);
    if (requests->list == NULL)
        err(1, "calloc");
    for (unsigned i = 0; i < options->paths; i++)
        request_build(&requests->list[i], options, i);
}

const struct request *requests_next(struct requests *requests)
{
    const struct request *request = &requests->list[requests->next];
    requests->next = (requests->next + requests->stride) % requests->count;
    return request;
}
