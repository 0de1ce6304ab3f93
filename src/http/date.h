/* The value of Date (RFC 9110 6.6.1), made once a second and thread. */
#pragma once

#include "base/slice.h"

struct loop;

/* Valid until the loop's next turn. */
struct slice http_date_now(const struct loop *loop);
