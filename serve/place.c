/* Where a service is: its address, and its listeners. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "serve/internal.h"
#include "xev/tcp.h"
#include "xev/unix.h"

#define MODE_MAX 07777u /* permissions that a file can have */

int xev__serve_fail_why(const xev_service *v, xev_shard *shard, int code, const char *step,
                        const char *why) {
    return xev_shard_fail_why(shard, code, step, v->options.name, v->options.address, why);
}

int xev__serve_fail(const xev_service *v, xev_shard *shard, int code, const char *step) {
    return xev__serve_fail_why(v, shard, code, step, "");
}

/* ---- addresses ---- */

bool xev__serve_parse_number(const char *text, uint32_t max, uint32_t *number) {
    uint64_t n = 0;
    const char *p = text;
    for (; *p >= '0' && *p <= '9' && n <= max; p++) {
        n = n * 10 + (uint64_t)(*p - '0');
    }
    *number = (uint32_t)n;
    return p > text && *p == '\0' && n <= max;
}

bool xev__serve_is_systemd(const xev_service *v) {
    return strncmp(v->options.address, "systemd:", 8) == 0;
}

static bool is_descriptor(const xev_service *v) {
    return strncmp(v->options.address, "fd:", 3) == 0;
}

void xev__serve_take_descriptor(xev_service *v) {
    uint32_t fd;
    assert(v->fd == XEV_INVALID_FD);
    if (!is_descriptor(v) || !xev__serve_parse_number(v->options.address + 3, INT_MAX, &fd)) {
        return;
    }
    for (const xev_service *o = v->serve->services; o != v; o = o->next) {
        if (o->fd == (xev_fd)fd) {
            return;
        }
    }
    v->fd = (xev_fd)fd;
    xev__serve_take_number(v->fd);
}

static int parse_address(xev_service *v, const char **step, const char **why) {
    const char *text = v->options.address;
    *step = "address";
    *why = "";
    if (xev__serve_is_systemd(v)) {
        v->place = XEV__PLACE_FD;
        text += strlen("systemd:");
        *why = "no name or number of a socket";
        return *text == '\0' ? XEV_EINVAL : xev__serve_take_inherited(text, &v->fd, step, why);
    }
    if (is_descriptor(v)) {
        uint32_t fd;
        v->place = XEV__PLACE_FD;
        *why = xev__serve_parse_number(text + 3, INT_MAX, &fd) ? "another service has it"
                                                               : "no number of a descriptor";
        return v->fd != XEV_INVALID_FD ? 0 : XEV_EINVAL;
    }
    v->place = strncmp(text, "unix:", 5) == 0 ? XEV__PLACE_UNIX : XEV__PLACE_TCP;
    int rc = xev_addr_from_text(&v->addr, text);
    if (rc == XEV_EINVAL) {
        *why = "no address: 127.0.0.1:80, [::1]:80, unix:PATH, unix:@NAME, fd:N or systemd:NAME";
    }
    return rc;
}

int xev__serve_understand(xev_service *v, xev_shard *shard) {
    const char *step, *why;
    int rc = parse_address(v, &step, &why);
    if (rc < 0) {
        return xev__serve_fail_why(v, shard, rc, step, why);
    }
    bool tcp = v->place == XEV__PLACE_TCP;
    v->policy = v->options.policy;
    if (v->policy == XEV_SERVE_AUTO) {
        v->policy = tcp ? XEV_SERVE_HASH : XEV_SERVE_LEAST;
    }
    bool of_kernel = v->policy == XEV_SERVE_HASH || v->policy == XEV_SERVE_CPU;
    if ((unsigned)v->policy > XEV_SERVE_SINGLE || (of_kernel && !tcp)) {
        return xev__serve_fail_why(v, shard, XEV_ENOTSUP, "policy",
                                   of_kernel ? "HASH and CPU are for addresses of TCP, not for "
                                               "Unix sockets and descriptors"
                                             : "no policy of that number");
    }
    if (of_kernel && !xev__serve_shares_ports()) {
        v->policy = XEV_SERVE_LEAST;
    }
    const xev_serve *serve = v->serve;
    if (v->policy == XEV_SERVE_CPU && serve->shards > serve->cpus_len) {
        v->policy = XEV_SERVE_HASH; /* some shards would get nothing */
    }
    return 0;
}

