/*
 * An echo server on bare epoll, as a limit to compare with: one thread, edge-triggered events,
 * direct calls of read and write. All connections share one buffer. Bytes that cannot be written at
 * once are copied aside, and the connection is not read from until they are written. So memory is
 * bounded.
 */
#include "bench/common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS_PER_WAIT = 512,
    BUFFER_BYTES = 64 * 1024,
    READS_PER_TURN = 16, /* then other connections have their turn */
};

struct conn {
    int fd;
    char *aside; /* NULL, or the unwritten rest, malloc'd */
    size_t aside_at;
    size_t aside_len;
    bool ready_again; /* stopped by READS_PER_TURN: data may wait, for which no new edge comes */
    bool hung_up;     /* the end of the stream was announced: read up to it, as no edge follows */
    struct conn *next_ready;
    struct conn *next_closed;
};

struct server {
    int epoll_fd;
    int listener;
    struct conn *ready;  /* connections with ready_again */
    struct conn *closed; /* freed after the batch: later events of the batch may name them */
    char buffer[BUFFER_BYTES];
};

static void conn_close(struct server *server, struct conn *conn) {
    close(conn->fd);
    conn->fd = -1;
    free(conn->aside);
    conn->aside = NULL;
    conn->next_closed = server->closed;
    server->closed = conn;
}

/* Writes what it can; returns the bytes written, or -1 when the connection is broken. */
static ssize_t write_some(int fd, const char *data, size_t len) {
    size_t done = 0;
    while (done < len) {
        ssize_t n = send(fd, data + done, len - done, MSG_NOSIGNAL);
        if (n > 0) {
            done += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            break;
        } else if (n < 0 && errno != EINTR) {
            return -1;
        }
    }
    return (ssize_t)done;
}

/* Returns 1 when nothing is left aside, 0 when the peer must read first, -1 when broken. */
static int flush_aside(struct conn *conn) {
    if (conn->aside == NULL) {
        return 1;
    }
    ssize_t n = write_some(conn->fd, conn->aside + conn->aside_at, conn->aside_len);
    if (n < 0) {
        return -1;
    }
    conn->aside_at += (size_t)n;
    conn->aside_len -= (size_t)n;
    if (conn->aside_len > 0) {
        return 0;
    }
    free(conn->aside);
    conn->aside = NULL;
    return 1;
}

/* Echoes len bytes of the shared buffer, putting the rest aside; same results as flush_aside. */
static int echo(struct server *server, struct conn *conn, size_t len) {
    ssize_t n = write_some(conn->fd, server->buffer, len);
    if (n < 0) {
        return -1;
    }
    if ((size_t)n == len) {
        return 1;
    }
    conn->aside_len = len - (size_t)n;
    conn->aside_at = 0;
    conn->aside = malloc(conn->aside_len);
    if (conn->aside == NULL) {
        return -1;
    }
    memcpy(conn->aside, server->buffer + n, conn->aside_len);
    return 0;
}

static void conn_event(struct server *server, struct conn *conn) {
    int flushed = flush_aside(conn);
    if (flushed < 0) {
        conn_close(server, conn);
    }
    if (flushed <= 0) {
        return;
    }
    for (int reads = 0; reads < READS_PER_TURN; ++reads) {
        ssize_t n = recv(conn->fd, server->buffer, sizeof server->buffer, 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return;
        }
        int echoed = n > 0 ? echo(server, conn, (size_t)n) : -1;
        if (echoed < 0) {
            conn_close(server, conn);
        }
        /* A short read emptied the socket, and what arrives later makes a new edge. */
        if (echoed <= 0 || ((size_t)n < sizeof server->buffer && !conn->hung_up)) {
            return;
        }
    }
    if (!conn->ready_again) {
        conn->ready_again = true;
        conn->next_ready = server->ready;
        server->ready = conn;
    }
}

static void accept_all(struct server *server) {
    for (;;) {
        int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED) {
                continue;
            }
            return; /* the backlog is empty; or no descriptor is left, and the level-triggered event
                       comes again */
        }
        struct conn *conn = calloc(1, sizeof *conn);
        struct epoll_event event = {
            .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
            .data.ptr = conn,
        };
        if (conn == NULL || epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
            free(conn);
            close(fd);
            continue;
        }
        conn->fd = fd;
    }
}

/* Runs the connections that were stopped for fairness, once each. */
static void run_ready(struct server *server) {
    struct conn *conn = server->ready;
    server->ready = NULL;
    while (conn != NULL) {
        struct conn *next = conn->next_ready;
        conn->ready_again = false;
        if (conn->fd >= 0) {
            conn_event(server, conn);
        }
        conn = next;
    }
}

static void free_closed(struct server *server) {
    while (server->closed != NULL) {
        struct conn *next = server->closed->next_closed;
        free(server->closed);
        server->closed = next;
    }
}

static _Noreturn void serve(struct server *server) {
    struct epoll_event events[EVENTS_PER_WAIT];
    for (;;) {
        int timeout_ms = server->ready != NULL ? 0 : -1;
        int count = epoll_wait(server->epoll_fd, events, EVENTS_PER_WAIT, timeout_ms);
        if (count < 0 && errno != EINTR) {
            bench_die_errno(errno, "epoll_wait");
        }
        for (int i = 0; i < count; ++i) {
            struct conn *conn = events[i].data.ptr;
            if (conn == NULL) {
                accept_all(server);
            } else if (conn->fd >= 0) {
                conn->hung_up |= (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
                conn_event(server, conn);
            }
        }
        run_ready(server);
        /* A connection closed while it stands in the ready list waits there one turn more. */
        if (server->ready == NULL) {
            free_closed(server);
        }
    }
}

int main(int argc, char **argv) {
    struct bench_server_options options = {.host = "127.0.0.1", .cpu = -1};
    int unknown = bench_parse_server_flag(&options, argc, argv, 1);
    if (unknown != 0) {
        bench_die("unknown flag '%s' (known: --host --port --cpu)", argv[unknown]);
    }
    bench_pin(options.cpu);
    bench_exit_on_sigterm();

    static struct server server;
    server.listener = bench_listen(&options, true);
    server.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (server.epoll_fd < 0 ||
        epoll_ctl(server.epoll_fd, EPOLL_CTL_ADD, server.listener, &event) != 0) {
        bench_die_errno(errno, "epoll");
    }
    bench_print_ready(server.listener, options.host);
    serve(&server);
}
