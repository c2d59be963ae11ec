/*
 * What the benchmark programs share: number parsing, CPU pinning, the listening socket, the ready
 * line and exit on SIGTERM. The servers here are references to measure against, so nothing here may
 * use the library under test.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdbool.h>
#include <stdint.h>

struct bench_server_options {
    const char *host; /* numeric IPv4 address */
    uint16_t port;    /* 0 = any free port */
    int cpu;          /* CPU to pin the process to, -1 = not pinned */
};

/* Prints "PROGRAM: message" and exits with status 2. */
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Like bench_die, but takes a positive errno value and appends its text. */
_Noreturn void bench_die_errno(int error, const char *what);

/* Parses a decimal integer in [min, max]; dies naming the flag if it is anything else. */
int64_t bench_parse_int(const char *flag, const char *text, int64_t min, int64_t max);

/* Parses a decimal number of seconds in [0, 3600]; dies naming the flag if it is anything else. */
double bench_parse_seconds(const char *flag, const char *text);

/* Pins the calling process to one CPU; cpu < 0 does nothing. */
void bench_pin(int cpu);

/*
 * Parses --host --port --cpu into options (preset to 127.0.0.1, 0, -1) and returns the index of
 * the first argument it did not take: 0 when all were taken. Call again with a start past it.
 */
int bench_parse_server_flag(struct bench_server_options *options, int argc, char **argv, int index);

/*
 * Opens a listening, close-on-exec TCP socket. TCP_NODELAY is set on the listener, because Linux
 * lets accepted sockets inherit it, which saves a system call per connection.
 */
int bench_listen(const struct bench_server_options *options, bool nonblocking);

/* Prints "listening on HOST:PORT" with the real port and flushes stdout. */
void bench_print_ready(int listener, const char *host);

/* SIGTERM and SIGINT end the process at once with status 0; SIGPIPE is ignored. */
void bench_exit_on_sigterm(void);

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t bench_now_ns(void);

#endif
