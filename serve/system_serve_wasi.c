/* WASI: no files of sockets, no addresses of peers, no service manager. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wasi/api.h>

#include "serve/system_serve.h"

bool xev__serve_shares_ports(void) { return false; }

void xev__serve_forget_environment(const char *name) { (void)unsetenv(name); }

int xev__serve_keep_to_self(xev_fd fd) {
    (void)fd;
    return 0;
}

uint32_t xev__serve_process(void) { return 1; }

int xev__serve_limit_mode(xev_fd fd, uint32_t mode) {
    (void)fd;
    (void)mode;
    return -ENOTSUP;
}

int xev__serve_set_mode(const char *path, uint32_t mode, struct xev__serve_file *file) {
    (void)path;
    (void)mode;
    *file = (struct xev__serve_file){0};
    return -ENOTSUP;
}

void xev__serve_remove(const char *path, const struct xev__serve_file *file) {
    (void)path;
    (void)file;
}

int xev__serve_limit_unsent(xev_fd fd, uint32_t bytes) {
    (void)fd;
    (void)bytes;
    return 0; /* there is no such option */
}

int xev__serve_spread_by_cpu(xev_fd fd, const uint32_t *cpus, uint32_t cpus_len, uint32_t count) {
    (void)fd;
    (void)cpus;
    (void)cpus_len;
    (void)count;
    return -ENOTSUP;
}

bool xev__serve_peer_address(xev_fd fd, uint8_t key[16]) {
    (void)fd;
    (void)key;
    return false;
}

void xev__serve_address(const xev_addr *addr, uint8_t key[16]) {
    uint8_t bytes[16] = {0};
    memset(key, 0, 16);
    if (xev_addr_bytes(addr, bytes) == 4) {
        key[10] = key[11] = 0xff;
        memcpy(key + 12, bytes, 4);
    } else {
        memcpy(key, bytes, 16);
    }
}

xev_fd xev__serve_open_teller(void) { return XEV_INVALID_FD; }
void xev__serve_close_teller(xev_fd fd) { (void)fd; }

int xev__serve_tell(xev_fd fd, const xev_addr *to, const char *text) {
    (void)fd;
    (void)to;
    (void)text;
    return -ENOTSUP;
}

uint64_t xev__serve_monotonic_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

uint64_t xev__serve_random(void) {
    uint64_t number;
    if (__wasi_random_get((uint8_t *)&number, sizeof number) != 0) {
        abort();
    }
    return number;
}

/* The host does not say. */
uint32_t xev__serve_descriptors(void) { return 1024; }
