/* kqueue(2) for tests on Linux: the names of FreeBSD's <sys/event.h>, with its numbers. What stands
 * behind them is kqueue.c, which no product can be linked with. */
#ifndef TESTS_KQUEUE_SYS_EVENT_H
#define TESTS_KQUEUE_SYS_EVENT_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EVFILT_VNODE (-4)
#define EVFILT_PROC (-5)
#define EVFILT_TIMER (-7)
#define EVFILT_USER (-11)

#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_DISABLE 0x0008
#define EV_ONESHOT 0x0010
#define EV_CLEAR 0x0020
#define EV_RECEIPT 0x0040
#define EV_DISPATCH 0x0080
#define EV_ERROR 0x4000
#define EV_EOF 0x8000

/* EVFILT_VNODE */
#define NOTE_DELETE 0x0001
#define NOTE_WRITE 0x0002
#define NOTE_EXTEND 0x0004
#define NOTE_ATTRIB 0x0008
#define NOTE_LINK 0x0010
#define NOTE_RENAME 0x0020
#define NOTE_REVOKE 0x0040
/* EVFILT_PROC */
#define NOTE_EXIT 0x80000000u
/* EVFILT_USER */
#define NOTE_TRIGGER 0x01000000u
/* EVFILT_TIMER */
#define NOTE_SECONDS 0x0001
#define NOTE_MSECONDS 0x0002
#define NOTE_USECONDS 0x0004
#define NOTE_NSECONDS 0x0008

struct kevent {
    uintptr_t ident;
    short filter;
    unsigned short flags;
    unsigned int fflags;
    int64_t data;
    void *udata;
    uint64_t ext[4];
};

#define EV_SET(kev, a, b, c, d, e, f)                                                              \
    (*(kev) = (struct kevent){.ident = (uintptr_t)(a),                                             \
                              .filter = (short)(b),                                                \
                              .flags = (unsigned short)(c),                                        \
                              .fflags = (unsigned)(d),                                             \
                              .data = (e),                                                         \
                              .udata = (f)})

int kqueue(void);
int kevent(int kq, const struct kevent *changelist, int nchanges, struct kevent *eventlist,
           int nevents, const struct timespec *timeout);

/* For tests: EVFILT_USER is refused with EINVAL from now on, as NetBSD does before version 10. The
 * variable XEV_TEST_KQUEUE_USER=off does so from the start (--config=kqueue_pipe). */
void kqueue_refuse_user(bool refuse);

#endif