/* ---- listeners ---- */

/* A limit of what the system holds of each connection: where none is wanted, and memory is short, a
 * part of that which leaves room for some thousand peers that read nothing, or are not read. */
static uint32_t system_max(const xev_service *v, uint32_t wanted, uint32_t part) {
    if (wanted != 0 || !xev__serve_is_short_of_memory(v->serve)) {
        return wanted != 0 ? wanted : UINT32_MAX;
    }
    uint64_t share = v->serve->memory / part;
    return share > 4096 ? (uint32_t)share : 4096;
}

static uint32_t unsent_max(const xev_service *v) {
    return system_max(v, v->options.unsent_bytes, 16384);
}

/* SO_SNDBUF of the connections of a Unix socket; 0: the system's. */
static uint32_t local_send_bytes(const xev_service *v) {
    uint32_t unsent = unsent_max(v);
    return unsent != UINT32_MAX ? (unsent + 1) / 2 : 0; /* the system doubles it */
}

uint32_t xev__serve_unsent_max(const xev_service *v) {
    uint32_t max = v->place != XEV__PLACE_UNIX ? unsent_max(v) : UINT32_MAX;
    return max != UINT32_MAX ? max : 0;
}

static int listen_tcp(struct xev__served *d, const char **step) {
    xev_service *v = d->service;
    uint32_t ms = v->options.keepalive_ms;
    *step = "listen";
    int rc = xev_shard_listen(d->shard, &d->listener, &v->addr, v->options.backlog, d,
                              xev__serve_on_accept);
    if (rc == 0 && ms != UINT32_MAX) { /* connections inherit it */
        *step = "keepalive_ms";
        rc = xev_tcp_set_keepalive(xev_listener_tcp(&d->listener), ms != 0 ? ms : 60000);
    }
    uint32_t unread = system_max(v, v->options.unread_bytes, 16384);
    if (rc == 0 && unread != UINT32_MAX) {
        *step = "unread_bytes";
        rc = xev_tcp_set_buffers(xev_listener_tcp(&d->listener), 0, unread);
    }
    uint32_t unsent = unsent_max(v);
    if (rc == 0 && unsent != UINT32_MAX) {
        *step = "unsent_bytes";
        rc = xev__serve_limit_unsent(xev_listener_tcp(&d->listener).fd, unsent);
    }
    return rc;
}

static const char *path_of_service(const xev_service *v) { return v->options.address + 5; }

static bool has_file(const xev_service *v) {
    return v->place == XEV__PLACE_UNIX && path_of_service(v)[0] != '@';
}

void xev__serve_unlink(xev_service *v) {
    if (has_file(v) && v->file.number != 0) {
        xev__serve_remove(path_of_service(v), &v->file);
        v->file = (struct xev__serve_file){0};
    }
}

/* Bind, listen, set the permissions. *made: the file is this process's. */
static int bind_unix(xev_service *v, xev_unix sock, const char **step, bool *made) {
    uint32_t mode = v->options.file_mode != 0 ? v->options.file_mode : 0600;
    int rc = 0;
    *step = "mode";
    if (has_file(v)) { /* before the bind: at no moment may others connect who must not */
        rc = xev__serve_limit_mode(sock.fd, mode);
    }
    if (rc == 0) {
        *step = "bind";
        rc = xev_unix_bind(sock, &v->addr, XEV_UNIX_STALE);
        *made = rc == 0 && has_file(v);
    }
    if (rc == 0) {
        /* At once: a socket that does not listen looks stale to another process. */
        *step = "listen";
        rc = xev_unix_listen(sock, v->options.backlog > 0 ? v->options.backlog : 4096);
    }
    if (rc == 0 && has_file(v)) {
        *step = "mode";
        rc = xev__serve_set_mode(path_of_service(v), mode, &v->file);
    }
    return rc;
}

