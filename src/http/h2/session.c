/*
 * nghttp2's session: its memory is charged to the worker's, and kept small.
 *
 * As it comes a session takes 25.7 KB, 16.4 KB of it a buffer in which one frame is made ready.  Those bytes are of use
 * only from when nghttp2_session_mem_send begins a frame until it has returned it, and h2_flush copies what is returned
 * before anything else happens; so the server's sessions of one thread share one such buffer, which the allocator gives
 * for the first large block asked for while a session is made.  (A client's session keeps the preface there until it is
 * sent, and has its own; there are few of them.)  An idle server connection that has served a request holds 10,070
 * bytes in all: nghttp2's session 2,928, its map of streams 4,096, the two HPACK tables from 2,048, our own 700.
 *
 * nghttp2 tells no sizes when it frees, so each block has its size in front.
 */
#include "http/h2/conn.h"

#include <pthread.h>

#include "base/memory.h"
#include "http/h2/write.h"

enum {
    BLOCK_HEADER = 16, /* keeps what follows aligned */
    FRAME_BUFFER_BYTES = 17408,
    FRAME_BUFFER_MIN = 16384, /* what only the frame buffer asks for */
    CONTINUATIONS_MAX = 72,   /* 1 MiB of head, the largest that may be configured, and as many small ones */
    ACKS_MAX = 256,
    SETTINGS_MAX = 32, /* entries in one frame */
};

static _Thread_local _Alignas(16) char frame_buffer[FRAME_BUFFER_BYTES];

static void *block_alloc(size_t size, void *user)
{
    struct h2_conn *conn = user;

    if (conn->sharing && size >= FRAME_BUFFER_MIN && size <= sizeof(frame_buffer)) {
        conn->sharing = false;
        return frame_buffer;
    }
    size_t *block = memory_get(h2_memory(conn), size + BLOCK_HEADER);
    if (block == NULL)
        return NULL;
    *block = size;
    return (char *)block + BLOCK_HEADER;
}

static void block_free(void *ptr, void *user)
{
    struct h2_conn *conn = user;

    if (ptr == NULL || ptr == frame_buffer)
        return;
    size_t *block = (size_t *)((char *)ptr - BLOCK_HEADER);
    memory_put(h2_memory(conn), block, *block + BLOCK_HEADER);
}

static void *block_zalloc(size_t count, size_t size, void *user)
{
    void *ptr = size == 0 || count <= SIZE_MAX / 2 / size ? block_alloc(count * size, user) : NULL;

    if (ptr)
        memset(ptr, 0, count * size);
    return ptr;
}

static void *block_realloc(void *ptr, size_t size, void *user)
{
    if (ptr == NULL)
        return block_alloc(size, user);
    size_t old = ptr == frame_buffer ? sizeof(frame_buffer) : *(size_t *)((char *)ptr - BLOCK_HEADER);
    void *larger = block_alloc(size, user);
    if (larger) {
        memcpy(larger, ptr, MIN(old, size));
        block_free(ptr, user);
    }
    return larger;
}

/* ---- options: one set for the process ---- */

static nghttp2_session_callbacks *callbacks;
static nghttp2_option *options;

static void make_options(void)
{
    if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&options) != 0)
        return;
    h2_set_callbacks(callbacks);
    h2_set_send_callbacks(callbacks);
    h2_write_init();
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_no_http_messaging(options, 1);
    nghttp2_option_set_no_closed_streams(options, 1);
    nghttp2_option_set_max_continuations(options, CONTINUATIONS_MAX);
    nghttp2_option_set_max_outbound_ack(options, ACKS_MAX);
    nghttp2_option_set_max_settings(options, SETTINGS_MAX);
    nghttp2_option_set_stream_reset_rate_limit(options, UINT64_MAX, UINT64_MAX); /* receive.c has its own */
    nghttp2_option_set_max_send_header_block_length(options, 1 << 21);
}

static int submit_settings(struct h2_conn *conn)
{
    const struct http_limits *limits = h2_limits(conn);
    nghttp2_settings_entry entries[4];
    size_t count = 0;

    entries[count++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits->body_room_bytes };
    entries[count++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits->head_bytes_max };
    if (conn->is_client) {
        entries[count++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 };
    } else {
        entries[count++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h2_streams_max(conn) };
        entries[count++] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 };
    }
    return nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, entries, count);
}

int h2_session_begin(struct h2_conn *conn)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    nghttp2_mem mem = { conn, block_alloc, block_free, block_zalloc, block_realloc };

    pthread_once(&once, make_options);
    if (callbacks == NULL || options == NULL)
        return -ERR_MEMORY;
    conn->sharing = !conn->is_client;
    int failed = conn->is_client ? nghttp2_session_client_new3(&conn->session, callbacks, conn, options, &mem)
                                 : nghttp2_session_server_new3(&conn->session, callbacks, conn, options, &mem);
    conn->sharing = false;
    if (failed) {
        conn->session = NULL;
        return -ERR_MEMORY;
    }
    uint32_t window = MIN(MAX(h2_bytes_max(conn), (uint32_t)WINDOW_FIRST), (uint32_t)INT32_MAX);
    if (submit_settings(conn) != 0 ||
        nghttp2_session_set_local_window_size(conn->session, NGHTTP2_FLAG_NONE, 0, (int32_t)window) != 0)
        return -ERR_MEMORY; /* the session goes with the connection */
    return 0;
}
