/* Linux: child processes, known by pidfd.
 *
 * Spawn. As after vfork, the child shares this process's memory, and the calling thread waits until
 * the child has loaded its program. So the cost does not grow with the size of this process, and an
 * error comes back through memory. The child has descriptors, dispositions of signals, a signal
 * mask and credentials of its own. Three rules hold for the code that runs in the child:
 *  - No signal handler of this process may run there. All signals are blocked until all
 *    dispositions are the default ones.
 *  - It calls no function of the C library that keeps state. setuid would change the threads of
 *    this process, and a sanitizer would take the child's close for ours. It makes bare system
 *    calls.
 *  - Its new user must not read this process's memory through it. When the child changes users, the
 *    kernel forbids attaching to the shared memory. The parent allows it again when the child has
 *    left that memory.
 *
 * The child is made without a signal for its end; when it loads a program the kernel sets SIGCHLD.
 * So the program's own SIGCHLD handler, or its wait for any child, sees no child that failed
 * before.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mpsc/handoff.h"
#include "xev/error.h"
#include "xev/os/descriptor.h"
#include "xev/os/posix/posix.h"
#include "xev/os/posix/streams.h"
#include "xev/os/process.h"

/* A sanitizer would take the child's accesses for those of the parent's thread, since they share
 * memory. So the child's functions are not instrumented. */
#if defined(__has_attribute)
#if __has_attribute(disable_sanitizer_instrumentation)
#define CHILD __attribute__((noinline, disable_sanitizer_instrumentation))
#endif
#endif
#if !defined(CHILD) && defined(__GNUC__) && !defined(__clang__)
#define CHILD __attribute__((noinline, no_sanitize("thread", "address", "undefined")))
#endif
#if !defined(CHILD)
#define CHILD
#endif

#if XEV_HANDOFF_ENABLED
/* ThreadSanitizer's own clone expects the child to have a copy of the memory. */
extern int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
#define clone __clone
#endif

/* On platforms with two sizes of user numbers the plain names are the 16-bit calls. */
#if defined(SYS_setresuid32)
#define XEV_SETGROUPS SYS_setgroups32
#define XEV_SETRESGID SYS_setresgid32
#define XEV_SETRESUID SYS_setresuid32
#else
#define XEV_SETGROUPS SYS_setgroups
#define XEV_SETRESGID SYS_setresgid
#define XEV_SETRESUID SYS_setresuid
#endif

#define KERNEL_SIGNALS 64
#define KERNEL_SIGSET_BYTES 8

extern char **environ;

/* What the child is to do. The parent fills it in before the child exists. */
struct plan {
    const xev_process_options *options;
    const char *file;
    const char *path; /* folders to search; NULL: file is a path */
    const char *const *env;
    int source[3]; /* by stream: a descriptor, XEV__STREAM_NULL or XEV__STREAM_CLOSED */
    bool root;
    int error;
    char name[PATH_MAX];
};

/* ---- in the child ---- */

CHILD static int take_identity(const xev_process_options *o, bool root) {
    if (o->set_uid || o->set_gid) {
        if (root && syscall(XEV_SETGROUPS, 0, NULL) < 0) {
            return errno;
        }
        if (o->set_gid && syscall(XEV_SETRESGID, o->gid, o->gid, o->gid) < 0) {
            return errno;
        }
        if (o->set_uid && syscall(XEV_SETRESUID, o->uid, o->uid, o->uid) < 0) {
            return errno;
        }
    }
    return 0;
}

CHILD static int place_stream(const struct plan *p, int i) {
    int from = p->source[i];
    long opened = -1;
    if (from == XEV__STREAM_CLOSED) {
        (void)syscall(SYS_close, i);
        return 0;
    }
    if (from == XEV__STREAM_NULL) {
        opened = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR, 0);
        if (opened < 0) {
            return errno;
        }
        from = (int)opened;
    }
    if (from == i) {
        return syscall(SYS_fcntl, i, F_SETFD, 0) < 0 ? errno : 0;
    }
    if (syscall(SYS_dup3, from, i, 0) < 0) {
        return errno;
    }
    if (opened >= 0) {
        (void)syscall(SYS_close, opened);
    }
    return 0;
}

