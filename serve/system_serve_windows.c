/* Windows: addresses of peers, random numbers. There are neither Unix sockets nor a service manager
 * that is told things by one. */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <windows.h>

#include <limits.h>
#include <string.h>

#include "serve/system_serve.h"

bool xev__serve_shares_ports(void) { return false; }

int xev__serve_keep_to_self(xev_fd fd) {
    return SetHandleInformation((HANDLE)(intptr_t)fd, HANDLE_FLAG_INHERIT, 0) ? 0 : XEV_EBADF;
}

void xev__serve_forget_environment(const char *name) { (void)SetEnvironmentVariableA(name, NULL); }

uint32_t xev__serve_process(void) { return GetCurrentProcessId(); }

int xev__serve_limit_mode(xev_fd fd, uint32_t mode) {
    (void)fd;
    (void)mode;
    return XEV_ENOTSUP;
}

int xev__serve_set_mode(const char *path, uint32_t mode, struct xev__serve_file *file) {
    (void)path;
    (void)mode;
    *file = (struct xev__serve_file){0};
    return XEV_ENOTSUP;
}

void xev__serve_remove(const char *path, const struct xev__serve_file *file) {
    (void)path; /* no call here has made one */
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
    return XEV_ENOTSUP;
}

/* ---- peers ---- */

static bool key_of(const struct sockaddr_storage *sa, uint8_t key[16]) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (sa->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)sa;
        memcpy(key, mapped, sizeof mapped);
        memcpy(key + sizeof mapped, &v4->sin_addr, 4);
    } else if (sa->ss_family == AF_INET6) {
        memcpy(key, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
    } else {
        return false;
    }
    return true;
}

bool xev__serve_peer_address(xev_fd fd, uint8_t key[16]) {
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    int len = sizeof sa;
    /* It fails where the peer has gone already. */
    return getpeername((SOCKET)(intptr_t)fd, (struct sockaddr *)(void *)&sa, &len) == 0 &&
           key_of(&sa, key);
}

void xev__serve_address(const xev_addr *addr, uint8_t key[16]) {
    struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
    memcpy(&sa, addr->storage, addr->len_bytes < sizeof sa ? addr->len_bytes : sizeof sa);
    memset(key, 0, 16);
    (void)key_of(&sa, key);
}

/* ---- the service manager ---- */

xev_fd xev__serve_open_teller(void) { return XEV_INVALID_FD; }

void xev__serve_close_teller(xev_fd fd) { (void)fd; }

int xev__serve_tell(xev_fd fd, const xev_addr *to, const char *text) {
    (void)fd;
    (void)to;
    (void)text;
    return XEV_ENOTSUP;
}

uint64_t xev__serve_monotonic_us(void) {
    LARGE_INTEGER now, frequency;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&frequency);
    uint64_t ticks = (uint64_t)now.QuadPart, hz = (uint64_t)frequency.QuadPart;
    return ticks / hz * 1000000 + ticks % hz * 1000000 / hz;
}

/* RtlGenRandom; no header of MinGW's declares it. */
__declspec(dllimport) BOOLEAN WINAPI SystemFunction036(void *out, ULONG len_bytes);

uint64_t xev__serve_random(void) {
    uint64_t number = 0;
    if (!SystemFunction036(&number, sizeof number)) {
        number = xev__serve_monotonic_us() * UINT64_C(0x9e3779b97f4a7c15) ^ (uintptr_t)&number;
    }
    return number;
}

uint32_t xev__serve_descriptors(void) { return 1u << 24; /* handles of a process, at most */ }
