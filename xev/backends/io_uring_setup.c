/* io_uring: creation and end of the ring. It is created with those features that the kernel has and
 * that the options leave on. */
#include <assert.h>
#include <ck_pr.h>
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mpsc/handoff.h"
#include "xev/backends/io_uring.h"
#include "xev/os/clock.h"
#include "xev/os/descriptor.h"
#include "xev/os/thread.h"

/* For ThreadSanitizer. liburing maps a ring by bare system calls, which the sanitizer does not see.
 * A ring at an address at which another thread's ring was mapped before would pass for a data race.
 */
static char ring_memory __attribute__((unused));

static void destroy_ring(struct xev__uring *u) {
    XEV_HANDOFF_RELEASE(&ring_memory);
    io_uring_queue_exit(&u->ring);
}

/* Whether a capability counts for the kernel: in the first user namespace, and not in that of a
 * rootless container, where a process has all of them. The number is PROC_USER_INIT_INO. */
static bool capabilities_count(void) {
    struct stat st;
    return stat("/proc/self/ns/user", &st) == 0 && st.st_ino == 0xEFFFFFFDu;
}

/* Whether RLIMIT_MEMLOCK may refuse the memory of a ring. The kernel counts that memory in some
 * versions (before 5.12, and again in 6.18), of all processes of a user together, unless the
 * process has CAP_IPC_LOCK. */
static bool memory_is_limited(void) {
    struct rlimit limit;
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];
    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY) {
        return false;
    }
    return syscall(SYS_capget, &head, caps) == 0 &&
           ((caps[0].effective & 1u << CAP_IPC_LOCK) == 0 || !capabilities_count());
}

/* Buffers that the kernel is given, until joint sends run short of them. */
#define OFFERED_FIRST 64u

#define TRIES_MS 10u
#define TRIES_MAX 30

/* rc is the result of an attempt to lock memory. Rings that were closed a moment ago give their
 * locked memory back late. Returns true, after a wait, if another attempt is worth it. When one
 * ring has waited in vain, the next rings do not wait for a while, since a server makes one per
 * core. */
static bool memory_may_come_back(int rc, int *tries) {
    static uint64_t in_vain_ns; /* atomic */
    const uint64_t believed_ns = 1000u * 1000 * 1000;
    if (rc != XEV_ENOMEM) {
        return false;
    }
    uint64_t now = xev__os_now_ns(), last = ck_pr_load_64(&in_vain_ns);
    if (*tries == 0 && last != 0 && now - last < believed_ns) {
        return false;
    }
    if (++*tries > TRIES_MAX) {
        ck_pr_store_64(&in_vain_ns, now);
        return false;
    }
    xev__os_sleep_ms(TRIES_MS);
    return true;
}

static int create_ring(xev_loop *loop, struct xev__uring *u) {
    struct io_uring_params p;
    int rc, tries = 0;
    for (;;) {
        memset(&p, 0, sizeof p);
        p.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
        p.cq_entries = loop->options.cq_entries;
        if (xev__uring_has(u, XEV_FEATURE_SUBMIT_ALL)) {
            p.flags |= IORING_SETUP_SUBMIT_ALL;
        }
        if (xev__uring_has(u, XEV_FEATURE_DEFER_TASKRUN)) {
            p.flags |= IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                       IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED;
        }
        rc = io_uring_queue_init_params(loop->options.entries, &u->ring, &p);
        XEV_HANDOFF_ACQUIRE(&ring_memory);
        if (rc == XEV_EINVAL && xev__uring_has(u, XEV_FEATURE_DEFER_TASKRUN)) {
            u->features &= ~(uint32_t)XEV_FEATURE_DEFER_TASKRUN;
        } else if (rc == XEV_EINVAL && xev__uring_has(u, XEV_FEATURE_SUBMIT_ALL)) {
            u->features &= ~(uint32_t)XEV_FEATURE_SUBMIT_ALL;
        } else if (!memory_may_come_back(rc, &tries)) {
            break;
        }
    }
    if (rc == 0) {
        int fd = xev__os_above_std(u->ring.ring_fd);
        if (fd < 0) {
            u->ring.ring_fd = u->ring.enter_ring_fd =
                -1; /* closed by now; the memory is still mapped */
            destroy_ring(u);
            return fd;
        }
        u->ring.ring_fd = u->ring.enter_ring_fd = fd;
    }
    const uint32_t needed = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE;
    if (rc == 0 && (p.features & needed) != needed) {
        destroy_ring(u);
        rc = XEV_ENOSYS;
    }
    return rc;
}

