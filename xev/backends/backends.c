/* The choice of a loop's backend. The option decides; without it the environment variable
 * XEV_BACKEND; without that the platform's order of preference. In that order a backend that cannot
 * be initialised, for whatever reason, is passed over. */
#include <assert.h>
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

/* Note the reason for the failure in loop->fallback. Returns code. */
static int refuse_choice(xev_loop *loop, int code, const char *what, const char *value) {
    assert(code < 0);
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
            return refuse_choice(loop, XEV_EINVAL, "XEV_DISABLE: no such feature", text);
        }
        text += len + (text[len] == ',');
    }
    return 0;
}

static int wanted_backend(xev_loop *loop, xev_backend_kind *kind) {
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
        return refuse_choice(loop, XEV_EINVAL, "XEV_BACKEND: no such backend", name);
    }
    return 0;
}

int xev__backend_choose(xev_loop *loop) {
    assert(loop->ops == NULL && loop->backend == NULL);
    xev_backend_kind kind;
    int rc = wanted_backend(loop, &kind);
    if (rc == 0) {
        rc = disabled_by_environment(loop);
    }
    if (rc < 0) {
        return rc;
    }
    rc = refuse_choice(loop, XEV_ENOTSUP, "not built in",
                       kind == XEV_BACKEND_EPOLL ? "epoll" : "io_uring");
    for (size_t i = 0; i < COUNT; i++) {
        if (kind != XEV_BACKEND_AUTO && backends[i]->kind != kind) {
            continue;
        }
        char why[sizeof loop->fallback] = "";
        loop->ops = backends[i];
        rc = backends[i]->init(loop, why, sizeof why);
        if (rc == 0) {
            assert(loop->backend != NULL);
            if (i == 0 || kind != XEV_BACKEND_AUTO) {
                loop->fallback[0] = '\0';
            }
            return 0;
        }
        memcpy(loop->fallback, why, sizeof why);
    }
    return rc;
}
