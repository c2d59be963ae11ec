/* Processes: start, wait, signal.
 *
 * A process is known by a descriptor (pidfd), never by its number alone, so nothing here can hit
 * a stranger that got the number of one that ended. No handler for SIGCHLD is installed and none is
 * needed; the program's own may go on as it is, as long as it does not wait for children it did not
 * start. Where something else collects the child (SIGCHLD ignored, a wait for any child), a wait
 * here reports XEV_ECHILD.
 *
 * Zombies: whoever spawns waits until a wait has reported the end (one that does not keep the loop
 * going will do: xev_completion_unref), or closes the process: one that is closed before that is
 * collected without being reported, when it has ended, by a later spawn or close in this program.
 * What xev_process_open found is its starter's to collect.
 */
#ifndef XEV_PROCESS_H
#define XEV_PROCESS_H

#include "xev/loop.h"

/* What a standard stream of the child is. */
enum xev_stdio_kind {
    XEV_STDIO_NULL = 0,    /* reads end of file, writes go nowhere */
    XEV_STDIO_INHERIT = 1, /* the same stream of this program */
    XEV_STDIO_PIPE = 2,    /* a new pipe; this end of it is in xev_process.stdio */
    XEV_STDIO_FD = 3,      /* a descriptor of this program, which stays the caller's */
};

typedef struct xev_stdio {
    enum xev_stdio_kind kind;
    xev_fd fd; /* XEV_STDIO_FD only; as it is, so a non-blocking one is that in the child */
} xev_stdio;

/* All zero but argv is valid. Nothing of it is kept beyond the call. */
typedef struct xev_process_options {
    /* The program; with a slash a path (a relative one: from cwd), without one looked for in this
     * program's PATH. NULL: argv[0]. */
    const char *file;
    const char *const *argv; /* at least one, ended by NULL */
    const char *const *env;  /* "NAME=value", ended by NULL; NULL: this program's */
    const char *cwd;         /* NULL: this program's */
    xev_stdio stdio[3];      /* standard input, output, error */
    /* A session of its own: no signals from this one's terminal. The child then leads a process
     * group, so that kill(-p.pid, number) of <signal.h> also reaches what it has started itself:
     * until a wait has reported its end, as the number may then be another's. */
    bool detached;
    /* Who it runs as; XEV_EPERM without the privilege. Either one also takes the supplementary
     * groups away, if this program is root. Set both: a user alone keeps this program's group. */
    bool set_uid, set_gid;
    uint32_t uid, gid;
} xev_process_options;

/* A value; may be copied. */
typedef struct xev_process {
    xev_fd fd;       /* the pidfd; close it by xev_process_close */
    int32_t pid;     /* to show; means nothing once the end was reported */
    xev_fd stdio[3]; /* this end of each pipe: read it, write it and close it by fd.h; or
                      * XEV_INVALID_FD. The caller's. */
    bool spawned;    /* private: by xev_process_spawn */
} xev_process;

/* A wait's result from here on is this plus the number of the signal that ended the process. */
#define XEV_PROCESS_SIGNALED 256

XEV_BEGIN_DECLS

/* Start a program. 0: it runs, and the caller owns the descriptors in p. Else nothing is left
 * behind, p's descriptors are XEV_INVALID_FD, and the code is what the child met on its way, in
 * this order: XEV_EPERM (uid, gid), XEV_ENOENT, XEV_EACCES, XEV_ENOTDIR (cwd), XEV_EBADF (stdio),
 * XEV_ENOENT, XEV_EACCES, XEV_ENOEXEC, XEV_E2BIG, ... (the program); or XEV_EINVAL (no argv,
 * unknown kind), XEV_EAGAIN, XEV_ENOMEM, XEV_EMFILE, XEV_ENFILE; XEV_ENOSYS (a kernel without
 * pidfd).
 *
 * The child starts with no signal blocked, all of them at their default (those this program ignores
 * too), and the three streams as its only descriptors, if the program's others are close-on-exec,
 * as all that xev makes are. One of
 * the streams that is closed here stays closed in a child that inherits it. It may run on the CPUs
 * that the calling thread may: one, if that is a shard's that is bound (xev_runtime_run), and all
 * of the program's, if it is a pool's.
 *
 * The call waits until the child has loaded the program. Its memory is the caller's until then, not
 * a copy, so that this program's size does not matter (0.7 ms where fork alone takes 12 ms at
 * 512 MiB); but it takes as long as the disk does where the file is not in memory. A loop that
 * cannot afford that calls it from xev_work_submit in XEV_LANE_PROCESS. Any thread; with set_uid or
 * set_gid one at a time, the others wait.
 */
XEV_NODISCARD int xev_process_spawn(xev_process *p, const xev_process_options *options);

/* A process that runs already, by number: to wait for a child that was started by other means, or
 * to signal any. The caller must know that the number is still the process's, as it is for a child
 * nobody has waited for. 0 or XEV_ESRCH, XEV_EINVAL, XEV_EMFILE, ... Any thread. */
XEV_NODISCARD int xev_process_open(xev_process *p, int32_t pid);

/* Wait for the end, and collect the child. Result: 0 to 255, its exit code; or
 * XEV_PROCESS_SIGNALED + the number of the signal that ended it; or XEV_ECHILD: not a child of this
 * program, or collected before. A child that has ended already is reported like any other. A wait
 * that is cancelled has collected nothing. In one loop at a time; p may go. Loop's thread. */
void xev_process_wait(const xev_process *p, xev_loop *loop, xev_completion *c, void *userdata,
                      xev_cb cb);

/* From a wait's result: the exit code, or -1 if a signal ended the process; and that signal, or 0.
 * For an error, -1 and 0. Any thread. */
int xev_process_exit_code(int result);
int xev_process_signal(int result);

/* Send a signal to this process alone (to its children too: see detached); 0 only asks whether one
 * could. What a process that was killed has started lives on, and so does their end of its output
 * pipe: XEV_EOF comes when the last of them has closed it. 0 or XEV_ESRCH (it was collected),
 * XEV_EPERM, XEV_EINVAL (no such signal), XEV_EBADF. A process that ended and was not collected
 * takes signals without effect. Any thread. */
int xev_process_kill(const xev_process *p, int signal_number);

/* As xev_tcp_close, for p->fd alone: not for p->stdio. The process is not ended by it; see Zombies
 * above. p may go. */
void xev_process_close(const xev_process *p, xev_loop *loop, xev_completion *c, void *userdata,
                       xev_cb cb);

/* Close p->fd if no wait was ever submitted. 0 or XEV_EBADF. Any thread. */
int xev_process_close_now(const xev_process *p);

XEV_END_DECLS

#endif
