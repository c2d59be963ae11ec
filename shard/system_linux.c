/* Linux: CPUs, threads, signals, listening sockets. */
#include <assert.h>
#include <ck_pr.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <unwind.h>

#include "mpsc/handoff.h"
#include "shard/system.h"

const bool xev__shards_have_threads = true;

/* Room for the kernel's largest CPU mask. */
#define CPUS 8192

static uint32_t affinity(cpu_set_t **set, size_t *size) {
    *size = CPU_ALLOC_SIZE(CPUS);
    *set = CPU_ALLOC(CPUS);
    if (*set == NULL) {
        return 0;
    }
    return sched_getaffinity(0, *size, *set) == 0 ? (uint32_t)CPU_COUNT_S(*size, *set) : 0;
}

int xev__cpu_nth(uint32_t n) {
    cpu_set_t *set;
    size_t size;
    uint32_t count = affinity(&set, &size);
    int cpu = -1;
    if (count > 0) {
        n %= count;
        for (cpu = 0; !CPU_ISSET_S((size_t)cpu, size, set) || n-- > 0; cpu++) {
        }
    }
    CPU_FREE(set);
    return cpu;
}

int xev__cpu_pin(int cpu) {
    size_t size = CPU_ALLOC_SIZE(CPUS);
    cpu_set_t *set = CPU_ALLOC(CPUS);
    if (set == NULL || cpu < 0 || cpu >= CPUS) {
        CPU_FREE(set);
        return cpu < 0 || cpu >= CPUS ? -EINVAL : -ENOMEM;
    }
    CPU_ZERO_S(size, set);
    CPU_SET_S((size_t)cpu, size, set);
    int rc = sched_setaffinity(0, size, set) == 0 ? 0 : -errno;
    CPU_FREE(set);
    return rc;
}

void xev__name_thread(uint32_t id) {
    char name[16]; /* all that the kernel takes */
    snprintf(name, sizeof name, "xev-shard-%u", id % 100000);
    (void)pthread_setname_np(pthread_self(), name);
}

/* ---- threads ---- */

/* The first line of dir/name. */
static bool read_line(const char *dir, const char *name, char *line, int len) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    bool ok = f != NULL && fgets(line, len, f) != NULL;
    if (f != NULL) {
        (void)fclose(f);
    }
    return ok;
}

uint64_t xev__thread_number(void) { return (uint64_t)gettid(); }

void xev__thread_activity(uint64_t number, char *text, size_t len_bytes) {
    char folder[64], line[256];
    long call;
    unsigned long long a, b, c;
    assert(len_bytes > 0);
    text[0] = '\0';
    snprintf(folder, sizeof folder, "/proc/self/task/%llu", (unsigned long long)number);
    /* proc(5): "running", or the call's number and its six arguments. */
    if (!read_line(folder, "syscall", line, sizeof line)) {
        return;
    }
    if (sscanf(line, "%ld %llx %llx %llx", &call, &a, &b, &c) == 4 && call >= 0) {
        snprintf(text, len_bytes, "in system call %ld (%#llx, %#llx, %#llx)", call, a, b, c);
    } else {
        snprintf(text, len_bytes, "running");
    }
}

/* The unwinder of GCC's library. It is loaded when it is needed: not every C library can be linked
 * with it, and a program that asks for no stack shall not depend on it. */
static struct {
    pthread_once_t once;
    _Unwind_Reason_Code (*walk)(_Unwind_Trace_Fn fn, void *userdata);
    _Unwind_Ptr (*address)(struct _Unwind_Context *context, int *interrupted);
} unwinder = {.once = PTHREAD_ONCE_INIT};

static void load_unwinder(void) {
    void *library = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL);
    void *walk = library != NULL ? dlsym(library, "_Unwind_Backtrace") : NULL;
    void *address = library != NULL ? dlsym(library, "_Unwind_GetIPInfo") : NULL;
    if (walk != NULL && address != NULL) {
        memcpy(&unwinder.address, &address, sizeof address);
        memcpy(&unwinder.walk, &walk, sizeof walk);
    }
}

