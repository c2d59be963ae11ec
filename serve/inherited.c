/* Descriptors that the process was started with, by systemd's convention: LISTEN_FDS of them, from
 * number 3 on, for the process LISTEN_PID, with the names of LISTEN_FDNAMES. */
#include <stdlib.h>
#include <string.h>

#include "serve/internal.h"

#define FIRST_FD 3
#define SOCKETS_MAX 65536u

static struct {
    pthread_mutex_t lock;
    bool looked; /* at the environment */
    int result;  /* how many there are, or a code */
    xev_serve_socket *sockets;
    char *names;
} inherited = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* As many names, with colons between, as there are sockets. */
static int name_sockets(uint32_t count, char *names) {
    char *at = names;
    for (uint32_t i = 0; i < count; i++) {
        char *colon = at != NULL ? strchr(at, ':') : NULL;
        if (at == NULL) {
            return XEV_EINVAL;
        }
        inherited.sockets[i].name = at;
        if (colon != NULL) {
            *colon = '\0';
        }
        at = colon != NULL ? colon + 1 : NULL;
    }
    return at == NULL ? 0 : XEV_EINVAL;
}

static int read_sockets(void) {
    const char *fds = getenv("LISTEN_FDS"), *pid = getenv("LISTEN_PID");
    const char *names = getenv("LISTEN_FDNAMES");
    uint32_t count, process;
    if (fds == NULL || pid == NULL) {
        return 0;
    }
    if (!xev__serve_parse_number(pid, UINT32_MAX, &process) ||
        !xev__serve_parse_number(fds, SOCKETS_MAX, &count)) {
        return XEV_EINVAL;
    }
    if (process != xev__serve_process() || count == 0) {
        return 0;
    }
    inherited.sockets = calloc(count, sizeof *inherited.sockets);
    inherited.names = names != NULL ? strdup(names) : NULL;
    if (inherited.sockets == NULL || (names != NULL && inherited.names == NULL)) {
        return XEV_ENOMEM;
    }
    int rc = 0;
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        inherited.sockets[i] = (xev_serve_socket){.fd = FIRST_FD + (xev_fd)i, .name = "unknown"};
        rc = xev__serve_keep_to_self(inherited.sockets[i].fd);
    }
    if (rc == 0 && names != NULL) {
        rc = name_sockets(count, inherited.names);
    }
    return rc < 0 ? rc : (int)count;
}

static int look_locked(void) {
    if (!inherited.looked) {
        inherited.looked = true;
        inherited.result = read_sockets();
        /* They are not for the programs that this one executes. */
        xev__serve_forget_environment("LISTEN_FDS");
        xev__serve_forget_environment("LISTEN_PID");
        xev__serve_forget_environment("LISTEN_FDNAMES");
    }
    return inherited.result;
}

int xev_serve_inherited(xev_serve_socket *sockets, uint32_t max) {
    xev__serve_check(sockets != NULL || max == 0, "xev_serve_inherited", "sockets are null");
    pthread_mutex_lock(&inherited.lock);
    int rc = look_locked();
    for (int i = 0; i < rc && (uint32_t)i < max; i++) {
        sockets[i] = inherited.sockets[i];
    }
    pthread_mutex_unlock(&inherited.lock);
    return rc;
}

static xev_serve_socket *find_locked(int count, const char *which) {
    uint32_t number;
    if (xev__serve_parse_number(which, SOCKETS_MAX, &number)) {
        return (int)number < count && inherited.sockets[number].fd != XEV_INVALID_FD
                   ? &inherited.sockets[number]
                   : NULL;
    }
    for (int i = 0; i < count; i++) {
        xev_serve_socket *s = &inherited.sockets[i];
        if (s->fd != XEV_INVALID_FD && strcmp(s->name, which) == 0) {
            return s;
        }
    }
    return NULL;
}

int xev__serve_take_inherited(const char *which, xev_fd *fd, const char **step, const char **why) {
    pthread_mutex_lock(&inherited.lock);
    int rc = look_locked();
    *step = "LISTEN_FDS";
    if (rc == 0) {
        rc = XEV_ENXIO;
        *why = "the process was started with no sockets: LISTEN_FDS or LISTEN_PID is not set, or "
               "of another process";
    } else if (rc < 0) {
        *why = rc == XEV_EBADF    ? "it counts more sockets than are open, from descriptor 3 on"
               : rc == XEV_EINVAL ? "LISTEN_FDS or LISTEN_PID is no number, or LISTEN_FDNAMES has "
                                    "not one name for each socket"
                                  : "";
    } else {
        xev_serve_socket *s = find_locked(rc, which);
        *step = "LISTEN_FDNAMES";
        *why = "no socket of that name or number, or a service has taken it";
        rc = s != NULL ? 0 : XEV_ENOENT;
        if (s != NULL) {
            *fd = s->fd;
            s->fd = XEV_INVALID_FD;
        }
    }
    pthread_mutex_unlock(&inherited.lock);
    return rc;
}

void xev__serve_take_number(xev_fd fd) {
    pthread_mutex_lock(&inherited.lock);
    for (int i = 0; inherited.looked && i < inherited.result; i++) {
        if (inherited.sockets[i].fd == fd) {
            inherited.sockets[i].fd = XEV_INVALID_FD;
        }
    }
    pthread_mutex_unlock(&inherited.lock);
}
