/*
 * What an idle connection costs a server. Opens connections, sends one message on each, reads it
 * back, and then looks at the server's resident anonymous memory. It does so for two numbers of
 * connections. The difference in memory, divided by the difference in connections, is the memory
 * per connection, whatever else the server holds. Prints one JSON line.
 *
 *     idle --port PORT --server-pid PID [--host 127.0.0.1] [--from 1000] [--to 9000] [--size 1024]
 *          [--line TEXT]
 *
 * With a line each connection sends that, and the answer is a line, too: for servers that do not
 * echo.
 */
#include "bench/common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct options {
    const char *host;
    uint16_t port;
    pid_t server;
    int from, to;
    size_t size_bytes;
    const char *line;
};

static void open_one(const struct options *o, char *message) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(o->port)};
    if (fd < 0 || inet_pton(AF_INET, o->host, &to.sin_addr) != 1) {
        bench_die_errno(errno, "socket");
    }
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
        bench_die_errno(errno, "connect");
    }
    if (o->line != NULL) {
        if (dprintf(fd, "%s\r\n", o->line) < 0) {
            bench_die_errno(errno, "send");
        }
        for (*message = '\0'; *message != '\n';) {
            ssize_t n = recv(fd, message, 1, 0);
            if (n <= 0) {
                bench_die_errno(n == 0 ? ECONNRESET : errno, "recv");
            }
        }
        return;
    }
    if (send(fd, message, o->size_bytes, 0) != (ssize_t)o->size_bytes) {
        bench_die_errno(errno, "send");
    }
    for (size_t got = 0; got < o->size_bytes;) {
        ssize_t n = recv(fd, message, o->size_bytes - got, 0);
        if (n <= 0) {
            bench_die_errno(n == 0 ? ECONNRESET : errno, "recv");
        }
        got += (size_t)n;
    }
    /* It stays open until this program ends. */
}

/* RssAnon of the server in bytes, when it has been the same for 100 ms. */
static int64_t resident_bytes(pid_t pid) {
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    int64_t last = -1;
    for (int same = 0; same < 10;) {
        int64_t now = -1;
        FILE *f = fopen(path, "r");
        if (f == NULL) {
            bench_die_errno(errno, path);
        }
        while (fgets(line, sizeof line, f) != NULL) {
            long long kib;
            if (sscanf(line, "RssAnon: %lld kB", &kib) == 1) {
                now = kib * 1024;
            }
        }
        fclose(f);
        same = now == last ? same + 1 : 0;
        last = now;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return last;
}

int main(int argc, char **argv) {
    struct options o = {.host = "127.0.0.1", .from = 1000, .to = 9000, .size_bytes = 1024};
    for (int i = 1; i < argc; i += 2) {
        const char *flag = argv[i], *value = argv[i + 1];
        if (value == NULL) {
            bench_die("%s wants a value", flag);
        } else if (strcmp(flag, "--host") == 0) {
            o.host = value;
        } else if (strcmp(flag, "--port") == 0) {
            o.port = (uint16_t)bench_parse_int(flag, value, 1, 65535);
        } else if (strcmp(flag, "--server-pid") == 0) {
            o.server = (pid_t)bench_parse_int(flag, value, 1, INT32_MAX);
        } else if (strcmp(flag, "--from") == 0) {
            o.from = (int)bench_parse_int(flag, value, 1, 1000000);
        } else if (strcmp(flag, "--to") == 0) {
            o.to = (int)bench_parse_int(flag, value, 1, 1000000);
        } else if (strcmp(flag, "--size") == 0) {
            o.size_bytes = (size_t)bench_parse_int(flag, value, 1, 16384);
        } else if (strcmp(flag, "--line") == 0) {
            o.line = value;
        } else {
            bench_die("unknown flag %s", flag);
        }
    }
    if (o.port == 0 || o.server == 0 || o.to <= o.from) {
        bench_die("wants --port, --server-pid, and --to above --from");
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    char *message = calloc(1, o.size_bytes);
    if (message == NULL) {
        bench_die("no memory");
    }
    for (int i = 0; i < o.from; i++) {
        open_one(&o, message);
    }
    int64_t before = resident_bytes(o.server);
    for (int i = o.from; i < o.to; i++) {
        open_one(&o, message);
    }
    int64_t after = resident_bytes(o.server);
    printf("{\"benchmark\":\"idle\",\"from\":%d,\"to\":%d,\"rss_anon_from\":%lld,"
           "\"rss_anon_to\":%lld,\"bytes_per_connection\":%lld}\n",
           o.from, o.to, (long long)before, (long long)after,
           (long long)(after - before) / (o.to - o.from));
    free(message);
    return 0;
}