CHILD static int place_streams(struct plan *p) {
    /* A source that is itself a stream's number would be overwritten, so move it first. */
    for (int i = 0; i < 3; i++) {
        int from = p->source[i];
        if (from >= 0 && from < 3 && from != i) {
            long moved = syscall(SYS_fcntl, from, F_DUPFD_CLOEXEC, 3);
            if (moved < 0) {
                return errno;
            }
            p->source[i] = (int)moved;
        }
    }
    for (int i = 0; i < 3; i++) {
        int error = place_stream(p, i);
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

/* The new program starts with default dispositions and no blocked signal. */
CHILD static void reset_signals(void) {
    static const unsigned long to_default[8]; /* the kernel's struct sigaction, of any platform */
    static const unsigned long none[16 / sizeof(long)];
    for (int number = 1; number <= KERNEL_SIGNALS; number++) {
        (void)syscall(SYS_rt_sigaction, number, to_default, NULL, KERNEL_SIGSET_BYTES);
    }
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, none, NULL, KERNEL_SIGSET_BYTES);
}

/* Load the program; returns on an error only. */
CHILD static int exec_program(const struct plan *p, const char *name) {
    (void)syscall(SYS_execve, name, p->options->argv, p->env);
    return errno;
}

/* As execvp, except that a file in an unknown format is not given to a shell. */
CHILD static int search_and_exec(struct plan *p) {
    int error = ENOENT;
    for (const char *folder = p->path;; folder++) {
        size_t n = 0;
        bool fits = true;
        for (; *folder != '\0' && *folder != ':'; folder++) {
            fits = fits && n + 2 < sizeof p->name;
            if (fits) {
                p->name[n++] = *folder;
            }
        }
        if (n > 0) {
            p->name[n++] = '/';
        }
        for (const char *f = p->file; *f != '\0'; f++) {
            fits = fits && n + 1 < sizeof p->name;
            if (fits) {
                p->name[n++] = *f;
            }
        }
        p->name[n] = '\0';
        int found = fits ? exec_program(p, p->name) : ENOENT;
        if (found == EACCES) {
            error = EACCES; /* reported if no other folder has the program */
        } else if (found != ENOENT && found != ENOTDIR && found != ENODEV && found != ESTALE &&
                   found != ETIMEDOUT) {
            return found;
        }
        if (*folder == '\0') {
            return error;
        }
    }
}

CHILD static int in_child(void *arg) {
    struct plan *p = arg;
    const xev_process_options *o = p->options;
    int error = 0;
    /* These do not fail: a new process leads no process group. */
    if (o->detached) {
        (void)syscall(SYS_setsid);
    } else if (o->own_group) {
        (void)syscall(SYS_setpgid, 0, 0);
    }
    error = take_identity(o, p->root);
    if (error == 0 && o->cwd != NULL && syscall(SYS_chdir, o->cwd) < 0) {
        error = errno;
    }
    error = error == 0 ? place_streams(p) : error;
    if (error == 0) {
        reset_signals();
        error = p->path == NULL ? exec_program(p, p->file) : search_and_exec(p);
    }
    p->error = error;
    (void)syscall(SYS_exit_group, 127);
    return 127;
}

/* ---- in the parent ---- */

/* Held while a child that changes its user shares this process's memory. */
static pthread_mutex_t identity_lock = PTHREAD_MUTEX_INITIALIZER;

static int start_child(struct plan *p, xev_fd *pidfd, int32_t *pid) {
    /* The child needs a stack of its own, as the caller may be a pool thread with a small one. */
    enum { STACK_BYTES = 32 * 1024 };
    unsigned char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) {
        return XEV_ENOMEM;
    }
    /* A bare system call, as the C library would not block the signals that it uses itself. */
    const unsigned char all[KERNEL_SIGSET_BYTES] = {255, 255, 255, 255, 255, 255, 255, 255};
    unsigned char before[KERNEL_SIGSET_BYTES];
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, all, before, sizeof all);
    int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD;
    int fd = -1;
    int child = clone(in_child, stack + STACK_BYTES, flags, p, &fd);
    int rc = child < 0 ? -errno : 0;
    if (child >= 0) {
        fd = fd < 0 ? XEV_ENOSYS : xev__os_above_std(fd);
        rc = fd < 0 ? fd : -p->error;
    }
    if (child >= 0 && rc < 0) {
        if (fd < 0) {
            (void)kill(child, SIGKILL);
        }
        while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR) {
        }
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, before, NULL, sizeof before);
    (void)munmap(stack, STACK_BYTES);
    assert(rc < 0 || (child > 0 && fd > 2));
    if (rc == 0) {
        *pidfd = fd;
        *pid = child;
    }
    return rc;
}

