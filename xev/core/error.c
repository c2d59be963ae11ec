/* Names and texts of the error codes, made from the one list in error.h; and why options were
 * refused. */
#include "xev/error.h"

#include <assert.h>
#include <stdio.h>

#include "xev/core/support.h"

const char *xev_err_name(int code) {
    if (code >= 0) {
        return "XEV_OK";
    }
    switch (code) {
#define XEV__ERRNO(name, text)                                                                     \
    case XEV_##name:                                                                               \
        return "XEV_" #name;
        XEV_ERRNO_MAP(XEV__ERRNO)
#undef XEV__ERRNO
#define XEV__EXTRA(name, value, text)                                                              \
    case XEV_##name:                                                                               \
        return "XEV_" #name;
        XEV_EXTRA_MAP(XEV__EXTRA)
#undef XEV__EXTRA
    default:
        return "XEV_EUNKNOWN";
    }
}

const char *xev_strerror(int code) {
    if (code >= 0) {
        return "success";
    }
    switch (code) {
#define XEV__ERRNO(name, text)                                                                     \
    case XEV_##name:                                                                               \
        return text;
        XEV_ERRNO_MAP(XEV__ERRNO)
#undef XEV__ERRNO
#define XEV__EXTRA(name, value, text)                                                              \
    case XEV_##name:                                                                               \
        return text;
        XEV_EXTRA_MAP(XEV__EXTRA)
#undef XEV__EXTRA
    default:
        return "unknown error";
    }
}

static _Thread_local const char *refused = "";

int xev__refuse(const char *why, const char *value) {
    static _Thread_local char text[240];
    assert(why != NULL);
    refused = why;
    if (value != NULL) {
        snprintf(text, sizeof text, "%s: %s", why, value);
        refused = text;
    }
    return XEV_EINVAL;
}

const char *xev_err_why(void) { return refused; }
