/* The choice of a loop's backend. The option decides; without it the environment variable
 * XEV_BACKEND; without that the platform's order of preference. In that order a backend that cannot
 * be initialised, for whatever reason, is passed over. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xev/core/core.h"

/* All there are on any system, as XEV_BACKEND names them. */
static const char *const names[] = {
    [XEV_BACKEND_AUTO] = "auto",   [XEV_BACKEND_IO_URING] = "io_uring",
    [XEV_BACKEND_EPOLL] = "epoll", [XEV_BACKEND_KQUEUE] = "kqueue",
    [XEV_BACKEND_IOCP] = "iocp",   [XEV_BACKEND_WASI_POLL] = "wasi_poll",
};
_Static_assert(sizeof names / sizeof names[0] == XEV_BACKEND_LAST + 1, "each has a name");

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
    if (*kind != XEV_BACKEND_AUTO || name == NULL || *name == '\0') {
        return 0;
    }
    for (int i = 0; i <= XEV_BACKEND_LAST; i++) {
        if (strcmp(name, names[i]) == 0) {
            *kind = (xev_backend_kind)i;
            return 0;
        }
    }
    return refuse_choice(loop, XEV_EINVAL, "XEV_BACKEND: no such backend", name);
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
    rc = refuse_choice(loop, XEV_ENOTSUP, "not built in", names[kind]);
    for (size_t i = 0; xev__backends[i] != NULL; i++) {
        if (kind != XEV_BACKEND_AUTO && xev__backends[i]->kind != kind) {
            continue;
        }
        char why[sizeof loop->fallback] = "";
        loop->ops = xev__backends[i];
        rc = xev__backends[i]->init(loop, why, sizeof why);
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
