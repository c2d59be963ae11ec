/* WASI: there are no signals. */
#include "xev/error.h"
#include "xev/os/signal.h"

int xev__os_signal_check(int number) {
    (void)number;
    return XEV_ENOTSUP;
}

enum xev__disposition xev__os_signal_disposition(int number) {
    (void)number;
    return XEV__DEFAULT;
}

int xev__os_signal_catch(int number, void (*handler)(int)) {
    (void)number;
    (void)handler;
    return XEV_ENOTSUP;
}

void xev__os_signal_restore(int number, void (*handler)(int)) {
    (void)number;
    (void)handler;
}

void xev__os_signals_lock(void) {}
void xev__os_signals_unlock(void) {}
void xev__os_signals_forked(void) {}