void xev__stack_prepare(void) {
    (void)pthread_once(&unwinder.once, load_unwinder);
    uintptr_t frames[2];
    (void)xev__stack(frames, 2); /* what its first call sets up is no work for a handler */
}

struct frames {
    uintptr_t *at;
    uint32_t len, room;
};

static _Unwind_Reason_Code on_frame(struct _Unwind_Context *context, void *userdata) {
    struct frames *f = userdata;
    int interrupted = 0; /* else the address is that behind a call */
    uintptr_t address = (uintptr_t)unwinder.address(context, &interrupted);
    f->len = interrupted ? 0 : f->len; /* what was before is the handler's */
    if (address == 0 || f->len == f->room) {
        return _URC_END_OF_STACK;
    }
    f->at[f->len++] = address - (interrupted ? 0 : 1);
    return _URC_NO_REASON;
}

uint32_t xev__stack(uintptr_t *frames, uint32_t room) {
    struct frames f = {.at = frames, .room = room};
    if (unwinder.walk != NULL) {
        (void)unwinder.walk(on_frame, &f);
    }
    return f.len;
}

/* ---- conditions ---- */

int xev__cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);
    if (rc == 0) {
        rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        rc = rc == 0 ? pthread_cond_init(cond, &attr) : rc;
        (void)pthread_condattr_destroy(&attr);
    }
    return -rc;
}

void xev__cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, uint32_t ms) {
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    int64_t ns = end.tv_nsec + (int64_t)(ms % 1000) * 1000000;
    end.tv_sec += ms / 1000 + (time_t)(ns / 1000000000);
    end.tv_nsec = (long)(ns % 1000000000);
    int rc = pthread_cond_timedwait(cond, lock, &end);
    assert(rc == 0 || rc == ETIMEDOUT);
    (void)rc;
}

/* ---- listening sockets ---- */

static int socket_number(int fd, int option, int *value) {
    socklen_t len = sizeof *value;
    return getsockopt(fd, SOL_SOCKET, option, value, &len) == 0 ? 0 : -errno;
}

bool xev__listeners_share(void) { return true; }

int xev__listener_check(int fd, bool *is_tcp) {
    int type = 0, listens = 0, protocol = 0;
    int rc = socket_number(fd, SO_TYPE, &type);
    if (rc == 0 && type != SOCK_STREAM) {
        return -EPROTOTYPE;
    }
    rc = rc == 0 ? socket_number(fd, SO_ACCEPTCONN, &listens) : rc;
    rc = rc == 0 ? socket_number(fd, SO_PROTOCOL, &protocol) : rc;
    *is_tcp = protocol == IPPROTO_TCP;
    return rc == 0 && listens == 0 ? -EINVAL : rc;
}

int xev__listener_gate(int fd, bool is_tcp) {
    if (!is_tcp) {
        /* A Unix socket keeps what waits for an accept, and refuses others. */
        return shutdown(fd, SHUT_RD) == 0 ? 0 : -errno;
    }
    /* A socket filter sees the packets of a listener from the TCP header on. Connections inherit
     * it, and nothing of theirs is a request for a connection. */
    enum { FLAGS = 13, SYN = 0x02, ACK = 0x10 };
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, SYN | ACK),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    int rc = setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
    return rc == 0 ? 0 : -errno;
}

int xev__listener_waiting(int fd, bool is_tcp) {
    if (!is_tcp) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        return poll(&p, 1, 0) < 0 ? -errno : (p.revents & POLLIN) != 0;
    }
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0) {
        return -errno;
    }
    if (info.tcpi_state != TCP_LISTEN) {
        return 0;
    }
    return (int)info.tcpi_unacked; /* of a listener: those it holds for accept */
}

void xev__listener_end(int fd) {
    /* Of a listener Linux takes this as the end of listening. It costs no descriptor's close, which
     * must wait for the loop. */
    (void)shutdown(fd, SHUT_RD);
}