static int probe_kernel(xev_loop *loop, struct xev__uring *u, const char **step) {
    static const int needed[] = {IORING_OP_ACCEPT,  IORING_OP_RECV,     IORING_OP_SEND,
                                 IORING_OP_SENDMSG, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL};
    enum { OPS = 256 };
    const size_t bytes = sizeof(struct io_uring_probe) + OPS * sizeof(struct io_uring_probe_op);
    const xev_allocator *a = &loop->options.allocator;
    struct io_uring_probe *p = xev__alloc_zeroed(a, bytes, _Alignof(max_align_t));
    if (p == NULL) {
        return XEV_ENOMEM;
    }
    *step = "io_uring_register";
    int rc = io_uring_register_probe(&u->ring, p, OPS);
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        rc = rc < 0 || io_uring_opcode_supported(p, needed[i]) ? rc : XEV_ENOSYS;
    }
    xev__free(a, p, bytes);
    if (rc < 0) {
        return rc;
    }
    /* A filter may allow io_uring_setup and refuse io_uring_enter. A ring that is not enabled yet
     * answers EBADFD. */
    *step = "io_uring_enter";
    rc = io_uring_enter((unsigned)u->ring.ring_fd, 0, 0, 0, NULL);
    return rc == -EBADFD ? 0 : rc;
}

void xev__uring_offer_more(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    while (u->buffers_in_ring < u->buffers_offered) {
        uint32_t id = xev__buffers_alloc(loop->buffers);
        if (id == XEV__URING_NONE) {
            return;
        }
        xev__uring_offer(loop, u, id, xev__buffers_at(loop->buffers, id));
    }
}

static size_t buffer_ring_bytes(const xev_loop *loop) {
    return loop->options.buffers * sizeof(struct io_uring_buf);
}

static void create_buffer_ring(xev_loop *loop, struct xev__uring *u) {
    const xev_allocator *a = &loop->options.allocator;
    size_t bytes = buffer_ring_bytes(loop);
    void *memory = xev__alloc_zeroed(a, bytes, 4096); /* the kernel wants whole pages */
    if (memory == NULL) {
        return;
    }
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)memory,
        .ring_entries = loop->options.buffers,
        .bgid = XEV__URING_BUFFER_GROUP,
    };
    int rc, tries = 0;
    do {
        rc = io_uring_register_buf_ring(&u->ring, &reg, 0);
    } while (memory_may_come_back(rc, &tries));
    if (rc != 0) {
        xev__free(a, memory, bytes);
        return;
    }
    assert(u->buffers == NULL && u->buffers_in_ring == 0);
    u->buffers = memory;
    io_uring_buf_ring_init(u->buffers);
    u->buffers_offered =
        loop->options.buffers < OFFERED_FIRST ? loop->options.buffers : OFFERED_FIRST;
    xev__uring_offer_more(loop);
}

static int uring_failed(xev_loop *loop, struct xev__uring *u, int code, const char *step, char *why,
                        size_t why_len) {
    bool policy = code == XEV_EPERM || code == XEV_EACCES;
    snprintf(why, why_len, "io_uring: %s: %s%s", step, xev_strerror(code),
             policy ? " (seccomp filter, or kernel.io_uring_disabled)" : "");
    xev__free(&loop->options.allocator, u, sizeof *u);
    return code;
}

int xev__uring_init(xev_loop *loop, char *why, size_t why_len) {
    struct xev__uring *u =
        xev__alloc_zeroed(&loop->options.allocator, sizeof *u, _Alignof(max_align_t));
    if (u == NULL) {
        return uring_failed(loop, u, XEV_ENOMEM, "state", why, why_len);
    }
    u->features = XEV_FEATURE_ALL & ~loop->options.disable;
    u->host = u->ring_signal = XEV_INVALID_FD;
    int rc = create_ring(loop, u);
    if (rc == XEV_ENOMEM && memory_is_limited()) {
        rc = XEV_ENOLOCKMEM;
    }
    if (rc < 0) {
        return uring_failed(loop, u, rc, "io_uring_setup", why, why_len);
    }
    const char *step = "state";
    rc = probe_kernel(loop, u, &step);
    if (rc < 0) {
        destroy_ring(u);
        return uring_failed(loop, u, rc, step, why, why_len);
    }
    rc = xev__os_wake_open(&u->wake);
    if (rc < 0) {
        destroy_ring(u);
        return uring_failed(loop, u, rc, "wake descriptor", why, why_len);
    }
    u->headers =
        xev__alloc_zeroed(&loop->options.allocator, u->ring.sq.ring_entries * sizeof *u->headers,
                          _Alignof(max_align_t));
    if (u->headers == NULL) {
        (void)xev__os_close(u->wake);
        destroy_ring(u);
        return uring_failed(loop, u, XEV_ENOMEM, "state", why, why_len);
    }
    u->slots = (struct xev__chunks){
        .loop = loop,
        .item_bytes = sizeof(struct xev__uring_slot),
        .alignment = _Alignof(struct xev__uring_slot),
        .link_at = offsetof(struct xev__uring_slot, next_free),
        .gen_at = offsetof(struct xev__uring_slot, gen),
    };
    xev__chunks_init(&u->slots);
    loop->backend = u;
    if (xev__uring_has(u, XEV_FEATURE_BUFFER_RING)) {
        create_buffer_ring(loop, u);
    }
    if (u->buffers == NULL) {
        u->features &= ~(uint32_t)(XEV_FEATURE_BUFFER_RING | XEV_FEATURE_MULTISHOT_RECV);
    }
    return 0;
}