/* Start a child as another user. One at a time: the memory must stay forbidden to attach to while
 * any child with another user's rights is in it. */
static int start_child_as(struct plan *p, xev_fd *pidfd, int32_t *pid) {
    (void)pthread_mutex_lock(&identity_lock);
    int attachable = prctl(PR_GET_DUMPABLE);
    int rc = start_child(p, pidfd, pid);
    if (attachable == 1) {
        (void)prctl(PR_SET_DUMPABLE, 1);
    }
    (void)pthread_mutex_unlock(&identity_lock);
    return rc;
}

static void collect_given_up(void);

int xev__os_process_spawn(xev_process *p, const xev_process_options *o) {
    int ours[3] = {-1, -1, -1}, theirs[3] = {-1, -1, -1};
    struct plan plan = {
        .options = o,
        .file = o->file != NULL ? o->file : o->argv[0],
        .env = o->env != NULL ? o->env : (const char *const *)environ,
        .root = geteuid() == 0,
    };
    if (plan.file[0] == '\0') {
        return XEV_ENOENT;
    }
    if (strchr(plan.file, '/') == NULL) {
        const char *path = getenv("PATH");
        plan.path = path != NULL ? path : "/bin:/usr/bin";
    }
    collect_given_up();
    int rc = xev__sys_choose_streams(o, plan.source, ours, theirs);
    if (rc == 0) {
        assert(plan.error == 0 && plan.file != NULL);
        bool as_other = o->set_uid || o->set_gid;
        rc =
            as_other ? start_child_as(&plan, &p->fd, &p->pid) : start_child(&plan, &p->fd, &p->pid);
    }
    xev__sys_close_streams(theirs);
    if (rc < 0) {
        xev__sys_close_streams(ours);
        return rc;
    }
    assert(p->pid > 0 && p->fd > 2);
    for (int i = 0; i < 3; i++) {
        assert((ours[i] >= 0) == (o->stdio[i].kind == XEV_STDIO_PIPE));
        p->stdio[i] = ours[i];
    }
    return 0;
}

int xev__os_process_open(int32_t pid, xev_fd *fd) {
    int rc = xev__sys_new_fd(syscall(SYS_pidfd_open, pid, 0));
    if (rc < 0) {
        return rc;
    }
    *fd = rc;
    return 0;
}

/* ---- wait, signal ---- */

