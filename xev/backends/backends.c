/* Which backend a loop gets: the option, else the environment's XEV_BACKEND, else the platform's
 * order of preference, where what cannot be made, for whatever reason, is passed over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xev/core/core.h"

/* In order of preference. */
static const struct xev_backend_ops *const backends[] = {
#if !defined(XEV_NO_IO_URING)
    &xev__io_uring_ops,
#endif
    &xev__epoll_ops,
};
#define COUNT (sizeof backends / sizeof backends[0])

static const struct {
    const char *name;
    uint32_t bit;
} features[] = {
    {"defer_taskrun", XEV_FEATURE_DEFER_TASKRUN},
    {"submit_all", XEV_FEATURE_SUBMIT_ALL},
    {"registered_ring", XEV_FEATURE_REGISTERED_RING},
    {"multishot_accept", XEV_FEATURE_MULTISHOT_ACCEPT},
    {"multishot_recv", XEV_FEATURE_MULTISHOT_RECV},
    {"buffer_ring", XEV_FEATURE_BUFFER_RING},
    {"all", XEV_FEATURE_ALL},
};

static int fail(xev_loop *loop, int code, const char *what, const char *value) {
    snprintf(loop->fallback, sizeof loop->fallback, "%s: %.60s", what, value);
    return code;
}

static int disabled_by_environment(xev_loop *loop) {
    const char *text = getenv("XEV_DISABLE");
    while (text != NULL && *text != '\0') {
        size_t len = strcspn(text, ",");
        bool known = len == 0;
        for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
            if (strlen(features[i].name) == len && strncmp(features[i].name, text, len) == 0) {
                loop->options.disable |= features[i].bit;
                known = true;
            }
        }
        if (!known) {
            return fail(loop, XEV_EINVAL, "XEV_DISABLE: no such feature", text);
        }
        text += len + (text[len] == ',');
    }
    return 0;
}

static int wanted(xev_loop *loop, xev_backend_kind *kind) {
    *kind = loop->options.backend;
    const char *name = getenv("XEV_BACKEND");
    if (*kind != XEV_BACKEND_AUTO || name == NULL || *name == '\0' || strcmp(name, "auto") == 0) {
        return 0;
    }
    if (strcmp(name, "io_uring") == 0) {
        *kind = XEV_BACKEND_IO_URING;
    } else if (strcmp(name, "epoll") == 0) {
        *kind = XEV_BACKEND_EPOLL;
    } else {
        return fail(loop, XEV_EINVAL, "XEV_BACKEND: no such backend", name);
    }
    return 0;
}

int xev__backend_choose(xev_loop *loop) {
    xev_backend_kind kind;
    int rc = wanted(loop, &kind);
    if (rc == 0) {
        rc = disabled_by_environment(loop);
    }
    if (rc < 0) {
        return rc;
    }
    rc = fail(loop, XEV_ENOTSUP, "not built in", kind == XEV_BACKEND_EPOLL ? "epoll" : "io_uring");
    for (size_t i = 0; i < COUNT; i++) {
        if (kind != XEV_BACKEND_AUTO && backends[i]->kind != kind) {
            continue;
        }
        char why[sizeof loop->fallback] = "";
        loop->ops = backends[i];
        rc = backends[i]->init(loop, why, sizeof why);
        if (rc == 0) {
            if (i == 0 || kind != XEV_BACKEND_AUTO) {
                loop->fallback[0] = '\0';
            }
            return 0;
        }
        memcpy(loop->fallback, why, sizeof why);
    }
    return rc;
}
