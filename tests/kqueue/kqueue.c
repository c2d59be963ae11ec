/* kqueue(2) on epoll, timerfd, eventfd, pidfd and inotify, for tests on Linux only. long-file: one
 * kernel's interface, whose parts share their state and its lock.
 *
 * What it does is taken from two places, which the comments name: the manual page kqueue(2) of
 * FreeBSD 12.2 ("man"), and what the code of NetBSD's kernel was seen to do ("seen").
 *
 * How: the descriptor of a queue is an epoll instance, which holds the descriptors of EVFILT_READ
 * edge-triggered, and a second instance, which holds those of EVFILT_WRITE. So the addition of one
 * filter is no event for the other (seen: a READ with EV_CLEAR stays edge-triggered when a WRITE is
 * added on its descriptor). It holds further descriptors for what is none: a timer, a process, a
 * watched file, the user's events. An event marks its knote as active; knotes that are active wait
 * in a queue, from which kevent takes them.
 *
 * Not as on a BSD: the socket error in fflags, since Linux gives it once and the program is to have
 * it; EV_EOF of EVFILT_WRITE on the side that sent a FIN; the room in data of EVFILT_WRITE;
 * EVFILT_AIO, EVFILT_SIGNAL, NOTE_FORK and the like are refused with EINVAL. */
#include <sys/event.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

/* Room for user events in a queue: these must be found by a signal handler, without a lock. */
#define USERS 4
#define BUCKETS 1024u
#define BATCH 256
#define FILE_EVENTS                                                                                \
    (IN_MODIFY | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MOVE_SELF |  \
     IN_DELETE_SELF)
/* What epoll reports of a descriptor that stands for something in a queue's first instance. */
enum { TAG_WRITE = 1, TAG_USER, TAG_LEFT, TAG_KNOTES };

struct knote {
    struct kevent is;
    struct knote *next; /* in its bucket */
    struct knote *next_active;
    int fd;           /* of the timer, the process, the watched file; or -1 */
    int watch;        /* inotify's, of the file itself */
    uint32_t revents; /* what epoll said, while fresh */
    unsigned fired;   /* NOTE_* that happened */
    int64_t count;    /* data of what happened: expirations, a status */
    bool active, disabled, fresh;
    bool always; /* a regular file, of which epoll knows nothing */
};

struct user {
    _Atomic uintptr_t ident; /* + 1; 0: none */
    _Atomic bool triggered;
};

struct queue {
    _Atomic(struct queue *) next; /* of all there ever were */
    _Atomic int fd;               /* -1: closed */
    int writes;                   /* the second instance */
    int wake, left;               /* eventfds: a user event; knotes are left active */
    bool is_left;
    struct knote *buckets[BUCKETS];
    struct knote *first_active, *last_active;
    struct user users[USERS];
};

static _Atomic(struct queue *) queues;
static _Atomic int open_queues;
static _Atomic bool refuse_user;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void kqueue_refuse_user(bool refuse) { refuse_user = refuse; }

__attribute__((constructor)) static void refuse_user_from_the_start(void) {
    const char *user = getenv("XEV_TEST_KQUEUE_USER");
    refuse_user = user != NULL && strcmp(user, "off") == 0;
}

/* Not by close, which tests make fail; but ThreadSanitizer has to see it, or it takes the next use
 * of the number for the same descriptor. */
#if defined(__SANITIZE_THREAD__)
static int (*next_close)(int);
__attribute__((constructor)) static void find_close(void) {
    void *found = dlsym(RTLD_NEXT, "close");
    memcpy(&next_close, &found, sizeof found);
}
static int close_really(int fd) {
    return next_close != NULL ? next_close(fd) : (int)syscall(SYS_close, fd);
}
#else
static int close_really(int fd) { return (int)syscall(SYS_close, fd); }
#endif

/* The standard streams may be closed: what is behind a queue leaves their numbers alone. */
static int above_std(int fd) {
    if (fd < 0 || fd > 2) {
        return fd;
    }
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    (void)close_really(fd);
    return moved;
}

