/* Windows: console control events as signals. Ctrl-C is SIGINT. Ctrl-Break, by which another
 * program asks this one to end, and shutdown are SIGTERM (15). The close of the console is SIGHUP
 * (1). The system calls the handler on a thread of its own. After the last two it ends the process
 * when the handler has returned, so the handler does not. SIGPIPE (13) can be caught, and is never
 * raised.
 *
 * Of a logoff only services are told, and not whose it is: they go on. */
#include <signal.h>

#include "xev/os/signal.h"
#include "xev/os/windows/windows_base.h"

static SRWLOCK lock = SRWLOCK_INIT;
static void (*handlers_by_number[XEV__SIGNALS + 1])(int); /* atomic */
static bool installed;                                    /* under the lock */

static bool is_known(int number) {
    return number == SIGINT || number == SIGTERM || number == XEV_SIGHUP || number == XEV_SIGPIPE;
}

/* What no system lets a program wait for: SIGKILL, SIGSTOP, and those of a faulty instruction. */
static bool is_never_known(int number) {
    return number == XEV_SIGKILL || number == 19 || number == SIGSEGV || number == SIGFPE ||
           number == SIGILL || number == 7;
}

int xev__os_signal_check(int number) {
    return number <= 0 || number > XEV__SIGNALS || is_never_known(number) ? XEV_EINVAL
           : is_known(number)                                             ? 0
                                                                          : XEV_ENOTSUP;
}

static BOOL WINAPI on_control(DWORD event) {
    if (event == CTRL_LOGOFF_EVENT) {
        return TRUE;
    }
    int number = event == CTRL_C_EVENT ? SIGINT : event == CTRL_CLOSE_EVENT ? XEV_SIGHUP : SIGTERM;
    void (*handler)(int) = __atomic_load_n(&handlers_by_number[number], __ATOMIC_ACQUIRE);
    if (handler == NULL) {
        return FALSE;
    }
    handler(number);
    if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT) {
        Sleep(INFINITE); /* until the program has ended itself, or the system does */
    }
    return TRUE;
}

enum xev__disposition xev__os_signal_disposition(int number) {
    return __atomic_load_n(&handlers_by_number[number], __ATOMIC_ACQUIRE) != NULL ? XEV__HANDLED
                                                                                  : XEV__DEFAULT;
}

int xev__os_signal_catch(int number, void (*handler)(int)) {
    XEV_ASSERT(is_known(number));
    if (!installed && !SetConsoleCtrlHandler(on_control, TRUE)) {
        return xev__win_last_code();
    }
    installed = true;
    __atomic_store_n(&handlers_by_number[number], handler, __ATOMIC_RELEASE);
    return 0;
}

void xev__os_signal_restore(int number, void (*handler)(int)) {
    XEV_ASSERT(is_known(number));
    (void)handler;
    __atomic_store_n(&handlers_by_number[number], NULL, __ATOMIC_RELEASE);
}

void xev__os_signals_lock(void) { AcquireSRWLockExclusive(&lock); }
void xev__os_signals_unlock(void) { ReleaseSRWLockExclusive(&lock); }
void xev__os_signals_forked(void) {}
