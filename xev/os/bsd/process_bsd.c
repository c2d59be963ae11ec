/* macOS and the BSDs: child processes.
 *
 * The descriptor of a process is a kqueue of its own with EVFILT_PROC: it becomes readable when the
 * process ends, and any loop can wait for it. Nothing reads from it. What number the process has
 * stands in a list here, by descriptor. A child's number is its own until it is collected, and once
 * it is collected here nothing is sent to that number any more.
 *
 * Spawn: a fork, so it costs more the larger the program is. The child waits until the parent
 * watches it, then it does what the options say by calls that are allowed there, and loads the
 * program; or it writes its error to a pipe, which else is closed by the load. */
#include <sys/types.h>

#include <sys/event.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "xev/error.h"
#include "xev/os/descriptor.h"
#include "xev/os/posix/posix.h"
#include "xev/os/posix/streams.h"
#include "xev/os/process.h"

extern char **environ;

/* ---- the list ---- */

struct process {
    struct process *next;
    int fd; /* -1: given up, to be collected */
    pid_t pid;
    bool collected;
};

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct process *processes;

static struct process **find_process(int fd) {
    struct process **at = &processes;
    while (*at != NULL && (*at)->fd != fd) {
        at = &(*at)->next;
    }
    return at;
}

/* The process of a descriptor, or 0: it is none of ours. */
static pid_t pid_of(int fd, bool *collected) {
    pid_t pid = 0;
    *collected = false;
    (void)pthread_mutex_lock(&list_lock);
    const struct process *p = fd < 0 ? NULL : *find_process(fd);
    if (p != NULL) {
        pid = p->pid;
        *collected = p->collected;
    }
    (void)pthread_mutex_unlock(&list_lock);
    return pid;
}

/* The descriptor was closed without us, where it is in the list already. */
static void list_process(struct process *p) {
    (void)pthread_mutex_lock(&list_lock);
    struct process **at = find_process(p->fd);
    struct process *old = *at;
    if (old != NULL) {
        *at = old->next;
    }
    p->next = processes;
    processes = p;
    (void)pthread_mutex_unlock(&list_lock);
    free(old);
}

/* Collect those that were given up and have ended. */
static void collect_given_up_ones(void) {
    (void)pthread_mutex_lock(&list_lock);
    for (struct process **at = &processes; *at != NULL;) {
        struct process *p = *at;
        if (p->fd < 0 && waitpid(p->pid, NULL, WNOHANG) != 0) {
            *at = p->next;
            free(p);
        } else {
            at = &p->next;
        }
    }
    (void)pthread_mutex_unlock(&list_lock);
}

void xev__os_process_forked(void) {
    list_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    processes = NULL; /* its parent's children, and it has none of the descriptors */
}

static int process_change(int kq, uintptr_t ident, int filter, unsigned flags, unsigned fflags) {
    struct kevent ev = {0};
    ev.ident = ident;
    ev.filter = (__typeof__(ev.filter))filter;
    ev.flags = (__typeof__(ev.flags))flags;
    ev.fflags = fflags;
    return kevent(kq, &ev, 1, NULL, 0, NULL) < 0 ? -errno : 0;
}

/* Watch a process that exists. */
static int watch_pid(int kq, pid_t pid) {
    int rc = process_change(kq, (uintptr_t)pid, EVFILT_PROC, EV_ADD, NOTE_EXIT);
    if (rc == XEV_ESRCH && (kill(pid, 0) == 0 || errno == EPERM)) {
        /* It has ended and is not collected: macOS and NetBSD watch no such one. */
        rc = process_change(kq, 1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0);
    }
    return rc;
}

static int open_queue(void) {
    int fd = kqueue();
    fd = xev__os_above_std(fd < 0 ? -errno : fd);
    if (fd >= 0) {
        (void)xev__os_set_cloexec(fd);
    }
    return fd;
}

/* ---- in the child ---- */

struct plan {
    const xev_process_options *options;
    const char *file;
    const char *path; /* folders to search; NULL: file is a path */
    const char *const *env;
    int source[3]; /* by stream, as xev__sys_choose_streams says */
    bool root;
    int go, error; /* pipes: a byte to be read first, to write an error to */
    int parents;   /* the other end of go */
    char name[PATH_MAX];
};

static int child_identity(const struct plan *p) {
    const xev_process_options *o = p->options;
    if ((o->set_uid || o->set_gid) && p->root && setgroups(0, NULL) < 0) {
        return errno;
    }
    if (o->set_gid && setgid((gid_t)o->gid) < 0) {
        return errno;
    }
    return o->set_uid && setuid((uid_t)o->uid) < 0 ? errno : 0;
}

