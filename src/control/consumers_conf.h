/*
 * `consumers` and `revoked` of the configuration: as structs, and as the table that workers look credentials up in.
 */
#pragma once

#include "conf/conf.h"
#include "exchange/consumers.h"

struct consumers;

struct key_hash {
    bool given;
    uint8_t digest[KEY_DIGEST_BYTES];
};

struct api_key_item_conf {
    const char *id;
    struct key_hash hash;
    const char *key;
    int64_t not_before_s, expires_s; /* 0: no bound */
};

struct login_conf {
    const char *username, *password_hash, *password;
};

struct certificate_item_conf {
    const char *subject, *san, *fingerprint;
};

struct consumer_conf {
    struct conf_list groups;       /* const char * */
    struct conf_list attributes;   /* MAP of const char * */
    struct conf_list api_keys;     /* struct api_key_item_conf */
    struct conf_list logins;       /* struct login_conf */
    struct conf_list certificates; /* struct certificate_item_conf */
};

struct revoked_conf {
    struct conf_list names[REVOKED_NAMES]; /* const char * */
};

extern const struct conf_type consumer_type;
extern const struct conf_struct revoked_schema;

/* NULL after conf_error. `consumers` is the MAP of struct consumer_conf. */
struct consumers *consumers_build(struct conf *conf, const struct conf_list *consumers,
                                  const struct revoked_conf *revoked);