static struct queue *queue_of(int fd) {
    for (struct queue *q = fd < 0 ? NULL : queues; q != NULL; q = q->next) {
        if (q->fd == fd) {
            return q;
        }
    }
    return NULL;
}

/* ---- knotes ---- */

/* By pages: the program's allocator is the business of the tests. */
static void *take_memory(size_t bytes) {
    long p =
        syscall(SYS_mmap, NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == -1 ? NULL : (void *)p;
}

static struct knote *free_knotes;

static struct knote *take_knote(void) {
    enum { KNOTES = 512 };
    if (free_knotes == NULL) {
        struct knote *made = take_memory(KNOTES * sizeof *made);
        for (int i = 0; made != NULL && i < KNOTES; i++) {
            made[i].next = free_knotes;
            free_knotes = &made[i];
        }
    }
    struct knote *k = free_knotes;
    if (k != NULL) {
        free_knotes = k->next;
        *k = (struct knote){.fd = -1};
    }
    return k;
}

static void give_knote(struct knote *k) {
    k->next = free_knotes;
    free_knotes = k;
}

static bool is_of_descriptor(short filter) {
    return filter == EVFILT_READ || filter == EVFILT_WRITE || filter == EVFILT_VNODE;
}

/* man: a kevent is identified by the (ident, filter) pair. */
static struct knote **find_knote(struct queue *q, uintptr_t ident, short filter) {
    struct knote **at = &q->buckets[ident % BUCKETS];
    while (*at != NULL && ((*at)->is.ident != ident || (*at)->is.filter != filter)) {
        at = &(*at)->next;
    }
    return at;
}

static void activate(struct queue *q, struct knote *k) {
    if (k->active) {
        return;
    }
    k->active = true;
    k->next_active = NULL;
    if (q->last_active != NULL) {
        q->last_active->next_active = k;
    } else {
        q->first_active = k;
    }
    q->last_active = k;
}

static void deactivate(struct queue *q, struct knote *k) {
    if (!k->active) {
        return;
    }
    struct knote *before = NULL;
    for (struct knote *x = q->first_active; x != k; x = x->next_active) {
        before = x;
    }
    if (before != NULL) {
        before->next_active = k->next_active;
    } else {
        q->first_active = k->next_active;
    }
    q->last_active = q->last_active == k ? before : q->last_active;
    k->active = false;
}

static struct user *find_user(struct queue *q, uintptr_t ident) {
    for (int i = 0; i < USERS; i++) {
        if (q->users[i].ident == ident + 1) {
            return &q->users[i];
        }
    }
    return NULL;
}

static int instance_of(const struct queue *q, short filter) {
    return filter == EVFILT_WRITE ? q->writes : q->fd;
}

/* man: EV_DELETE removes the event from the kqueue. seen: also where it is pending. */
static void remove_knote(struct queue *q, struct knote **at) {
    struct knote *k = *at;
    deactivate(q, k);
    *at = k->next;
    if (k->fd >= 0) {
        (void)close_really(k->fd);
    } else if (k->is.filter == EVFILT_USER) {
        find_user(q, k->is.ident)->ident = 0;
    } else if (!k->always) {
        (void)epoll_ctl(instance_of(q, k->is.filter), EPOLL_CTL_DEL, (int)k->is.ident, NULL);
    }
    give_knote(k);
}

/* A tag for a knote with a descriptor of its own. It is looked up, since the knote may be gone by
 * the time that its event is seen. */
static uint64_t tag_of(const struct knote *k) {
    return TAG_KNOTES + ((uint64_t)(uint16_t)k->is.filter << 40 | (k->is.ident & 0xffffffffu) << 4);
}

static int watch_first(struct queue *q, int fd, uint32_t events, uint64_t tag) {
    struct epoll_event ev = {.events = events, .data.u64 = tag};
    return epoll_ctl(q->fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? errno : 0;
}

/* man: EV_ADD of an event that exists modifies its parameters, and the filter is executed upon the
 * registration. seen: data that is there already is reported, at a repeated EV_ADD again. */
static int watch_descriptor(struct queue *q, struct knote *k, bool again) {
    int fd = (int)k->is.ident;
    if (k->is.ident > INT32_MAX || fd == q->fd) {
        return k->is.ident > INT32_MAX ? EBADF : EINVAL;
    }
    struct stat st;
    if (queue_of(fd) != NULL && k->is.filter == EVFILT_WRITE) {
        return EINVAL;
    }
    bool reads = k->is.filter == EVFILT_READ;
    struct epoll_event ev = {.data.u64 = reads ? tag_of(k) : (uint64_t)fd,
                             .events = reads ? EPOLLIN | EPOLLRDHUP | EPOLLET : EPOLLOUT | EPOLLET};
    if (k->always || epoll_ctl(instance_of(q, k->is.filter), again ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
                               fd, &ev) == 0) {
        return 0;
    }
    if (errno != EPERM) {
        return errno;
    }
    /* man: READ of a vnode returns when the file pointer is not at the end of file; WRITE is not
     * supported for vnodes. */
    if (k->is.filter == EVFILT_WRITE || fstat(fd, &st) < 0) {
        return EINVAL;
    }
    k->always = true;
    return 0;
}

static int watch_timer(struct queue *q, struct knote *k) {
    /* man: without a flag data is in ms; periodic unless EV_ONESHOT. */
    uint64_t unit = (k->is.fflags & NOTE_SECONDS) != 0    ? 1000000000u
                    : (k->is.fflags & NOTE_USECONDS) != 0 ? 1000u
                    : (k->is.fflags & NOTE_NSECONDS) != 0 ? 1u
                                                          : 1000000u;
    uint64_t ns = (uint64_t)k->is.data * unit;
    ns = ns == 0 ? 1 : ns;
    struct itimerspec t = {.it_value = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)}};
    t.it_interval = (k->is.flags & EV_ONESHOT) != 0 ? (struct timespec){0} : t.it_value;
    if (k->fd < 0) {
        k->fd = above_std(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
        int error = k->fd < 0 ? errno : watch_first(q, k->fd, EPOLLIN, tag_of(k));
        if (error != 0) {
            return error;
        }
    }
    k->is.flags |= EV_CLEAR; /* seen, and man: set by the filter itself */
    k->count = 0;
    return timerfd_settime(k->fd, 0, &t, NULL) < 0 ? errno : 0;
}

static int watch_process(struct queue *q, struct knote *k) {
    if ((k->is.fflags & ~NOTE_EXIT) != 0) {
        return EINVAL;
    }
    k->is.flags |= EV_CLEAR;
    if (k->fd < 0) {
        k->fd =
            above_std((int)syscall(SYS_pidfd_open, (pid_t)k->is.ident, 0)); /* man: ESRCH if none */
        return k->fd < 0 ? errno : watch_first(q, k->fd, EPOLLIN | EPOLLET, tag_of(k));
    }
    return 0;
}

static int watch_file(struct queue *q, struct knote *k) {
    char path[32];
    struct stat st;
    if (fstat((int)k->is.ident, &st) < 0) {
        return errno;
    }
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        return EINVAL;
    }
    if (k->fd < 0) {
        k->fd = above_std(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
        snprintf(path, sizeof path, "/proc/self/fd/%d", (int)k->is.ident);
        k->watch = k->fd < 0 ? -1 : inotify_add_watch(k->fd, path, FILE_EVENTS);
        if (k->watch < 0) {
            return errno;
        }
        /* Nothing is said to the watcher of an open folder when that is removed; to its parent's it
         * is. */
        snprintf(path, sizeof path, "/proc/self/fd/%d/..", (int)k->is.ident);
        if (S_ISDIR(st.st_mode) && inotify_add_watch(k->fd, path, IN_DELETE | IN_ONLYDIR) < 0) {
            return errno;
        }
        return watch_first(q, k->fd, EPOLLIN, tag_of(k));
    }
    return 0;
}

static int watch_user(struct queue *q, const struct knote *k, bool again) {
    if (refuse_user) {
        return EINVAL; /* seen */
    }
    struct user *u = again ? find_user(q, k->is.ident) : NULL;
    for (int i = 0; i < USERS && u == NULL; i++) {
        u = q->users[i].ident == 0 ? &q->users[i] : NULL;
    }
    if (u == NULL) {
        return ENOMEM;
    }
    u->triggered = false;
    u->ident = k->is.ident + 1;
    return 0;
}

static int start_watch(struct queue *q, struct knote *k, bool again) {
    switch (k->is.filter) {
    case EVFILT_READ:
    case EVFILT_WRITE:
        return watch_descriptor(q, k, again);
    case EVFILT_TIMER:
        return watch_timer(q, k);
    case EVFILT_PROC:
        return watch_process(q, k);
    case EVFILT_VNODE:
        return watch_file(q, k);
    case EVFILT_USER:
        return watch_user(q, k, again);
    default:
        return EINVAL; /* man: the specified filter is invalid */
    }
}

static int add_knote(struct queue *q, const struct kevent *change) {
    struct knote **at = find_knote(q, change->ident, change->filter);
    bool again = *at != NULL;
    struct knote *k = *at;
    if (!again) {
        k = take_knote();
        if (k == NULL) {
            return ENOMEM;
        }
    }
    struct kevent before = k->is;
    k->is = *change;
    k->is.flags &= (unsigned short)~(EV_ADD | EV_DELETE | EV_ENABLE | EV_DISABLE | EV_RECEIPT);
    int error = start_watch(q, k, again);
    if (error != 0) {
        k->is = before;
        if (!again) {
            (void)(k->fd < 0 || close_really(k->fd));
            give_knote(k);
        }
        return error;
    }
    if (!again) {
        *at = k;
    }
    k->disabled = (change->flags & EV_DISABLE) != 0; /* man: adding enables it, unless DISABLE */
    if (k->always) {
        activate(q, k);
    }
    return 0;
}

static int trigger(struct queue *q, uintptr_t ident) {
    struct user *u = find_user(q, ident);
    const uint64_t one = 1;
    if (u == NULL) {
        return ENOENT;
    }
    u->triggered = true;
    return write(q->wake, &one, sizeof one) == (ssize_t)sizeof one ? 0 : errno;
}

/* 0 or an errno. */
static int apply(struct queue *q, const struct kevent *change) {
    struct knote **at = find_knote(q, change->ident, change->filter);
    if ((change->flags & EV_DELETE) != 0) {
        if (*at == NULL) { /* man, seen: ENOENT; of a descriptor that is not open, EBADF */
            return is_of_descriptor(change->filter) && fcntl((int)change->ident, F_GETFD) < 0
                       ? EBADF
                       : ENOENT;
        }
        remove_knote(q, at);
        return 0;
    }
    int error = (change->flags & EV_ADD) != 0 ? add_knote(q, change) : 0;
    if (error != 0) {
        return error;
    }
    struct knote *k = *find_knote(q, change->ident, change->filter);
    if (k == NULL) {
        return ENOENT; /* man: could not be found to be modified */
    }
    if ((change->flags & EV_ADD) == 0) {
        k->is.udata = change->udata;
        k->disabled =
            (change->flags & EV_DISABLE) != 0 || (k->disabled && (change->flags & EV_ENABLE) == 0);
    }
    if (change->filter == EVFILT_USER && (change->fflags & NOTE_TRIGGER) != 0) {
        return trigger(q, change->ident);
    }
    return 0;
}

/* ---- events ---- */

static void expire(struct knote *k) {
    uint64_t times = 0;
    if (read(k->fd, &times, sizeof times) == (ssize_t)sizeof times) {
        k->count += (int64_t)times; /* man, seen: how often it has expired since */
    }
}

static void see_end(struct knote *k) {
    siginfo_t info = {0};
    k->fired = NOTE_EXIT;
    /* man: the exit status is in data. It is not ours to collect. */
    if (waitid(P_PIDFD, (id_t)k->fd, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 &&
        info.si_pid != 0) {
        k->count = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
    }
}

static void see_changes(struct knote *k) {
    static const struct {
        uint32_t theirs;
        unsigned ours;
    } notes[] = {
        {IN_MODIFY, NOTE_WRITE | NOTE_EXTEND},
        {IN_ATTRIB, NOTE_ATTRIB},
        {IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO, NOTE_WRITE},
        {IN_MOVE_SELF, NOTE_RENAME},
        {IN_DELETE_SELF, NOTE_DELETE},
        {IN_UNMOUNT, NOTE_REVOKE},
    };
    _Alignas(struct inotify_event) char bytes[4096];
    ssize_t n;
    while ((n = read(k->fd, bytes, sizeof bytes)) > 0) {
        const struct inotify_event *e;
        for (ssize_t at = 0; at < n; at += (ssize_t)(sizeof *e + e->len)) {
            e = (const struct inotify_event *)(const void *)(bytes + at);
            for (size_t i = 0; e->wd == k->watch && i < sizeof notes / sizeof notes[0]; i++) {
                /* Contents and attributes of an entry are not the folder's. */
                uint32_t mask = e->len > 0 ? e->mask & ~(uint32_t)(IN_MODIFY | IN_ATTRIB) : e->mask;
                k->fired |= (mask & notes[i].theirs) != 0 ? notes[i].ours : 0;
            }
            struct stat st;
            if ((e->mask & (IN_ATTRIB | IN_DELETE)) != 0 && fstat((int)k->is.ident, &st) == 0 &&
                st.st_nlink == 0) {
                k->fired |= NOTE_DELETE; /* man: unlink() was called on the file */
            }
        }
    }
    k->fired &= k->is.fflags;
}

static void collect_writes(struct queue *q) {
    struct epoll_event events[BATCH];
    int n;
    do {
        n = epoll_wait(q->writes, events, BATCH, 0);
        for (int i = 0; i < n; i++) {
            struct knote *k = *find_knote(q, (uintptr_t)events[i].data.u64, EVFILT_WRITE);
            if (k != NULL) {
                k->revents = events[i].events;
                k->fresh = true;
                activate(q, k);
            }
        }
    } while (n == BATCH);
}

static void collect_users(struct queue *q) {
    for (int i = 0; i < USERS; i++) {
        if (q->users[i].ident != 0 && atomic_exchange(&q->users[i].triggered, false)) {
            struct knote *k = *find_knote(q, q->users[i].ident - 1, EVFILT_USER);
            if (k != NULL) {
                k->fired = 1;
                activate(q, k);
            }
        }
    }
}

static void collect(struct queue *q, const struct epoll_event *events, int n) {
    for (int i = 0; i < n; i++) {
        uint64_t tag = events[i].data.u64;
        if (tag == TAG_WRITE) {
            collect_writes(q);
        } else if (tag == TAG_USER) {
            collect_users(q);
        } else if (tag >= TAG_KNOTES) {
            tag -= TAG_KNOTES;
            struct knote *k =
                *find_knote(q, (uintptr_t)(tag >> 4 & 0xffffffffu), (short)(uint16_t)(tag >> 40));
            if (k == NULL) {
                continue;
            }
            if (k->is.filter == EVFILT_READ) {
                k->fresh = false; /* it was seen without the lock */
            } else if (k->is.filter == EVFILT_TIMER) {
                expire(k);
            } else if (k->is.filter == EVFILT_PROC) {
                see_end(k);
            } else {
                see_changes(k);
            }
            activate(q, k);
        }
    }
}

static bool is_listener(int fd) {
    int listens = 0;
    socklen_t len = sizeof listens;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens != 0;
}

/* man: data is the number of bytes; of a listener the size of its backlog (seen: how many wait). */
static int64_t readable_bytes(int fd) {
    int bytes = 0;
    if (is_listener(fd)) {
        struct tcp_info info = {0};
        socklen_t len = sizeof info;
        return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 ? info.tcpi_unacked : 1;
    }
    return ioctl(fd, FIONREAD, &bytes) == 0 ? bytes : 1;
}

/* man: the filter is also run when the user retrieves the event; where the condition holds no
 * longer, it is not returned. */
static bool run_filter(struct knote *k, struct kevent *out) {
    *out = k->is;
    out->fflags = 0;
    out->data = 0;
    int fd = (int)k->is.ident;
    switch (k->is.filter) {
    case EVFILT_READ:
    case EVFILT_WRITE: {
        if (k->always) {
            struct stat st;
            off_t at = lseek(fd, 0, SEEK_CUR);
            out->data = fstat(fd, &st) == 0 && at >= 0 ? st.st_size - at : 0;
            return out->data != 0;
        }
        bool reads = k->is.filter == EVFILT_READ;
        if (!k->fresh) {
            struct pollfd p = {.fd = fd, .events = reads ? POLLIN | POLLRDHUP : POLLOUT};
            /* Not by poll(2), which tests make fail. */
            long n = syscall(SYS_poll, &p, 1, 0);
            k->revents = n > 0 ? (uint32_t)(uint16_t)p.revents : 0;
        }
        k->fresh = false;
        uint32_t end = EPOLLHUP | EPOLLERR | (reads ? EPOLLRDHUP : 0u);
        out->flags |= (k->revents & end) != 0 ? EV_EOF : 0; /* man: EOF while data is pending */
        out->data = reads ? readable_bytes(fd) : 1;
        return (k->revents & (end | EPOLLIN | EPOLLOUT)) != 0;
    }
    case EVFILT_TIMER:
        out->data = k->count;
        return k->count != 0;
    case EVFILT_PROC:
        out->data = k->count;
        out->flags |= EV_EOF;
        /* fall through */
    default:
        out->fflags = k->is.filter == EVFILT_USER ? 0 : k->fired;
        return k->fired != 0;
    }
}

static int take_events(struct queue *q, struct kevent *events, int room) {
    int n = 0;
    struct knote *last = q->last_active, *k = NULL;
    while (n < room && q->first_active != NULL && k != last) {
        k = q->first_active;
        deactivate(q, k);
        if (k->disabled || !run_filter(k, &events[n])) {
            if (k->disabled || k->always) {
                activate(q, k); /* man: the filter itself is not disabled */
            }
            continue;
        }
        n++;
        bool last_of_process = k->is.filter == EVFILT_PROC;
        k->count = 0;
        k->fired = 0;
        if ((k->is.flags & EV_ONESHOT) != 0 || last_of_process) {
            struct knote **at = find_knote(q, k->is.ident, k->is.filter);
            last = last == k ? NULL : last;
            remove_knote(q, at); /* man: deleted after the user has retrieved it */
            if (last == NULL) {
                break;
            }
            k = NULL;
            continue;
        }
        k->disabled = k->disabled || (k->is.flags & EV_DISPATCH) != 0;
        if ((k->is.flags & EV_CLEAR) == 0) {
            activate(q, k); /* a condition, which is looked at the next time */
        }
    }
    return n;
}

/* The queue's descriptor is readable while events are left in it. */
static void note_left(struct queue *q) {
    bool left = false;
    for (const struct knote *k = q->first_active; k != NULL && !left; k = k->next_active) {
        left = !k->disabled;
    }
    uint64_t number = 1;
    if (left != q->is_left) {
        q->is_left = left;
        (void)!(left ? syscall(SYS_write, q->left, &number, sizeof number)
                     : syscall(SYS_read, q->left, &number, sizeof number));
    }
}

static int refuse_call(int error) {
    errno = error;
    return -1;
}

static uint64_t now_ns(void) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* man: all changes are applied before any events are read. An error, or with EV_RECEIPT the success
 * of a change is an event with EV_ERROR where there is room, else the call's error. Returns the
 * number of those events, or -1. */
static int apply_all(struct queue *q, const struct kevent *changes, int count,
                     struct kevent *events, int room) {
    int n = 0;
    for (int i = 0; i < count; i++) {
        struct kevent change = changes[i]; /* man: both lists may be one array */
        int error = apply(q, &change);
        if (error == 0 && (change.flags & EV_RECEIPT) == 0) {
            continue;
        }
        if (n == room) { /* seen: the changes before it are applied */
            return error != 0 ? refuse_call(error) : n;
        }
        events[n] = change;
        events[n].flags |= EV_ERROR;
        events[n++].data = error;
    }
    return n;
}

static int wait_first(const struct queue *q, struct epoll_event *events, uint64_t end_ns,
                      bool for_ever, bool at_once) {
    uint64_t now = for_ever || at_once ? 0 : now_ns();
    uint64_t left = end_ns > now && !at_once ? end_ns - now : 0;
    struct timespec ts = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
    return epoll_pwait2(q->fd, events, BATCH, for_ever && !at_once ? NULL : &ts, NULL);
}

int kevent(int kq, const struct kevent *changes, int nchanges, struct kevent *events, int nevents,
           const struct timespec *timeout) {
    struct queue *q = queue_of(kq);
    if (q == NULL) {
        return refuse_call(EBADF);
    }
    if (timeout != NULL && (timeout->tv_nsec < 0 || timeout->tv_nsec > 999999999)) {
        return refuse_call(EINVAL);
    }
    if (nchanges == 1 && nevents == 0 && changes->filter == EVFILT_USER && changes->flags == 0 &&
        (changes->fflags & NOTE_TRIGGER) != 0) {
        int error = trigger(q, changes->ident); /* by a signal handler, too: without the lock */
        return error != 0 ? refuse_call(error) : 0;
    }
    bool for_ever = timeout == NULL;
    uint64_t wait_ns =
        for_ever ? 0 : (uint64_t)timeout->tv_sec * 1000000000u + (uint64_t)timeout->tv_nsec;
    (void)pthread_mutex_lock(&lock);
    int n = apply_all(q, changes, nchanges, events, nevents);
    bool more = q->first_active != NULL;
    (void)pthread_mutex_unlock(&lock);
    /* seen: errors and receipts return at once. man: without room nothing is waited for. */
    if (n != 0 || nevents == 0) {
        return n;
    }
    uint64_t end_ns = for_ever || wait_ns == 0 ? 0 : now_ns() + wait_ns;
    for (bool over = wait_ns == 0 && !for_ever;; over = !for_ever && now_ns() >= end_ns) {
        struct epoll_event firsts[BATCH];
        int found = wait_first(q, firsts, end_ns, for_ever, more || over);
        if (found < 0) {
            return -1; /* man: EINTR, and all changes have been applied */
        }
        (void)pthread_mutex_lock(&lock);
        collect(q, firsts, found);
        n = take_events(q, events, nevents);
        note_left(q);
        more = false;
        (void)pthread_mutex_unlock(&lock);
        if (n > 0 || over) {
            return n;
        }
    }
}

/* ---- the end of descriptors ---- */

static void end_queue(struct queue *q) {
    for (size_t i = 0; i < BUCKETS; i++) {
        while (q->buckets[i] != NULL) {
            remove_knote(q, &q->buckets[i]);
        }
    }
    (void)close_really(q->writes);
    (void)close_really(q->wake);
    (void)close_really(q->left);
    q->fd = -1;
    open_queues--;
}

/* man: close() removes any kevents that reference the descriptor. seen: also those whose event is
 * pending, and also while a dup of it is open: a knote belongs to the number. */
static void forget_number(int fd) {
    if (open_queues == 0 || fd < 0) {
        return;
    }
    static const short filters[] = {EVFILT_READ, EVFILT_WRITE, EVFILT_VNODE};
    int saved = errno;
    (void)pthread_mutex_lock(&lock);
    for (struct queue *q = queues; q != NULL; q = q->next) {
        if (q->fd == fd) {
            end_queue(q);
        }
        for (size_t i = 0; q->fd >= 0 && i < sizeof filters / sizeof filters[0]; i++) {
            struct knote **at = find_knote(q, (uintptr_t)fd, filters[i]);
            if (*at != NULL) {
                remove_knote(q, at);
            }
        }
    }
    (void)pthread_mutex_unlock(&lock);
    errno = saved;
}

int close(int fd) {
    forget_number(fd);
    return close_really(fd);
}

int dup2(int from, int to) {
    return from == to ? (fcntl(from, F_GETFD) < 0 ? -1 : to) : dup3(from, to, 0);
}

int dup3(int from, int to, int flags) {
    if (from != to && fcntl(from, F_GETFD) >= 0) {
        forget_number(to);
    }
    return (int)syscall(SYS_dup3, from, to, flags);
}

/* man: the queue is not inherited by a child created with fork. */
static void before_fork(void) { (void)pthread_mutex_lock(&lock); }
static void in_parent(void) { (void)pthread_mutex_unlock(&lock); }
static void in_child(void) {
    for (struct queue *q = queues; q != NULL; q = q->next) {
        int fd = q->fd;
        if (fd >= 0) {
            /* The instances are the parent's, too: nothing is taken out of them. */
            for (size_t i = 0; i < BUCKETS; i++) {
                for (struct knote *k = q->buckets[i], *next; k != NULL; k = next) {
                    next = k->next;
                    (void)(k->fd < 0 || close_really(k->fd));
                    give_knote(k);
                }
                q->buckets[i] = NULL;
            }
            q->first_active = q->last_active = NULL;
            end_queue(q);
            (void)close_really(fd);
        }
    }
    (void)pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void watch_forks(void) {
    (void)pthread_atfork(before_fork, in_parent, in_child);
}

int kqueue(void) {
    /* A BSD gives the lowest number, and a duplicate of it is the same queue; here it is none. */
    int fd = above_std(epoll_create1(EPOLL_CLOEXEC));
    if (fd < 0) {
        return -1;
    }
    errno = 0;
    int wake = above_std(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    int writes = above_std(epoll_create1(EPOLL_CLOEXEC));
    int left = above_std(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    (void)pthread_mutex_lock(&lock);
    struct queue *q = queues;
    while (q != NULL && q->fd >= 0) {
        q = q->next;
    }
    bool made = q == NULL;
    q = made ? take_memory(sizeof *q) : q;
    int error = wake < 0 || left < 0 || writes < 0 ? (errno != 0 ? errno : EMFILE)
                : q == NULL                        ? ENOMEM
                                                   : 0;
    if (error == 0) {
        q->writes = writes;
        q->wake = wake;
        q->left = left;
        q->is_left = false;
        memset(q->users, 0, sizeof q->users);
        q->fd = fd;
        open_queues++;
        if (made) {
            q->next = queues;
            queues = q;
        }
        error = watch_first(q, wake, EPOLLIN | EPOLLET, TAG_USER);
        error = error == 0 ? watch_first(q, writes, EPOLLIN, TAG_WRITE) : error;
        error = error == 0 ? watch_first(q, left, EPOLLIN, TAG_LEFT) : error;
        if (error != 0) {
            end_queue(q);
            wake = left = writes = -1;
        }
    } else if (made) {
        (void)(q == NULL || syscall(SYS_munmap, q, sizeof *q));
    }
    (void)pthread_mutex_unlock(&lock);
    if (error != 0) {
        (void)(wake < 0 || close_really(wake));
        (void)(left < 0 || close_really(left));
        (void)(writes < 0 || close_really(writes));
        (void)close_really(fd);
        return refuse_call(error);
    }
    return fd;
}
