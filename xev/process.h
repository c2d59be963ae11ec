/* Processes: start one, wait for its end, send it signals.
 *
 *     const char *argv[] = {"ls", "-l", NULL};
 *     xev_process p;
 *     int rc = xev_process_spawn(&p, &(xev_process_options){.argv = argv});
 *     if (rc == 0) xev_process_wait(&p, &loop, &c, userdata, on_exit);   (result: the exit code)
 *
 * A process is named by a descriptor (pidfd_open(2)), and never by its number alone; so nothing
 * here reaches another process that got the number later. xev installs no handler for SIGCHLD, and
 * needs none. A handler of the program may stay, as long as it does not wait for children that it
 * did not start. If other code collects a child (SIGCHLD is ignored, or a wait for any child), a
 * wait here reports XEV_ECHILD.
 *
 * Zombies. Whoever spawns a process waits until its end was reported (an unreferenced wait will do:
 * xev_completion_unref), or closes it. A process that is closed earlier is collected after its end,
 * without a report, by a later spawn or close of this program. A process from xev_process_open is
 * collected by whoever started it.
 */
#ifndef XEV_PROCESS_H
#define XEV_PROCESS_H

#include "xev/loop.h"

/* What a standard stream of the child is connected to. */
enum xev_stdio_kind {
    XEV_STDIO_NULL = 0,    /* nothing: reads are at the end of file, writes are dropped */
    XEV_STDIO_INHERIT = 1, /* the same stream of this program */
    XEV_STDIO_PIPE = 2,    /* a new pipe, whose other end is in xev_process.stdio */
    XEV_STDIO_FD = 3,      /* a descriptor of this program, which stays the caller's */
};

typedef struct xev_stdio {
    enum xev_stdio_kind kind;
    xev_fd fd; /* for XEV_STDIO_FD only; if it is non-blocking, it is so in the child, too */
} xev_stdio;

/* All zero except argv is valid. xev keeps nothing of it after the call. */
typedef struct xev_process_options {
    /* The program. A name with a slash is a path (a relative one starts at cwd); one without is
     * searched for in this program's PATH. NULL: argv[0]. */
    const char *file;
    const char *const *argv; /* at least one argument, then NULL */
    /* "NAME=value" each, then NULL; NULL: the environment of this program */
    const char *const *env;
    const char *cwd;    /* NULL: this program's */
    xev_stdio stdio[3]; /* standard input, output, error */
    /* The child leads a process group of its own, so that xev_process_kill_group also reaches what
     * the child starts. own_group: in the session of this program; the terminal's Ctrl-C does not
     * reach the group, and reading from the terminal stops it (SIGTTIN). detached: in a session of
     * its own, without a terminal. */
    bool own_group, detached;
    /* The user and group of the child; XEV_EPERM without the privilege. If this program is root,
     * either one also takes the supplementary groups away. Set both: with a user alone, the child
     * keeps the group of this program. */
    bool set_uid, set_gid;
    uint32_t uid, gid;
} xev_process_options;

/* A value, which may be copied. */
typedef struct xev_process {
    xev_fd fd;       /* the pidfd; close it by xev_process_close */
    int32_t pid;     /* to be shown; it means nothing after the end was reported */
    xev_fd stdio[3]; /* this end of each pipe, the caller's (see fd.h); or XEV_INVALID_FD */
    bool spawned;    /* private: made by xev_process_spawn */
} xev_process;

/* The result of a wait that a signal has ended is this plus the number of the signal. */
#define XEV_PROCESS_SIGNALED 256

XEV_BEGIN_DECLS