int xev__uring_attach(struct xev__uring *u) {
    assert(u->owner == 0);
    if (xev__uring_has(u, XEV_FEATURE_DEFER_TASKRUN)) {
        /* liburing 2.3 declares io_uring_enable_rings and does not export it. */
        if (syscall(__NR_io_uring_register, u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
                    0) < 0) {
            return -errno;
        }
    }
    u->owner = xev__os_thread_id();
    int slack_ns = prctl(PR_GET_TIMERSLACK), policy = sched_getscheduler(0);
    bool real_time =
        policy == SCHED_FIFO || policy == SCHED_RR; /* such a thread has no timer slack */
    u->slack_ns = slack_ns > 0 && !real_time ? (uint64_t)slack_ns : 0;
    if (xev__uring_has(u, XEV_FEATURE_REGISTERED_RING) &&
        io_uring_register_ring_fd(&u->ring) != 1) {
        u->features &= ~(uint32_t)XEV_FEATURE_REGISTERED_RING;
    }
    return 0;
}

void xev__uring_end_requests(struct xev__uring *u) {
    struct io_uring_sync_cancel_reg all = {
        .fd = -1,
        .flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL,
        .timeout = {.tv_sec = 1}, /* for a file's, which the kernel may be carrying out */
    };
    (void)syscall(__NR_io_uring_register, u->ring.ring_fd, IORING_REGISTER_SYNC_CANCEL, &all, 1);
}

void xev__uring_deinit(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    if (xev__uring_is_foreign(loop)) {
        /* The registered ring number is an index into the owner thread's table. In this thread's
         * table the index may name another loop's ring. The kernel refuses -1. */
        u->ring.enter_ring_fd = -1;
    }
    size_t headers_bytes = u->ring.sq.ring_entries * sizeof *u->headers;
    destroy_ring(u);
    (void)xev__os_close(u->wake);
    if (u->host != XEV_INVALID_FD) {
        (void)xev__os_close(u->host);
        (void)xev__os_close(u->ring_signal);
    }
    const xev_allocator *a = &loop->options.allocator;
    xev__free(a, u->buffers, buffer_ring_bytes(loop));
    xev__free(a, u->headers, headers_bytes);
    xev__chunks_free(&u->slots);
    xev__free(a, u, sizeof *u);
}

/* The host's epoll descriptor. The ring's own descriptor cannot serve: with DEFER_TASKRUN the
 * kernel does not wake a thread that polls it. */
xev_fd xev__uring_descriptor(xev_loop *loop) {
    struct xev__uring *u = loop->backend;
    if (u->host != XEV_INVALID_FD) {
        return u->host;
    }
    int rc = xev__uring_fill_submission_queue(loop);
    rc = rc == 0 ? xev__os_wake_open(&u->ring_signal) : rc;
    if (rc < 0) {
        return rc;
    }
    int ep = epoll_create1(EPOLL_CLOEXEC);
    ep = xev__os_above_std(ep < 0 ? -errno : ep);
    struct epoll_event in = {.events = EPOLLIN};
    xev__os_wake_drain(u->wake); /* the ring has told, or will tell, of what came before */
    if (ep >= 0 && (epoll_ctl(ep, EPOLL_CTL_ADD, u->wake, &in) < 0 ||
                    epoll_ctl(ep, EPOLL_CTL_ADD, u->ring_signal, &in) < 0)) {
        rc = -errno;
        (void)xev__os_close(ep);
        ep = rc;
    }
    if (ep < 0) {
        (void)xev__os_close(u->ring_signal);
        return ep;
    }
    u->host = ep;
    /* Prepared once more: events from before the registration of the eventfd give no signal. */
    if (xev__uring_prepare(loop)) {
        (void)xev__os_wake_signal(u->ring_signal); /* on failure: xev_loop_run looks by itself */
    }
    return ep;
}
