/*
 * An echo server on libuv, to compare with, in three forms.
 *
 * Plain (the default): one read buffer for all connections, since libuv calls alloc and read one
 * after the other. Each echo is one uv_write, whose request is allocated together with a copy of
 * the bytes.
 * --try-write: uv_try_write sends from the read buffer, and only what the socket did not take goes
 * into a request.
 * --guide: the form of libuv's own guide and tests, with a 64 KiB read buffer from malloc for each
 * read, which is freed with its request. It is slower than the plain form, as the C library returns
 * blocks of that size to the kernel.
 */
#include "bench/common.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct write_request {
    uv_write_t request;
    char *memory; /* freed with the request; NULL = the bytes follow the request */
    char bytes[];
};

static bool try_write;
static bool guide;
static char shared_buffer[64 * 1024];

static void check(int result, const char *what) {
    if (result < 0) {
        bench_die("%s: %s", what, uv_strerror(result));
    }
}

static void on_close(uv_handle_t *handle) { free(handle); }

static void close_stream(uv_stream_t *stream) {
    if (!uv_is_closing((uv_handle_t *)stream)) {
        uv_close((uv_handle_t *)stream, on_close);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested_len, uv_buf_t *buf) {
    (void)handle;
    if (!guide) {
        *buf = uv_buf_init(shared_buffer, sizeof shared_buffer);
        return;
    }
    char *memory = malloc(suggested_len);
    *buf = uv_buf_init(memory, memory == NULL ? 0 : (unsigned)suggested_len);
}

static void on_write(uv_write_t *request, int status) {
    struct write_request *write = (struct write_request *)request;
    if (status < 0) {
        close_stream(request->handle);
    }
    free(write->memory);
    free(write);
}

static void start_write(uv_stream_t *stream, struct write_request *write, char *data, size_t len) {
    uv_buf_t buf = uv_buf_init(data, (unsigned)len);
    if (uv_write(&write->request, stream, &buf, 1, on_write) < 0) {
        free(write->memory);
        free(write);
        close_stream(stream);
    }
}

static void write_copy(uv_stream_t *stream, const char *data, size_t len) {
    struct write_request *write = malloc(sizeof *write + len);
    if (write == NULL) {
        close_stream(stream);
        return;
    }
    write->memory = NULL;
    memcpy(write->bytes, data, len);
    start_write(stream, write, write->bytes, len);
}

static void write_taking(uv_stream_t *stream, char *memory, size_t len) {
    struct write_request *write = malloc(sizeof *write);
    if (write == NULL) {
        free(memory);
        close_stream(stream);
        return;
    }
    write->memory = memory;
    start_write(stream, write, memory, len);
}

static void write_now(uv_stream_t *stream, char *data, size_t len) {
    uv_buf_t buf = uv_buf_init(data, (unsigned)len);
    int done = uv_try_write(stream, &buf, 1);
    if (done < 0 && done != UV_EAGAIN) {
        close_stream(stream);
        return;
    }
    size_t written = done > 0 ? (size_t)done : 0;
    if (written < len) {
        write_copy(stream, data + written, len - written);
    }
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf) {
    if (len <= 0 && guide) {
        free(buf->base);
    }
    if (len < 0) {
        close_stream(stream);
    } else if (len > 0 && guide) {
        write_taking(stream, buf->base, (size_t)len);
    } else if (len > 0 && try_write) {
        write_now(stream, buf->base, (size_t)len);
    } else if (len > 0) {
        write_copy(stream, buf->base, (size_t)len);
    }
}

static void on_connection(uv_stream_t *listener, int status) {
    if (status < 0) {
        return;
    }
    uv_tcp_t *tcp = malloc(sizeof *tcp);
    if (tcp == NULL) {
        return;
    }
    check(uv_tcp_init(listener->loop, tcp), "uv_tcp_init");
    if (uv_accept(listener, (uv_stream_t *)tcp) != 0 || uv_tcp_nodelay(tcp, 1) != 0 ||
        uv_read_start((uv_stream_t *)tcp, on_alloc, on_read) != 0) {
        close_stream((uv_stream_t *)tcp);
    }
}

int main(int argc, char **argv) {
    struct bench_server_options options = {.host = "127.0.0.1", .cpu = -1};
    int at = 1;
    while ((at = bench_parse_server_flag(&options, argc, argv, at)) != 0) {
        try_write |= strcmp(argv[at], "--try-write") == 0;
        guide |= strcmp(argv[at], "--guide") == 0;
        if (strcmp(argv[at], "--try-write") != 0 && strcmp(argv[at], "--guide") != 0) {
            bench_die("unknown flag '%s' (known: --host --port --cpu --try-write --guide)",
                      argv[at]);
        }
        ++at;
    }
    if (guide && try_write) {
        bench_die("--guide and --try-write exclude each other");
    }
    bench_pin(options.cpu);
    bench_exit_on_sigterm();

    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in address;
    uv_os_fd_t fd = -1;
    check(uv_ip4_addr(options.host, options.port, &address), "--host");
    check(uv_tcp_init(loop, &listener), "uv_tcp_init");
    check(uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0), "uv_tcp_bind");
    check(uv_listen((uv_stream_t *)&listener, 4096, on_connection), "uv_listen");
    check(uv_fileno((uv_handle_t *)&listener, &fd), "uv_fileno");
    bench_print_ready(fd, options.host);
    return uv_run(loop, UV_RUN_DEFAULT);
}