static int listen_unix(struct xev__served *d, const char **step) {
    xev_service *v = d->service;
    xev_unix sock;
    *step = "listen";
    if (v->options.backlog < 0) {
        return XEV_EINVAL;
    }
    *step = "mode";
    if (v->options.file_mode > MODE_MAX) {
        return XEV_EINVAL; /* the system would drop the bits above */
    }
    *step = "socket";
    int rc = xev_unix_init(&sock, XEV_UNIX_STREAM);
    if (rc < 0) {
        return rc;
    }
    bool made = false;
    rc = bind_unix(v, sock, step, &made);
    if (rc == 0) {
        *step = "listen";
        rc = xev_shard_listen_fd(d->shard, &d->listener, sock.fd, false, d, xev__serve_on_accept);
    }
    if (rc < 0) {
        if (v->file.number != 0) {
            xev__serve_unlink(v);
        } else if (made && rc != XEV_ENOTSOCK) { /* else somebody has replaced it */
            xev__serve_remove(path_of_service(v), NULL);
        }
        (void)xev_unix_close_now(sock);
    }
    return rc;
}

static int listen_fd(struct xev__served *d, const char **step) {
    xev_service *v = d->service;
    *step = "descriptor";
    int rc = xev__serve_keep_to_self(v->fd);
    if (rc == 0) {
        rc = xev_shard_listen_fd(d->shard, &d->listener, v->fd, true, d, xev__serve_on_accept);
    }
    if (rc == 0) {
        v->fd = XEV_INVALID_FD; /* the listener closes it */
    }
    return rc;
}

/* When the last shard listens. Where the system does not do it, its hash stays. */
static void spread_by_cpu(struct xev__served *d) {
    const xev_serve *serve = d->service->serve;
    if (xev_shard_id(d->shard) == serve->shards - 1 &&
        xev__serve_spread_by_cpu(xev_listener_tcp(&d->listener).fd, serve->cpus, serve->cpus_len,
                                 serve->shards) < 0) {
        d->service->policy = XEV_SERVE_HASH;
    }
}

/* In words, where the code's text says too little. */
static const char *why_not_listening(const xev_service *v, int code, const char *step) {
    bool of_descriptor = strcmp(step, "descriptor") == 0;
    return of_descriptor && code == XEV_EBADF        ? "the process has no such descriptor open"
           : of_descriptor && code == XEV_EPROTOTYPE ? "it is no stream socket"
           : of_descriptor && code == XEV_EINVAL     ? "it is a socket that does not listen"
           : v->options.backlog < 0 && strcmp(step, "listen") == 0 ? "backlog is below 0"
           : v->options.file_mode > MODE_MAX && strcmp(step, "mode") == 0
               ? "file_mode is above 07777"
               : "";
}

int xev__serve_listen(struct xev__served *d) {
    xev_service *v = d->service;
    bool first = xev_shard_id(d->shard) == 0;
    const char *step = "";
    bool all_listen = v->place == XEV__PLACE_TCP && v->policy != XEV_SERVE_SINGLE &&
                      v->policy != XEV_SERVE_DEAL && xev__serve_shares_ports();
    if (!first && !all_listen) {
        return 0;
    }
    assert(first || v->bound);
    int rc = v->place == XEV__PLACE_TCP    ? listen_tcp(d, &step)
             : v->place == XEV__PLACE_UNIX ? listen_unix(d, &step)
                                           : listen_fd(d, &step);
    if (rc == 0 && first) { /* with port 0, where the others are to listen too */
        rc = xev_listener_addr(&d->listener, &v->addr);
        v->bound = rc == 0;
        v->send_bytes = xev_addr_family(&v->addr) == XEV_AF_UNIX ? local_send_bytes(v) : 0;
    }
    if (rc == 0 && v->policy == XEV_SERVE_CPU) {
        spread_by_cpu(d);
    }
    return rc < 0 ? xev__serve_fail_why(v, d->shard, rc, step, why_not_listening(v, rc, step)) : 0;
}
