/* kqueue and kevent fail on demand: no change is lost, no descriptor and no child is left, and the
 * code is reported. The calls are wrapped. */
#include <sys/event.h>

#include <errno.h>

#include "tests/net_scene.h"

int __real_kqueue(void);
int __wrap_kqueue(void);
int __real_kevent(int kq, const struct kevent *changes, int nchanges, struct kevent *events,
                  int nevents, const struct timespec *timeout);
int __wrap_kevent(int kq, const struct kevent *changes, int nchanges, struct kevent *events,
                  int nevents, const struct timespec *timeout);

/* The calls of kevent, by what they are for. */
enum call { POLL, RECEIPTS, CHANGE, CALLS };

static int queue_error;               /* of the next call of kqueue; 0: it is made */
static int error[CALLS], left[CALLS]; /* what the next calls fail with; how many */
static bool applied;                  /* the changes of a poll that fails are made */
static int refused; /* the error for the first change of the next poll that has one */

int __wrap_kqueue(void) {
    errno = queue_error;
    return queue_error != 0 ? -1 : __real_kqueue();
}

int __wrap_kevent(int kq, const struct kevent *changes, int nchanges, struct kevent *events,
                  int nevents, const struct timespec *timeout) {
    static const struct timespec at_once = {0};
    enum call call = nevents > 8 ? POLL : nevents > 0 && nchanges > 0 ? RECEIPTS : CHANGE;
    if (left[call] > 0 && (nchanges > 0 || call == POLL)) {
        left[call]--;
        if (applied) {
            CHECK_EQ(__real_kevent(kq, changes, nchanges, NULL, 0, &at_once), 0);
        }
        errno = error[call];
        return -1;
    }
    if (call == POLL && refused != 0 && nchanges > 0) {
        CHECK_EQ(__real_kevent(kq, changes + 1, nchanges - 1, NULL, 0, &at_once), 0);
        events[0] = changes[0];
        events[0].flags = EV_ERROR;
        events[0].data = refused;
        refused = 0;
        return 1;
    }
    return __real_kevent(kq, changes, nchanges, events, nevents, timeout);
}

static void fail(enum call call, int code, int times) {
    error[call] = code;
    left[call] = times;
}

static void do_recv(struct op *op, struct net *n, int fd, char *byte) {
    op_new(op, n);
    xev_tcp_recv(xev_tcp_from_fd(fd), &n->loop, &op->c, byte, 1, op, op_called);
}

TEST(a_loop_without_a_queue_is_none) {
    static const int codes[] = {EMFILE, ENOMEM};
    int before = open_fds();
    xev_loop loop;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        queue_error = codes[i];
        CHECK_EQ(xev_loop_init(&loop), -codes[i]);
        queue_error = 0;
        fail(RECEIPTS, codes[i], 1); /* the wake's event */
        CHECK_EQ(xev_loop_init(&loop), -codes[i]);
        CHECK_EQ(open_fds(), before);
    }
}

/* man: after EINTR all changes have been applied. After another error it is not known. */
static void poll_fails(int code, bool changes_are_made) {
    struct net n;
    struct op op[2];
    int fd[2][2];
    char byte[2];
    net_open(&n, NULL);
    for (int i = 0; i < 2; i++) {
        tcp_pair(fd[i]);
        do_recv(&op[i], &n, fd[i][0], &byte[i]);
    }
    settle(&n);
    /* A change that is kept: the next wait is to make it, and fails. */
    int more[2];
    struct op late;
    char late_byte;
    tcp_pair(more);
    do_recv(&late, &n, more[0], &late_byte);
    CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_NO_WAIT), 0); /* it is tried, and would block */
    CHECK_EQ(late.ends, 0);
    applied = changes_are_made;
    fail(POLL, code, 3);
    plain_send(more[1], "c", 1);
    plain_send(fd[1][1], "b", 1);
    run_op(&late);
    CHECK_EQ(late.result, 1);
    if (op[1].ends == 0) {
        run_op(&op[1]);
    }
    CHECK_EQ(op[1].result, 1);
    plain_send(fd[0][1], "a", 1);
    run_op(&op[0]);
    CHECK_EQ(op[0].result, 1);
    CHECK_EQ(byte[0] == 'a' && byte[1] == 'b' && late_byte == 'c', 1);
    CHECK_EQ(left[POLL], 0); /* it has failed that often */
    applied = false;
    for (int i = 0; i < 2; i++) {
        close_fd(&n, fd[i][0]);
        CHECK_EQ(close(fd[i][1]), 0);
    }
    close_fd(&n, more[0]);
    CHECK_EQ(close(more[1]), 0);
    net_close(&n);
}

TEST(changes_survive_an_interrupted_wait) { poll_fails(EINTR, true); }
TEST(changes_survive_a_wait_without_memory) { poll_fails(ENOMEM, false); }
TEST(changes_that_were_made_by_a_wait_without_memory_are_made_again) { poll_fails(ENOMEM, true); }

TEST(a_refused_change_ends_its_operation_alone) {
    struct net n;
    struct op op, other;
    int fd[2], more[2];
    char byte, other_byte;
    net_open(&n, NULL);
    tcp_pair(fd);
    tcp_pair(more);
    do_recv(&op, &n, fd[0], &byte);
    do_recv(&other, &n, more[0], &other_byte);
    refused = ENOMEM;
    run_op(&op);
    CHECK_EQ(op.result, XEV_ENOMEM);
    CHECK_EQ(other.ends, 0);
    plain_send(more[1], "x", 1);
    run_op(&other);
    CHECK_EQ(other.result, 1);
    do_recv(&op, &n, fd[0], &byte); /* the next one asks again */
    settle(&n);
    plain_send(fd[1], "y", 1);
    run_op(&op);
    CHECK_EQ(op.result, 1);
    close_fd(&n, fd[0]);
    close_fd(&n, more[0]);
    CHECK_EQ(close(fd[1]), 0);
    CHECK_EQ(close(more[1]), 0);
    net_close(&n);
}

TEST(a_watcher_of_files_that_cannot_be_made_leaves_nothing) {
    int before = open_fds();
    xev_fs_event w;
    queue_error = EMFILE;
    CHECK_EQ(xev_fs_event_init(&w, "/tmp"), XEV_EMFILE);
    queue_error = 0;
    CHECK_EQ(w.fd, XEV_INVALID_FD);
    CHECK_EQ(open_fds(), before);
    fail(CHANGE, ENOMEM, 1);
    CHECK_EQ(xev_fs_event_init(&w, "/tmp"), XEV_ENOMEM);
    CHECK_EQ(w.fd, XEV_INVALID_FD);
    CHECK_EQ(open_fds(), before);
    CHECK_EQ(xev_fs_event_init(&w, "/tmp"), 0);
    CHECK_EQ(xev_fs_event_close_now(&w), 0);
    CHECK_EQ(open_fds(), before);
}

TEST(a_child_that_cannot_be_watched_is_none) {
    static const char *const argv[] = {"/bin/true", NULL};
    const xev_process_options options = {.argv = argv};
    int before = open_fds();
    xev_process p;
    queue_error = EMFILE;
    CHECK_EQ(xev_process_spawn(&p, &options), XEV_EMFILE);
    queue_error = 0;
    fail(CHANGE, ENOMEM, 1);
    CHECK_EQ(xev_process_spawn(&p, &options), XEV_ENOMEM);
    CHECK_EQ(p.fd, XEV_INVALID_FD);
    CHECK_EQ(open_fds(), before);
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_EQ(errno, ECHILD); /* it was ended and collected */
}
