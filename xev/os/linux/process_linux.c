/* Linux: processes, known by pidfd.
 *
 * Spawn: the child shares this process's memory and the calling thread waits until it has loaded
 * its program (as vfork), so that the cost does not grow with the size of this process and an error
 * comes back through memory. Of what belongs to a process rather than to memory (descriptors,
 * dispositions, mask, credentials) the child has its own. What it must not do:
 *  - run a handler of ours: all signals are blocked until all dispositions are at their default;
 *  - call the C library where that keeps state: setuid there would change this process's threads,
 *    and sanitizers would take its close for ours. It makes bare system calls;
 *  - stay readable by its new user: the kernel marks the shared memory as not to be attached to
 *    when the child changes users, which the parent takes back once the child has left it.
 *
 * The child is made without a signal to send at its end; loading a program makes that SIGCHLD. So
 * the program's own handler, or its wait for any child, sees no child that failed before.
 */
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
#include "xev/os/process.h"

/* A sanitizer must not account the child's steps to the parent's thread, whose memory it is in. */
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
/* ThreadSanitizer has a clone of its own, which takes the child's memory for a copy. */
extern int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
#define clone __clone
#endif

/* 16-bit user numbers have the plain names where there are two sizes. */
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
#define NULL_DEVICE (-1)
#define NOTHING (-2)

extern char **environ;

