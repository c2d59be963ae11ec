/* Names and texts of the error codes, made from the one list in error.h. */
#include "xev/error.h"

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
