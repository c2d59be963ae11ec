/*
 * An echo server on libevent, to compare with: a bufferevent per connection, whose input buffer is
 * moved to its output buffer, as in libevent's own documentation.
 */
#include "bench/common.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <string.h>
#include <sys/socket.h>

static void on_read(struct bufferevent *connection, void *arg) {
    (void)arg;
    evbuffer_add_buffer(bufferevent_get_output(connection), bufferevent_get_input(connection));
}

static void on_event(struct bufferevent *connection, short events, void *arg) {
    (void)arg;
    if ((events & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0) {
        bufferevent_free(connection);
    }
}

static void on_connection(struct evconnlistener *listener, evutil_socket_t fd,
                          struct sockaddr *address, int len, void *arg) {
    (void)listener;
    (void)address;
    (void)len;
    struct bufferevent *connection = bufferevent_socket_new(arg, fd, BEV_OPT_CLOSE_ON_FREE);
    if (connection == NULL) {
        bench_die("bufferevent_socket_new");
    }
    bufferevent_setcb(connection, on_read, NULL, on_event, NULL);
    bufferevent_enable(connection, EV_READ | EV_WRITE);
}

int main(int argc, char **argv) {
    struct bench_server_options options = {.host = "127.0.0.1", .cpu = -1};
    int at = bench_parse_server_flag(&options, argc, argv, 1);
    if (at != 0) {
        bench_die("unknown flag '%s' (known: --host --port --cpu)", argv[at]);
    }
    bench_pin(options.cpu);
    bench_exit_on_sigterm();
    int fd = bench_listen(&options, true);
    struct event_base *base = event_base_new();
    struct evconnlistener *listener =
        base == NULL ? NULL : evconnlistener_new(base, on_connection, base, 0, 0, fd);
    if (listener == NULL) {
        bench_die("no event base or listener");
    }
    bench_print_ready(fd, options.host);
    return event_base_dispatch(base) == 0 ? 0 : 1;
}