/* waitid(2) for one process. 1: it has ended, and *info says how; 0: it is running. */
static int process_look(xev_fd fd, int flags, siginfo_t *info) {
    if (fd < 0) {
        return XEV_EBADF; /* the kernel would say EINVAL */
    }
    int rc;
    do {
        *info = (siginfo_t){0};
        rc = waitid(P_PIDFD, (id_t)fd, info, WEXITED | WNOHANG | __WALL | flags);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : info->si_pid != 0;
}

int xev__os_process_check(xev_fd fd) {
    siginfo_t info;
    int rc = process_look(fd, WNOWAIT, &info);
    return rc < 0 ? rc : 0;
}

int xev__os_process_wait(xev_fd fd) {
    siginfo_t info;
    int rc = process_look(fd, 0, &info);
    if (rc <= 0) {
        return rc == 0 ? XEV_EAGAIN : rc;
    }
    assert(info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED);
    assert(info.si_code == CLD_EXITED || info.si_status > 0);
    return info.si_code == CLD_EXITED ? info.si_status & 255
                                      : XEV_PROCESS_SIGNALED + info.si_status;
}

int xev__os_process_kill(xev_fd fd, int signal_number) {
    if (fd < 0) {
        return XEV_EBADF;
    }
    return syscall(SYS_pidfd_send_signal, fd, signal_number, NULL, 0) < 0 ? -errno : 0;
}

int xev__os_process_kill_group(xev_fd fd, int32_t pid, int signal_number) {
    const unsigned to_group = 1u << 2; /* PIDFD_SIGNAL_PROCESS_GROUP of Linux 6.9 */
    if (fd < 0) {
        return XEV_EBADF;
    }
    if (signal_number < 0 || signal_number > SIGRTMAX) {
        return XEV_EINVAL;
    }
    if (syscall(SYS_pidfd_send_signal, fd, signal_number, NULL, to_group) == 0) {
        return 0;
    }
    if (errno != EINVAL) {
        return -errno;
    }
    /* By its number, which is the process's as long as that is not collected. */
    int rc = xev__os_process_kill(fd, 0);
    if (rc < 0 && rc != XEV_EPERM) {
        return rc;
    }
    if (pid <= 1) {
        return XEV_ESRCH; /* kill(2) would take it for another group, or for everybody */
    }
    return kill(-pid, signal_number) < 0 ? -errno : 0;
}

/* ---- children that nobody waits for ---- */

/* The program has closed these processes before their end. Somebody must collect them, or they stay
 * in the system's table. Their pidfds are in one epoll instance, which says which of them have
 * ended, so that a look costs the same however many are running. The instance exists while there
 * are such processes. */
static struct {
    pthread_mutex_t lock;
    int epoll;
    uint32_t count; /* atomic: it is read without the lock first */
    pid_t owner;    /* a forked child must not collect its parent's children */
    /* Processes that could not be put into the instance. Each of them is looked at every time. */
    int spare[16];
    uint32_t spare_len;
} given_up = {.lock = PTHREAD_MUTEX_INITIALIZER, .epoll = -1};

/* Collect the process and close its descriptor. False: it is running, or a tracer holds it. */
static bool collect_process(int fd) {
    siginfo_t info;
    if (process_look(fd, 0, &info) == 0) {
        return false;
    }
    if (given_up.epoll >= 0) {
        (void)epoll_ctl(given_up.epoll, EPOLL_CTL_DEL, fd, NULL);
    }
    (void)close(fd);
    assert(given_up.count > 0);
    __atomic_fetch_sub(&given_up.count, 1, __ATOMIC_RELAXED);
    return true;
}

static void collect_locked(void) {
    assert(given_up.spare_len <= sizeof given_up.spare / sizeof given_up.spare[0]);
    struct epoll_event events[32]; /* a call adds one process, and so takes more than it adds */
    int n = given_up.epoll < 0 ? 0 : epoll_wait(given_up.epoll, events, 32, 0);
    for (int i = 0; i < n; i++) {
        (void)collect_process(events[i].data.fd);
    }
    for (uint32_t i = given_up.spare_len; i-- > 0;) {
        if (collect_process(given_up.spare[i])) {
            given_up.spare[i] = given_up.spare[--given_up.spare_len];
        }
    }
    if (given_up.count == 0 && given_up.epoll >= 0) {
        (void)close(given_up.epoll);
        given_up.epoll = -1;
    }
}

static void collect_given_up(void) {
    if (__atomic_load_n(&given_up.count, __ATOMIC_RELAXED) == 0) {
        return;
    }
    (void)pthread_mutex_lock(&given_up.lock);
    if (given_up.owner == getpid()) {
        collect_locked();
    }
    (void)pthread_mutex_unlock(&given_up.lock);
}

/* Put the process of fd among those that nobody waits for. */
static int add_given_up(int fd) {
    assert(fd >= 0);
    (void)pthread_mutex_lock(&given_up.lock);
    if (given_up.owner != getpid()) {
        if (given_up.epoll >= 0) {
            (void)close(given_up.epoll);
        }
        given_up.epoll = -1;
        given_up.count = given_up.spare_len = 0;
        given_up.owner = getpid();
    }
    if (given_up.epoll < 0) {
        given_up.epoll = xev__sys_new_fd(epoll_create1(EPOLL_CLOEXEC));
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    bool kept = given_up.epoll >= 0 && epoll_ctl(given_up.epoll, EPOLL_CTL_ADD, fd, &event) == 0;
    if (!kept && given_up.spare_len < sizeof given_up.spare / sizeof given_up.spare[0]) {
        given_up.spare[given_up.spare_len++] = fd;
        kept = true;
    }
    __atomic_fetch_add(&given_up.count, kept ? 1 : 0, __ATOMIC_RELAXED);
    collect_locked();
    (void)pthread_mutex_unlock(&given_up.lock);
    return kept ? 0 : xev__os_close(fd);
}

int xev__os_process_give_up(xev_fd fd) {
    return xev__os_process_check(fd) == 0 ? add_given_up(fd) : xev__os_close(fd);
}

void xev__os_process_forked(void) {
    identity_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    given_up.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}