static int child_stream(const struct plan *p, int i) {
    int from = p->source[i];
    if (from == XEV__STREAM_CLOSED) {
        (void)close(i);
        return 0;
    }
    bool opened = from == XEV__STREAM_NULL;
    if (opened) {
        do {
            from = open("/dev/null", O_RDWR);
        } while (from < 0 && errno == EINTR);
    }
    if (from < 0) {
        return errno;
    }
    if (from == i) {
        return fcntl(i, F_SETFD, 0) < 0 ? errno : 0;
    }
    if (dup2(from, i) < 0) {
        return errno;
    }
    if (opened) {
        (void)close(from);
    }
    return 0;
}

static int child_streams(struct plan *p) {
    /* A source that is itself a stream's number would be overwritten, so move it first. */
    for (int i = 0; i < 3; i++) {
        if (p->source[i] >= 0 && p->source[i] < 3 && p->source[i] != i) {
            p->source[i] = fcntl(p->source[i], F_DUPFD_CLOEXEC, 3);
            if (p->source[i] < 0) {
                return errno;
            }
        }
    }
    int error = 0;
    for (int i = 0; i < 3 && error == 0; i++) {
        error = child_stream(p, i);
    }
    return error;
}

static void child_signals(void) {
    struct sigaction to_default = {.sa_flags = 0};
    to_default.sa_handler = SIG_DFL;
    sigset_t none;
    for (int number = 1; number < XEV__SYS_SIGNALS; number++) {
        (void)sigaction(number, &to_default, NULL);
    }
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int child_exec(const struct plan *p, const char *name) {
    (void)execve(name, (char *const *)(uintptr_t)p->options->argv,
                 (char *const *)(uintptr_t)p->env);
    return errno;
}

/* As execvp, except that a file in an unknown format is not given to a shell. */
static int child_search(struct plan *p) {
    int error = ENOENT;
    size_t file_len = strlen(p->file);
    for (const char *folder = p->path;; folder++) {
        size_t len = strcspn(folder, ":");
        int found = ENOENT;
        if (len + file_len + 2 <= sizeof p->name) {
            memcpy(p->name, folder, len);
            p->name[len] = '/';
            memcpy(p->name + len + (len > 0), p->file, file_len + 1);
            found = child_exec(p, p->name);
        }
        if (found == EACCES) {
            error = EACCES; /* reported if no other folder has the program */
        } else if (found != ENOENT && found != ENOTDIR && found != ENODEV && found != ESTALE &&
                   found != ETIMEDOUT) {
            return found;
        }
        folder += len;
        if (*folder == '\0') {
            return error;
        }
    }
}

static _Noreturn void run_child(struct plan *p) {
    const xev_process_options *o = p->options;
    char byte;
    ssize_t n;
    (void)close(p->parents);
    while ((n = read(p->go, &byte, 1)) < 0 && errno == EINTR) {
    }
    if (n <= 0) {
        _exit(127); /* the parent has died */
    }
    if (o->detached) {
        (void)setsid();
    } else if (o->own_group) {
        (void)setpgid(0, 0);
    }
    int error = child_identity(p);
    if (error == 0 && o->cwd != NULL && chdir(o->cwd) < 0) {
        error = errno;
    }
    error = error == 0 ? child_streams(p) : error;
    if (error == 0) {
        child_signals();
        error = p->path == NULL ? child_exec(p, p->file) : child_search(p);
    }
    while (write(p->error, &error, sizeof error) < 0 && errno == EINTR) {
    }
    _exit(127);
}

/* ---- in the parent ---- */

static void close_both(int pair[2]) {
    for (int i = 0; i < 2; i++) {
        if (pair[i] >= 0) {
            (void)close(pair[i]);
        }
    }
}

/* Make the child, watch it, and wait until it has loaded its program. 0 or a code; then it is gone,
 * and collected. */
static int start_watched(struct plan *p, int kq, pid_t *child) {
    int go[2] = {-1, -1}, error[2] = {-1, -1};
    int rc = xev__os_pipe(&go[0], &go[1]);
    rc = rc == 0 ? xev__os_pipe(&error[0], &error[1]) : rc;
    sigset_t all, before;
    sigfillset(&all);
    p->go = go[0];
    p->error = error[1];
    p->parents = go[1];
    *child = -1;
    if (rc == 0) {
        (void)pthread_sigmask(SIG_SETMASK, &all, &before);
        *child = fork();
        if (*child == 0) {
            run_child(p);
        }
        rc = *child < 0 ? -errno : 0;
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (rc == 0) {
        rc = watch_pid(kq, *child);
        /* A byte, and not the end of the pipe: a child that another thread starts in this moment
         * has a copy of the other end until it has loaded its program. */
        while (rc == 0 && write(go[1], "", 1) != 1) {
            rc = errno == EINTR ? 0 : -errno;
        }
        if (rc < 0) {
            (void)kill(*child, SIGKILL);
        }
        (void)close(go[1]);
        (void)close(error[1]);
        go[1] = error[1] = -1;
        int code = 0;
        ssize_t n;
        while ((n = read(error[0], &code, sizeof code)) < 0 && errno == EINTR) {
        }
        rc = rc == 0 && n == (ssize_t)sizeof code ? -code : rc;
        while (rc < 0 && waitpid(*child, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    close_both(go);
    close_both(error);
    return rc;
}

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
    collect_given_up_ones();
    struct process *process = calloc(1, sizeof *process);
    if (process == NULL) {
        return XEV_ENOMEM;
    }
    process->fd = open_queue();
    int rc = process->fd < 0 ? process->fd : xev__sys_choose_streams(o, plan.source, ours, theirs);
    rc = rc == 0 ? start_watched(&plan, process->fd, &process->pid) : rc;
    xev__sys_close_streams(theirs);
    if (rc < 0) {
        xev__sys_close_streams(ours);
        if (process->fd >= 0) {
            (void)close(process->fd);
        }
        free(process);
        return rc;
    }
    p->fd = process->fd;
    p->pid = process->pid;
    list_process(process);
    for (int i = 0; i < 3; i++) {
        p->stdio[i] = ours[i];
    }
    return 0;
}

int xev__os_process_open(int32_t pid, xev_fd *fd) {
    struct process *process = calloc(1, sizeof *process);
    if (process == NULL) {
        return XEV_ENOMEM;
    }
    int kq = open_queue();
    int rc = kq < 0 ? kq : watch_pid(kq, pid);
    if (rc < 0) {
        if (kq >= 0) {
            (void)close(kq);
        }
        free(process);
        return rc;
    }
    process->fd = *fd = kq;
    process->pid = pid;
    list_process(process);
    return 0;
}

/* ---- wait, signal ---- */

static int child_state(pid_t pid, int flags) {
    siginfo_t info;
    int rc;
    do {
        info = (siginfo_t){0};
        rc = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | flags);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

int xev__os_process_check(xev_fd fd) {
    bool collected;
    pid_t pid = pid_of(fd, &collected);
    return pid == 0 ? XEV_EBADF : collected ? XEV_ECHILD : child_state(pid, WNOWAIT);
}

int xev__os_process_wait(xev_fd fd) {
    int rc = XEV_EBADF, status = 0;
    (void)pthread_mutex_lock(&list_lock);
    struct process *p = fd < 0 ? NULL : *find_process(fd);
    if (p != NULL) {
        do {
            rc = p->collected ? XEV_ECHILD : xev__sys_result(waitpid(p->pid, &status, WNOHANG));
        } while (rc == XEV_EINTR);
        p->collected = p->collected || rc > 0;
    }
    (void)pthread_mutex_unlock(&list_lock);
    if (rc <= 0) {
        return rc == 0 ? XEV_EAGAIN : rc;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : XEV_PROCESS_SIGNALED + WTERMSIG(status);
}

/* 0, or the code for a signal to a process that cannot be reached by its number any more. */
static int reach(xev_fd fd, pid_t *pid) {
    bool collected;
    *pid = pid_of(fd, &collected);
    if (*pid == 0) {
        return XEV_EBADF;
    }
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (collected || (poll(&p, 1, 0) > 0 && child_state(*pid, WNOWAIT) < 0)) {
        return XEV_ESRCH; /* it has ended, and somebody else has collected it or will */
    }
    return 0;
}

int xev__os_process_kill(xev_fd fd, int signal_number) {
    pid_t pid;
    int rc = reach(fd, &pid);
    return rc < 0 ? rc : kill(pid, signal_number) < 0 ? -errno : 0;
}

int xev__os_process_kill_group(xev_fd fd, int32_t pid, int signal_number) {
    pid_t known;
    int rc = reach(fd, &known);
    if (rc < 0) {
        return rc;
    }
    if (pid <= 1) {
        return XEV_ESRCH; /* kill(2) would take it for another group, or for everybody */
    }
    if (signal_number < 0 || signal_number >= XEV__SYS_SIGNALS) {
        return XEV_EINVAL;
    }
    return kill(-pid, signal_number) < 0 ? -errno : 0;
}

int xev__os_process_give_up(xev_fd fd) {
    bool child = xev__os_process_check(fd) == 0;
    (void)pthread_mutex_lock(&list_lock);
    struct process **at = find_process(fd);
    struct process *p = fd < 0 ? NULL : *at;
    if (p != NULL) {
        if (child && !p->collected) {
            p->fd = -1;
        } else {
            *at = p->next;
            free(p);
        }
    }
    (void)pthread_mutex_unlock(&list_lock);
    int rc = xev__os_close(fd);
    collect_given_up_ones();
    return rc;
}
