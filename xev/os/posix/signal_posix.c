/* POSIX: dispositions of signals, and the lock under which they change. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include "xev/error.h"
#include "xev/os/complain.h"
#include "xev/os/posix/posix.h"
#include "xev/os/signal.h"

_Static_assert(XEV_SIGHUP == SIGHUP && XEV_SIGINT == SIGINT && XEV_SIGQUIT == SIGQUIT &&
                   XEV_SIGKILL == SIGKILL && XEV_SIGPIPE == SIGPIPE && XEV_SIGTERM == SIGTERM,
               "the system's numbers");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Under the lock: its holder's signal mask before; the dispositions that our handler replaced. */
static sigset_t holders_mask;
static struct sigaction replaced[XEV__SIGNALS + 1];

int xev__os_signal_check(int number) {
    switch (number) {
    case SIGKILL: /* the kernel does not allow a handler */
    case SIGSTOP:
    case SIGSEGV: /* after the handler the faulty instruction is repeated, for ever */
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
        return XEV_EINVAL;
    default:
        return number > 0 && number <= XEV__SIGNALS && number < XEV__SYS_SIGNALS ? 0 : XEV_EINVAL;
    }
}

enum xev__disposition xev__os_signal_disposition(int number) {
    struct sigaction now;
    if (sigaction(number, NULL, &now) < 0 || (now.sa_flags & SA_SIGINFO) != 0) {
        return XEV__HANDLED;
    }
    return now.sa_handler == SIG_DFL   ? XEV__DEFAULT
           : now.sa_handler == SIG_IGN ? XEV__IGNORED
                                       : XEV__HANDLED;
}

int xev__os_signal_catch(int number, void (*handler)(int)) {
    struct sigaction action = {.sa_flags = SA_RESTART | SA_ONSTACK};
    action.sa_handler = handler;
    sigfillset(&action.sa_mask);
    XEV_ASSERT(number > 0 && number <= XEV__SIGNALS);
    /* The C library keeps two signals for itself, and answers EINVAL for them. */
    return sigaction(number, &action, &replaced[number]) < 0 ? -errno : 0;
}

void xev__os_signal_restore(int number, void (*handler)(int)) {
    XEV_ASSERT(number > 0 && number <= XEV__SIGNALS);
    struct sigaction now;
    if (sigaction(number, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) == 0 &&
        now.sa_handler == handler) {
        (void)sigaction(number, &replaced[number], NULL);
    }
}

void xev__os_signals_lock(void) {
    sigset_t all, before;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_mutex_lock(&lock);
    assert(rc == 0);
    (void)rc;
    holders_mask = before;
}

void xev__os_signals_unlock(void) {
    sigset_t before = holders_mask;
    (void)pthread_mutex_unlock(&lock);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void xev__os_signals_forked(void) { lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER; }
