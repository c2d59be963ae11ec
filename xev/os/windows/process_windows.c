/* Windows: child processes. */
#include "xev/os/process.h"

#include "xev/os/descriptor.h"
#include "xev/os/windows/windows_base.h"

int xev__os_process_spawn(xev_process *p, const xev_process_options *o) {
    (void)p;
    (void)o;
    return XEV_ENOTSUP;
}

int xev__os_process_open(int32_t pid, xev_fd *fd) {
    (void)pid;
    *fd = XEV_INVALID_FD;
    return XEV_ENOTSUP;
}

int xev__os_process_check(xev_fd fd) { return xev__os_is_open(fd) ? 0 : XEV_EBADF; }

int xev__os_process_wait(xev_fd fd) {
    (void)fd;
    return XEV_ENOTSUP;
}

int xev__os_process_kill(xev_fd fd, int signal_number) {
    (void)fd;
    (void)signal_number;
    return XEV_ENOTSUP;
}

int xev__os_process_kill_group(xev_fd fd, int32_t pid, int signal_number) {
    (void)fd;
    (void)pid;
    (void)signal_number;
    return XEV_ENOTSUP;
}

void xev__os_process_forked(void) {}

int xev__os_process_give_up(xev_fd fd) { return xev__os_close(fd); }
