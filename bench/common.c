/* What the benchmark programs share; see common.h. */
#include "bench/common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 4096 };

void bench_die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(2);
}

void bench_die_errno(int error, const char *what) { bench_die("%s: %s", what, strerror(error)); }

int64_t bench_parse_int(const char *flag, const char *text, int64_t min, int64_t max) {
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < min || value > max) {
        bench_die("%s needs an integer from %lld to %lld, not '%s'", flag, (long long)min,
                  (long long)max, text);
    }
    return value;
}

double bench_parse_seconds(const char *flag, const char *text) {
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0.0 && value <= 3600.0)) {
        bench_die("%s needs seconds from 0 to 3600, not '%s'", flag, text);
    }
    return value;
}

void bench_pin(int cpu) {
    if (cpu < 0) {
        return;
    }
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        bench_die("cannot pin to cpu %d: %s", cpu, strerror(errno));
    }
}

int bench_parse_server_flag(struct bench_server_options *options, int argc, char **argv,
                            int index) {
    while (index < argc) {
        const char *flag = argv[index];
        const char *value = index + 1 < argc ? argv[index + 1] : "";
        if (strcmp(flag, "--host") == 0) {
            options->host = value;
        } else if (strcmp(flag, "--port") == 0) {
            options->port = (uint16_t)bench_parse_int(flag, value, 0, UINT16_MAX);
        } else if (strcmp(flag, "--cpu") == 0) {
            options->cpu = (int)bench_parse_int(flag, value, -1, CPU_SETSIZE - 1);
        } else {
            return index;
        }
        index += 2;
    }
    return 0;
}

int bench_listen(const struct bench_server_options *options, bool nonblocking) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options->port)};
    if (inet_pton(AF_INET, options->host, &address.sin_addr) != 1) {
        bench_die("--host needs a numeric IPv4 address, not '%s'", options->host);
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0), 0);
    if (fd < 0) {
        bench_die_errno(errno, "socket");
    }
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, LISTEN_BACKLOG) != 0) {
        bench_die_errno(errno, "listen");
    }
    return fd;
}

void bench_print_ready(int listener, const char *host) {
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    if (getsockname(listener, (struct sockaddr *)&address, &len) != 0) {
        bench_die_errno(errno, "getsockname");
    }
    printf("listening on %s:%u\n", host, (unsigned)ntohs(address.sin_port));
    fflush(stdout);
}

static void exit_now(int signal_number) {
    (void)signal_number;
    _exit(0);
}

void bench_exit_on_sigterm(void) {
    struct sigaction action = {.sa_handler = exit_now};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int64_t bench_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