/* What the child works from, made before it. */
struct plan {
    const xev_process_options *options;
    const char *file;
    const char *path; /* folders to look in, NULL: file is one */
    const char *const *env;
    int source[3]; /* what to take for each stream, or NULL_DEVICE, or NOTHING */
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
    if (from == NOTHING) {
        (void)syscall(SYS_close, i);
        return 0;
    }
    if (from == NULL_DEVICE) {
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
    /* Out of the way of the others first. */
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

/* The caller's dispositions and mask are no business of the program to be run. */
CHILD static void reset_signals(void) {
    static const unsigned long to_default[8]; /* the kernel's struct sigaction, of any platform */
    static const unsigned long none[16 / sizeof(long)];
    for (int number = 1; number <= KERNEL_SIGNALS; number++) {
        (void)syscall(SYS_rt_sigaction, number, to_default, NULL, KERNEL_SIGSET_BYTES);
    }
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, none, NULL, KERNEL_SIGSET_BYTES);
}

CHILD static int run(const struct plan *p, const char *name) {
    (void)syscall(SYS_execve, name, p->options->argv, p->env);
    return errno;
}

/* As execvp, but that a file without an interpreter is not given to a shell. */
CHILD static int look_and_run(struct plan *p) {
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
        int found = fits ? run(p, p->name) : ENOENT;
        if (found == EACCES) {
            error = EACCES; /* unless another folder has it */
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
    if (o->detached) {
        (void)syscall(SYS_setsid); /* cannot fail: a new process leads no group */
    }
    error = take_identity(o, p->root);
    if (error == 0 && o->cwd != NULL && syscall(SYS_chdir, o->cwd) < 0) {
        error = errno;
    }
    error = error == 0 ? place_streams(p) : error;
    if (error == 0) {
        reset_signals();
        error = p->path == NULL ? run(p, p->file) : look_and_run(p);
    }
    p->error = error;
    (void)syscall(SYS_exit_group, 127);
    return 127;
}

/* ---- in the parent ---- */

static pthread_mutex_t identity = PTHREAD_MUTEX_INITIALIZER;

static int start_child(struct plan *p, xev_fd *pidfd, int32_t *pid) {
    enum { STACK_BYTES = 32 * 1024 }; /* not of the caller's: a pool's may be small */
    unsigned char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) {
        return XEV_ENOMEM;
    }
    /* By bare calls: the C library leaves out the signals it uses itself. */
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
    if (rc == 0) {
        *pidfd = fd;
        *pid = child;
    }
    return rc;
}

/* One at a time: while one child has another user's rights in our memory, that must stay marked. */
static int start_child_as(struct plan *p, xev_fd *pidfd, int32_t *pid) {
    (void)pthread_mutex_lock(&identity);
    int attachable = prctl(PR_GET_DUMPABLE);
    int rc = start_child(p, pidfd, pid);
    if (attachable == 1) {
        (void)prctl(PR_SET_DUMPABLE, 1);
    }
    (void)pthread_mutex_unlock(&identity);
    return rc;
}

static void close_all(const int *fds, int n) {
    for (int i = 0; i < n; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
}

static int choose_streams(const xev_process_options *o, int source[3], int ours[3], int theirs[3]) {
    /* A closed one, before a pipe takes its number. */
    for (int i = 0; i < 3; i++) {
        source[i] = xev__os_is_open(i) ? i : NOTHING;
    }
    for (int i = 0; i < 3; i++) {
        int ends[2], rc;
        switch (o->stdio[i].kind) {
        case XEV_STDIO_PIPE:
            rc = xev__os_pipe(&ends[0], &ends[1]);
            if (rc < 0) {
                return rc;
            }
            ours[i] = ends[i == 0 ? 1 : 0];
            theirs[i] = source[i] = ends[i == 0 ? 0 : 1];
            break;
        case XEV_STDIO_FD:
            source[i] = o->stdio[i].fd;
            break;
        case XEV_STDIO_INHERIT:
            break;
        default:
            source[i] = NULL_DEVICE;
        }
    }
    return 0;
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
    int rc = choose_streams(o, plan.source, ours, theirs);
    if (rc == 0) {
        bool as_other = o->set_uid || o->set_gid;
        rc =
            as_other ? start_child_as(&plan, &p->fd, &p->pid) : start_child(&plan, &p->fd, &p->pid);
    }
    close_all(theirs, 3);
    if (rc < 0) {
        close_all(ours, 3);
        return rc;
    }
    for (int i = 0; i < 3; i++) {
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

/* waitid's result for one process: 1: ended, in *info; 0: running. */
static int look(xev_fd fd, int flags, siginfo_t *info) {
    if (fd < 0) {
        return XEV_EBADF; /* the kernel says EINVAL */
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
    int rc = look(fd, WNOWAIT, &info);
    return rc < 0 ? rc : 0;
}

int xev__os_process_wait(xev_fd fd) {
    siginfo_t info;
    int rc = look(fd, 0, &info);
    if (rc <= 0) {
        return rc == 0 ? XEV_EAGAIN : rc;
    }
    return info.si_code == CLD_EXITED ? info.si_status & 255
                                      : XEV_PROCESS_SIGNALED + info.si_status;
}

int xev__os_process_kill(xev_fd fd, int signal_number) {
    if (fd < 0) {
        return XEV_EBADF;
    }
    return syscall(SYS_pidfd_send_signal, fd, signal_number, NULL, 0) < 0 ? -errno : 0;
}

/* ---- children that nobody waits for ---- */

/* Their pidfds stand in one epoll instance, which says which of them have ended, however many run.
 * It exists while there are any. */
static struct {
    pthread_mutex_t lock;
    int epoll;
    uint32_t count; /* atomic for a first look */
    pid_t owner;    /* after a fork they are not ours */
    /* Those that there was no epoll for, or no room in it: tried each time. */
    int spare[16];
    uint32_t spare_len;
} given_up = {.lock = PTHREAD_MUTEX_INITIALIZER, .epoll = -1};

/* False: it runs; or it has ended, but somebody who traces it has it first. */
static bool collect(int fd) {
    siginfo_t info;
    if (look(fd, 0, &info) == 0) {
        return false;
    }
    if (given_up.epoll >= 0) {
        (void)epoll_ctl(given_up.epoll, EPOLL_CTL_DEL, fd, NULL);
    }
    (void)close(fd);
    __atomic_fetch_sub(&given_up.count, 1, __ATOMIC_RELAXED);
    return true;
}

static void collect_locked(void) {
    struct epoll_event events[32]; /* more per call than a call can add */
    int n = given_up.epoll < 0 ? 0 : epoll_wait(given_up.epoll, events, 32, 0);
    for (int i = 0; i < n; i++) {
        (void)collect(events[i].data.fd);
    }
    for (uint32_t i = given_up.spare_len; i-- > 0;) {
        if (collect(given_up.spare[i])) {
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

/* Takes fd. */
static int keep(int fd) {
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
    return xev__os_process_check(fd) == 0 ? keep(fd) : xev__os_close(fd);
}

void xev__os_process_forked(void) {
    identity = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    given_up.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}
