/*
 * Every way in which serving a request can fail, in one table: which side failed, whether another attempt is sound,
 * which status the client gets, the word in the log and the label in the metrics.  Fallible functions return 0 or
 * -ERR_x; streams and pipes carry the positive value.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum err_side { SIDE_NONE, SIDE_CLIENT, SIDE_UPSTREAM, SIDE_INTERNAL };

/* clang-format off */
/*   name                     side      retry  status  word (log, metric label, problem type) and title */
#define ERR_TABLE(X)                                                                                                   \
    X(NONE,                   NONE,     false, 0,   "none",                     "No error")                            \
    /* what the client sent */                                                                                         \
    X(BAD_REQUEST_LINE,       CLIENT,   false, 400, "bad_request_line",         "The request line is malformed")       \
    X(BAD_METHOD,             CLIENT,   false, 400, "bad_method",               "The method is not a token")           \
    X(BAD_TARGET,             CLIENT,   false, 400, "bad_target",               "The request target is malformed")     \
    X(BAD_VERSION,            CLIENT,   false, 400, "bad_version",              "The HTTP version is malformed")       \
    X(UNSUPPORTED_VERSION,    CLIENT,   false, 505, "unsupported_version",      "The HTTP version is not supported")   \
    X(BAD_FIELD,              CLIENT,   false, 400, "bad_field",                "A header field is malformed")         \
    X(BAD_LINE_END,           CLIENT,   false, 400, "bad_line_end",             "A line does not end in CR LF")        \
    X(OBS_FOLD,               CLIENT,   false, 400, "obs_fold",                 "A header field is folded over lines") \
    X(BAD_HOST,               CLIENT,   false, 400, "bad_host",                 "Host is missing, doubled or malformed") \
    X(BAD_CONTENT_LENGTH,     CLIENT,   false, 400, "bad_content_length",       "Content-Length is not one number")    \
    X(LENGTH_AND_CHUNKED,     CLIENT,   false, 400, "length_and_chunked",       "Content-Length and Transfer-Encoding together") \
    X(BAD_TRANSFER_ENCODING,  CLIENT,   false, 400, "bad_transfer_encoding",    "The Transfer-Encoding is not acceptable") \
    X(UNKNOWN_TRANSFER_CODING,CLIENT,   false, 501, "unknown_transfer_coding",  "The transfer coding is not implemented") \
    X(BAD_CHUNK,              CLIENT,   false, 400, "bad_chunk",                "The chunked body is malformed")       \
    X(BAD_EXPECT,             CLIENT,   false, 417, "bad_expect",               "The expectation cannot be met")       \
    X(TARGET_TOO_LONG,        CLIENT,   false, 414, "target_too_long",          "The request target is too long")      \
    X(HEAD_TOO_LARGE,         CLIENT,   false, 431, "head_too_large",           "The header section is too large")     \
    X(BODY_TOO_LARGE,         CLIENT,   false, 413, "body_too_large",           "The request body is too large")       \
    X(HEAD_TIMEOUT,           CLIENT,   false, 408, "head_timeout",             "The request head came too slowly")    \
    X(BODY_TIMEOUT,           CLIENT,   false, 408, "body_timeout",             "The request body came too slowly")    \
    X(CLIENT_CLOSED,          CLIENT,   false, 499, "client_closed",            "The client went away")                \
    X(CLIENT_RESET,           CLIENT,   false, 499, "client_reset",             "The client reset the connection")     \
    X(CLIENT_SEND_TIMEOUT,    CLIENT,   false, 499, "client_send_timeout",      "The client took the answer too slowly") \
    X(HANDSHAKE_TIMEOUT,      CLIENT,   false, 408, "handshake_timeout",        "The TLS handshake came too slowly")   \
    X(HANDSHAKE_FAILED,       CLIENT,   false, 400, "handshake_failed",         "The TLS handshake failed")            \
    X(CERTIFICATE_REQUIRED,   CLIENT,   false, 400, "certificate_required",     "The client showed no certificate")    \
    X(CERTIFICATE_REFUSED,    CLIENT,   false, 400, "certificate_refused",      "The client's certificate is not acceptable") \
    X(PLAIN_HTTP,             CLIENT,   false, 400, "plain_http",               "Plain HTTP was sent to a TLS port")   \
    X(BAD_PROXY_HEADER,       CLIENT,   false, 400, "bad_proxy_header",         "The PROXY protocol header is malformed") \
    X(PROXY_HEADER_TIMEOUT,   CLIENT,   false, 408, "proxy_header_timeout",     "The PROXY protocol header came too slowly") \
    X(PROXY_NOT_TRUSTED,      CLIENT,   false, 403, "proxy_not_trusted",        "Only trusted balancers may connect here") \
    X(PROTOCOL,               CLIENT,   false, 400, "protocol_error",           "The client broke the protocol")       \
    X(BAD_GRPC_TIMEOUT,       CLIENT,   false, 400, "bad_grpc_timeout",         "grpc-timeout is malformed")           \
    X(BAD_BODY,               CLIENT,   false, 400, "bad_body",                 "The request body is malformed")       \
    X(UPGRADE_REFUSED,        CLIENT,   false, 400, "upgrade_refused",          "The upgrade is not acceptable")       \
    X(TUNNEL_IDLE,            CLIENT,   false, 408, "tunnel_idle",              "Nothing moved in the tunnel for too long") \
    X(TUNNEL_LIFETIME,        CLIENT,   false, 408, "tunnel_lifetime",          "The tunnel was open for as long as it may") \
    /* what the gateway decided */                                                                                     \
    X(NO_ROUTE,               CLIENT,   false, 404, "no_route",                 "No route matches the request")        \
    X(METHOD_NOT_ALLOWED,     CLIENT,   false, 405, "method_not_allowed",       "The route does not take this method") \
    X(UNAUTHENTICATED,        CLIENT,   false, 401, "unauthenticated",          "Authentication is needed")            \
    X(FORBIDDEN,              CLIENT,   false, 403, "forbidden",                "The request is not allowed")          \
    X(RATE_LIMITED,           CLIENT,   false, 429, "rate_limited",             "Too many requests")                   \
    /* what the service did */                                                                                         \
    X(CONNECT_REFUSED,        UPSTREAM, true,  502, "connect_refused",          "The service refused the connection")  \
    X(CONNECT_TIMEOUT,        UPSTREAM, true,  504, "connect_timeout",          "The service did not accept the connection in time") \
    X(CONNECT_FAILED,         UPSTREAM, true,  502, "connect_failed",           "The service could not be reached")    \
    X(TLS_FAILED,             UPSTREAM, true,  502, "tls_failed",               "The TLS session with the service failed") \
    X(UPSTREAM_UNSENT,        UPSTREAM, true,  502, "closed_before_request",    "The service closed before the request was sent") \
    X(UPSTREAM_REFUSED,       UPSTREAM, true,  502, "stream_refused",           "The service refused the stream")      \
    X(HTTP_1_1_REQUIRED,      UPSTREAM, false, 502, "http_1_1_required",        "The service takes this request over HTTP/1.1 only") \
    X(NO_EXTENDED_CONNECT,    UPSTREAM, false, 502, "no_extended_connect",      "The service takes no upgrade over HTTP/2 (RFC 8441)") \
    X(NOT_HTTP2,              UPSTREAM, true,  502, "not_http2",                "The service does not speak HTTP/2")   \
    X(UPSTREAM_CLOSED,        UPSTREAM, false, 502, "closed_before_response",   "The service closed without answering") \
    X(UPSTREAM_RESET,         UPSTREAM, false, 502, "reset",                    "The service reset the connection")    \
    X(UPSTREAM_CUT,           UPSTREAM, false, 502, "body_cut",                 "The service's answer was cut short")  \
    X(UPSTREAM_BAD_HEAD,      UPSTREAM, false, 502, "bad_response_head",        "The service's answer is malformed")   \
    X(UPSTREAM_BAD_BODY,      UPSTREAM, false, 502, "bad_response_body",        "The service's answer body is malformed") \
    X(UPSTREAM_HEAD_TOO_LARGE,UPSTREAM, false, 502, "response_head_too_large",  "The service's header section is too large") \
    X(UPSTREAM_BODY_TOO_LARGE,UPSTREAM, false, 502, "response_body_too_large",  "The service's answer is too large to be read whole") \
    X(RESPONSE_TIMEOUT,       UPSTREAM, false, 504, "response_timeout",         "The service did not answer in time")  \
    X(TRY_TIMEOUT,            UPSTREAM, false, 504, "try_timeout",              "No try was answered in its time")     \
    X(RESPONSE_BODY_TIMEOUT,  UPSTREAM, false, 504, "response_body_timeout",    "The service's answer stalled")        \
    X(UPSTREAM_SEND_TIMEOUT,  UPSTREAM, false, 504, "request_send_timeout",     "The service took the request too slowly") \
    X(NO_TARGET,              UPSTREAM, false, 503, "no_target",                "No target of the upstream is available") \
    X(UPSTREAM_FULL,          UPSTREAM, false, 503, "upstream_full",            "The upstream is at its limit")        \
    X(QUEUE_FULL,             UPSTREAM, false, 503, "queue_full",               "Too many requests wait for the upstream") \
    X(QUEUE_TIMEOUT,          UPSTREAM, false, 503, "queue_timeout",            "The upstream had no room for the request in time") \
    X(NAME_UNRESOLVED,        UPSTREAM, false, 503, "name_unresolved",          "The upstream's name does not resolve") \
    X(BREAKER_OPEN,           UPSTREAM, false, 503, "circuit_open",             "The upstream fails too often to be tried now") \
    X(KEYS_UNAVAILABLE,       UPSTREAM, false, 503, "keys_unavailable",         "The keys to check the token with could not be fetched") \
    X(EXCHANGE_TIMEOUT,       UPSTREAM, false, 504, "exchange_timeout",         "The exchange took longer than allowed") \
    X(DEADLINE_EXCEEDED,      UPSTREAM, false, 504, "deadline_exceeded",        "The call took longer than its client allows") \
    /* ourselves */                                                                                                    \
    X(MEMORY,                 INTERNAL, false, 503, "out_of_memory",            "The gateway is out of memory")        \
    X(OVERLOADED,             INTERNAL, false, 503, "overloaded",               "The gateway is overloaded")           \
    X(DRAINING,               INTERNAL, false, 503, "draining",                 "The gateway is shutting down")        \
    X(TOO_DEEP,               INTERNAL, false, 500, "too_deep",                 "Too many exchanges within each other") \
    X(CANCELLED,              INTERNAL, false, 499, "cancelled",                "The exchange was cancelled")          \
    X(SYSTEM,                 INTERNAL, false, 500, "system",                   "A system call failed")                \
    X(INTERNAL,               INTERNAL, false, 500, "internal",                 "Internal error")

enum err {
#define X(name, side, retry, status, word, title) ERR_##name,
    ERR_TABLE(X)
#undef X
    ERR_COUNT
};
/* clang-format on */

struct err_info {
    enum err_side side;
    bool retryable;  /* the request surely was not processed: any method may be sent again */
    uint16_t status; /* of the local answer; 499 is never sent, it stands in logs only */
    const char *word;
    const char *title;
};

/* Never fails: an unknown value reads as ERR_INTERNAL. */
const struct err_info *err_info(enum err err);
const char *err_side_word(enum err_side side); /* "client", "upstream", "internal", "" */

#define MUST_USE __attribute__((warn_unused_result))