/* Start a program. 0: it runs, and the descriptors in *p are the caller's. On an error nothing is
 * left behind, and the descriptors in *p are XEV_INVALID_FD. The code is the first one that the
 * child met, in this order: XEV_EPERM (uid, gid); XEV_ENOENT, XEV_EACCES, XEV_ENOTDIR (cwd);
 * XEV_EBADF (stdio); XEV_ENOENT, XEV_EACCES, XEV_ENOEXEC, XEV_E2BIG, ... (the program). Or it is
 * XEV_EINVAL (no argv, unknown kind of stdio), XEV_EAGAIN, XEV_ENOMEM, XEV_EMFILE, XEV_ENFILE, or
 * XEV_ENOSYS (a kernel without pidfds).
 *
 * The child starts with no signal blocked, and with all signals at their default, also those that
 * this program ignores. It has the three streams as its only descriptors, if all others of this
 * program are close-on-exec, as those made by xev are. A stream that is closed here is closed in a
 * child that inherits it. The child may run on the CPUs of the calling thread: on one if that is a
 * shard bound to it (xev_runtime_run), on all CPUs of the program if it is a thread of the pool.
 *
 * The call waits until the child has loaded the program. Until then the child shares the memory of
 * the caller in place of a copy, so the size of this program does not matter (0.7 ms at 512 MiB,
 * where fork alone takes 12 ms); but it waits for the disk where the file is not in memory. A loop
 * that cannot wait calls it by xev_work_submit in XEV_LANE_PROCESS. Any thread; calls with set_uid
 * or set_gid are made one at a time, the others wait. */
XEV_NODISCARD int xev_process_spawn(xev_process *p, const xev_process_options *options);

/* A process that runs already, by its number: to wait for a child that was started by other means,
 * or to send a signal to any process. The caller must know that the number still belongs to the
 * process, as it does for a child that nobody has waited for. 0, or XEV_ESRCH, XEV_EINVAL,
 * XEV_EMFILE, ... Any thread. */
XEV_NODISCARD int xev_process_open(xev_process *p, int32_t pid);

/* Wait for the end of a child, and collect it. Result: its exit code, 0 to 255;
 * XEV_PROCESS_SIGNALED plus the number of the signal that ended it; or XEV_ECHILD: not a child of
 * this program, or collected before. A child that has ended already is reported likewise. A wait
 * that is cancelled has collected nothing. One loop at a time may wait. *p may be freed after the
 * call. Loop's thread. */
void xev_process_wait(const xev_process *p, xev_loop *loop, xev_completion *c, void *userdata,
                      xev_cb cb);

/* From the result of a wait: the exit code, or -1 if a signal ended the process; and the number of
 * that signal, or 0. For an error they are -1 and 0. Any thread. */
int xev_process_exit_code(int result);
int xev_process_signal(int result);

/* Send a signal to this process alone. signal_number 0 only asks whether one could be sent.
 * Children of a process that was killed live on, and so does their end of its output pipe: XEV_EOF
 * comes when the last of them has closed it. 0, or XEV_ESRCH (the process was collected),
 * XEV_EPERM, XEV_EINVAL (no such signal), XEV_EBADF. A process that has ended and was not collected
 * takes signals without effect. Any thread. */
int xev_process_kill(const xev_process *p, int signal_number);

/* Send a signal to the process group that this process leads (options own_group and detached): to
 * what it has started, and what that has started, except for those that have left the group. A
 * shell with job control, for instance, gives each of its jobs a group. The group may outlive the
 * process. Results as of xev_process_kill; 0: at least one process of the group took it; XEV_ESRCH:
 * the process leads no group, or nobody is left in it. Before Linux 6.9 it is also XEV_ESRCH from
 * when the end of the process was reported, whoever is left. Any thread. */
int xev_process_kill_group(const xev_process *p, int signal_number);

/* Close p->fd, as xev_tcp_close does, but not the pipes in p->stdio. The process goes on; see
 * Zombies above. *p may be freed after the call. */
void xev_process_close(const xev_process *p, xev_loop *loop, xev_completion *c, void *userdata,
                       xev_cb cb);

/* Close p->fd, if no wait was ever submitted. 0 or XEV_EBADF. Any thread. */
int xev_process_close_now(const xev_process *p);

XEV_END_DECLS

#endif
