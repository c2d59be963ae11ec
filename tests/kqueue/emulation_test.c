/* The emulation of kqueue is held to the manual page kqueue(2) of FreeBSD 12.2 ("man"), and to what
 * a BSD's kernel was seen to do ("seen"). */
#include <sys/event.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

static const struct timespec at_once = {0};
static struct kevent got[8];

static int change(int kq, uintptr_t ident, int filter, int flags, unsigned fflags, int64_t data,
                  int udata) {
    struct kevent ev;
    EV_SET(&ev, ident, filter, flags, fflags, data, (void *)(intptr_t)udata);
    return kevent(kq, &ev, 1, NULL, 0, NULL) < 0 ? -errno : 0;
}

static int add(int kq, int fd, int filter, int flags) {
    return change(kq, (uintptr_t)fd, filter, EV_ADD | flags, 0, 0, 0);
}

/* The number of events there are now, in got. */
static int look(int kq) { return kevent(kq, NULL, 0, got, 8, &at_once); }

/* A connected pair of TCP sockets. */
static void tcp_pair(int fd[2]) {
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_EQ(bind(listener, (struct sockaddr *)&addr, len), 0);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
    CHECK_EQ(listen(listener, 4), 0);
    fd[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(connect(fd[0], (struct sockaddr *)&addr, len), 0);
    fd[1] = accept(listener, NULL, NULL);
    CHECK(fd[1] >= 0);
    CHECK_EQ(close(listener), 0);
}

/* Waits until there is an event. */
static void await(int kq, int filter, int fd) {
    CHECK_EQ(kevent(kq, NULL, 0, got, 8, NULL), 1);
    CHECK_EQ(got[0].filter, filter);
    CHECK_EQ((int)got[0].ident, fd);
}

TEST(read_with_clear_is_an_edge) {
    int fd[2], kq = kqueue();
    char byte;
    tcp_pair(fd);
    CHECK_EQ(add(kq, fd[0], EVFILT_READ, EV_CLEAR), 0);
    CHECK_EQ(look(kq), 0);
    CHECK_EQ(write(fd[1], "ab", 2), 2);
    await(kq, EVFILT_READ, fd[0]);
    CHECK_EQ(got[0].data, 2);
    CHECK_EQ(look(kq), 0); /* seen: nothing more while they stay unread */
    CHECK_EQ(write(fd[1], "c", 1), 1);
    await(kq, EVFILT_READ, fd[0]);
    CHECK_EQ(got[0].data, 3); /* seen: all that is unread */
    CHECK_EQ(read(fd[0], &byte, 1), 1);
    CHECK_EQ(look(kq), 0); /* seen: what is left is not announced again */
}

TEST(read_without_clear_is_a_condition) {
    int fd[2], kq = kqueue();
    char bytes[4];
    tcp_pair(fd);
    CHECK_EQ(add(kq, fd[0], EVFILT_READ, 0), 0);
    CHECK_EQ(write(fd[1], "ab", 2), 2);
    await(kq, EVFILT_READ, fd[0]);
    CHECK_EQ(look(kq), 1);
    CHECK_EQ(read(fd[0], bytes, 2), 2);
    CHECK_EQ(look(kq), 0); /* man: the condition holds no longer */
    CHECK_EQ(write(fd[1], "c", 1), 1);
    await(kq, EVFILT_READ, fd[0]);
}

TEST(an_added_write_leaves_the_read_an_edge) {
    int fd[2], kq = kqueue();
    tcp_pair(fd);
    CHECK_EQ(add(kq, fd[0], EVFILT_READ, EV_CLEAR), 0);
    CHECK_EQ(write(fd[1], "ab", 2), 2);
    await(kq, EVFILT_READ, fd[0]);
    CHECK_EQ(add(kq, fd[0], EVFILT_WRITE, EV_CLEAR), 0);
    await(kq, EVFILT_WRITE, fd[0]);
    CHECK_EQ(look(kq), 0);
    CHECK_EQ(look(kq), 0);
}

TEST(close_removes_the_events_of_the_number) {
    int fd[2], other[2], kq = kqueue();
    tcp_pair(fd);
    CHECK_EQ(add(kq, fd[0], EVFILT_READ, EV_CLEAR), 0);
    CHECK_EQ(write(fd[1], "ab", 2), 2);
    int copy = dup(fd[0]); /* seen: a knote belongs to the number, not to the open file */
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(look(kq), 0);
    tcp_pair(other); /* the number used again inherits nothing */
    CHECK_EQ(write(other[0], "c", 1), 1);
    CHECK_EQ(write(other[1], "c", 1), 1);
    CHECK_EQ(look(kq), 0);
    CHECK_EQ(dup2(other[0], fd[0]), fd[0]);
    CHECK_EQ(change(kq, (uintptr_t)fd[0], EVFILT_READ, EV_DELETE, 0, 0, 0), -ENOENT);
    CHECK_EQ(close(copy), 0);
}

TEST(dup2_over_a_descriptor_removes_its_events) {
    int fd[2], kq = kqueue();
    tcp_pair(fd);
    CHECK_EQ(add(kq, fd[0], EVFILT_READ, EV_CLEAR), 0);
    CHECK_EQ(write(fd[1], "ab", 2), 2);
    CHECK_EQ(dup2(fd[1], fd[0]), fd[0]);
    CHECK_EQ(look(kq), 0);
}

TEST(receipts_return_at_once) {
    int fd[2], kq = kqueue();
    struct kevent changes[2];
    tcp_pair(fd);
    EV_SET(&changes[0], fd[0], EVFILT_READ, EV_ADD | EV_RECEIPT, 0, 0, NULL);
    EV_SET(&changes[1], 999, EVFILT_READ, EV_ADD | EV_RECEIPT, 0, 0, NULL);
    CHECK_EQ(write(fd[1], "ab", 2), 2); /* a pending event is not drained */
    CHECK_EQ(kevent(kq, changes, 2, changes, 2, NULL), 2);
    CHECK((changes[0].flags & EV_ERROR) != 0 && changes[0].data == 0);
    CHECK((changes[1].flags & EV_ERROR) != 0 && changes[1].data == EBADF);
}

TEST(errors_return_at_once_where_there_is_room) {
    int fd[2], kq = kqueue();
    struct kevent changes[2];
    tcp_pair(fd);
    EV_SET(&changes[0], 999, EVFILT_READ, EV_DELETE, 0, 0, NULL);
    EV_SET(&changes[1], fd[0], EVFILT_READ, EV_ADD, 0, 0, NULL);
    CHECK_EQ(kevent(kq, changes, 2, got, 8, NULL), 1);
    CHECK((got[0].flags & EV_ERROR) != 0 && got[0].data == EBADF);
    /* Without room it is the call's; the changes before it are applied. */
    EV_SET(&changes[0], fd[1], EVFILT_READ, EV_ADD, 0, 0, NULL);
    EV_SET(&changes[1], fd[1], EVFILT_WRITE, EV_DELETE, 0, 0, NULL);
    CHECK_EQ(kevent(kq, changes, 2, NULL, 0, NULL), -1);
    CHECK_EQ(errno, ENOENT);
    CHECK_EQ(write(fd[0], "a", 1), 1);
    await(kq, EVFILT_READ, fd[1]);
}

TEST(a_second_add_replaces_the_first) {
    int fd[2], kq = kqueue();
    tcp_pair(fd);
    CHECK_EQ(write(fd[1], "ab", 2), 2);
    CHECK_EQ(change(kq, (uintptr_t)fd[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0, 1), 0);
    await(kq, EVFILT_READ, fd[0]);
    CHECK_EQ(got[0].udata == (void *)1, 1);
    CHECK_EQ(change(kq, (uintptr_t)fd[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0, 2), 0);
    CHECK_EQ(look(kq), 1); /* seen: a condition that holds is reported again */
    CHECK_EQ(got[0].udata == (void *)2, 1);
    CHECK_EQ(look(kq), 0);
}

TEST(enable_changes_nothing_and_finds_out) {
    int fd[2], kq = kqueue();
    tcp_pair(fd);
    CHECK_EQ(change(kq, (uintptr_t)fd[0], EVFILT_READ, EV_ENABLE, 0, 0, 0), -ENOENT);
    CHECK_EQ(add(kq, fd[0], EVFILT_READ, EV_CLEAR), 0);
    CHECK_EQ(write(fd[1], "ab", 2), 2);
    await(kq, EVFILT_READ, fd[0]);
    CHECK_EQ(change(kq, (uintptr_t)fd[0], EVFILT_READ, EV_ENABLE, 0, 0, 7), 0);
    CHECK_EQ(look(kq), 0);
    CHECK_EQ(change(kq, (uintptr_t)fd[0], EVFILT_READ, EV_DISABLE, 0, 0, 7), 0);
    CHECK_EQ(write(fd[1], "c", 1), 1);
    CHECK_EQ(look(kq), 0);
    CHECK_EQ(change(kq, (uintptr_t)fd[0], EVFILT_READ, EV_ENABLE, 0, 0, 7), 0);
    await(kq, EVFILT_READ, fd[0]); /* man: the filter itself was not disabled */
    CHECK_EQ(got[0].udata == (void *)7, 1);
}

TEST(delete_takes_a_pending_event_along) {
    int fd[2], kq = kqueue();
    struct kevent ev;
    tcp_pair(fd);
    CHECK_EQ(write(fd[1], "ab", 2), 2);
    CHECK_EQ(add(kq, fd[0], EVFILT_READ, 0), 0);
    EV_SET(&ev, fd[0], EVFILT_READ, EV_DELETE, 0, 0, NULL);
    CHECK_EQ(kevent(kq, &ev, 1, got, 8, &at_once), 0);
    CHECK_EQ(add(kq, fd[0], EVFILT_READ, 0), 0);
    await(kq, EVFILT_READ,
          fd[0]); /* seen: data that is there is reported, after delete and add too */
}

TEST(oneshot_is_deleted_and_dispatch_disabled) {
    int fd[2], kq = kqueue();
    tcp_pair(fd);
    CHECK_EQ(add(kq, fd[0], EVFILT_WRITE, EV_ONESHOT), 0);
    await(kq, EVFILT_WRITE, fd[0]);
    CHECK_EQ(look(kq), 0);
    CHECK_EQ(change(kq, (uintptr_t)fd[0], EVFILT_WRITE, EV_DELETE, 0, 0, 0), -ENOENT);
    CHECK_EQ(add(kq, fd[0], EVFILT_WRITE, EV_DISPATCH), 0);
    await(kq, EVFILT_WRITE, fd[0]);
    CHECK_EQ(look(kq), 0);
    CHECK_EQ(change(kq, (uintptr_t)fd[0], EVFILT_WRITE, EV_ENABLE, 0, 0, 0), 0);
    await(kq, EVFILT_WRITE, fd[0]);
}

TEST(end_of_stream_comes_with_the_data_and_once) {
    int fd[2], kq = kqueue();
    char bytes[8];
    tcp_pair(fd);
    CHECK_EQ(write(fd[1], "abcde", 5), 5);
    CHECK_EQ(shutdown(fd[1], SHUT_WR), 0);
    while (recv(fd[0], bytes, sizeof bytes, MSG_PEEK) < 5) {
    }
    CHECK_EQ(add(kq, fd[0], EVFILT_READ, EV_CLEAR), 0);
    await(kq, EVFILT_READ, fd[0]);
    CHECK_EQ(got[0].data, 5);
    CHECK((got[0].flags & EV_EOF) != 0);
    CHECK_EQ(read(fd[0], bytes, 8), 5);
    CHECK_EQ(look(kq), 0);
    CHECK_EQ(add(kq, fd[0], EVFILT_WRITE, EV_CLEAR), 0);
    await(kq, EVFILT_WRITE, fd[0]);
    CHECK((got[0].flags & EV_EOF) == 0); /* seen: after the peer's FIN it can be written to */
}

TEST(user_events) {
    int kq = kqueue();
    CHECK_EQ(change(kq, 5, EVFILT_USER, 0, NOTE_TRIGGER, 0, 0), -ENOENT);
    CHECK_EQ(change(kq, 5, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, 3), 0);
    CHECK_EQ(look(kq), 0);
    CHECK_EQ(change(kq, 5, EVFILT_USER, 0, NOTE_TRIGGER, 0, 0), 0);
    CHECK_EQ(change(kq, 5, EVFILT_USER, 0, NOTE_TRIGGER, 0, 0), 0);
    CHECK_EQ(look(kq), 1); /* man: several do not result in several */
    CHECK_EQ(got[0].udata == (void *)3, 1);
    CHECK_EQ(look(kq), 0);
    kqueue_refuse_user(true);
    CHECK_EQ(change(kq, 6, EVFILT_USER, EV_ADD, 0, 0, 0), -EINVAL);
    kqueue_refuse_user(false);
}

static void *trigger_later(void *arg) {
    int kq = *(int *)arg;
    CHECK_EQ(change(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 0, 0), 0);
    return NULL;
}

TEST(another_thread_ends_the_wait) {
    int kq = kqueue();
    pthread_t thread;
    CHECK_EQ(change(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, 0), 0);
    CHECK_EQ(pthread_create(&thread, NULL, trigger_later, &kq), 0);
    await(kq, EVFILT_USER, 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(a_timer_counts_its_expirations) {
    int kq = kqueue();
    CHECK_EQ(change(kq, 9, EVFILT_TIMER, EV_ADD, NOTE_NSECONDS, 1000000, 0), 0);
    struct timespec t = {0, 20000000};
    CHECK_EQ(nanosleep(&t, NULL), 0);
    await(kq, EVFILT_TIMER, 9);
    CHECK(got[0].data >= 19);
    CHECK_EQ(change(kq, 9, EVFILT_TIMER, EV_DELETE, 0, 0, 0), 0);
}

TEST(the_end_of_a_process) {
    int kq = kqueue(), status;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(7);
    }
    CHECK_EQ(change(kq, (uintptr_t)pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, 0), 0);
    await(kq, EVFILT_PROC, pid);
    CHECK_EQ(got[0].fflags, NOTE_EXIT);
    CHECK_EQ(got[0].data, 7 << 8); /* man: the exit status */
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(change(kq, (uintptr_t)pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, 0), -ESRCH);
}

TEST(changes_of_a_file) {
    char path[] = "/tmp/kqueue.XXXXXX";
    int kq = kqueue(), fd = mkstemp(path);
    CHECK_EQ(change(kq, (uintptr_t)fd, EVFILT_VNODE, EV_ADD | EV_CLEAR,
                    NOTE_WRITE | NOTE_DELETE | NOTE_ATTRIB, 0, 0),
             0);
    CHECK_EQ(look(kq), 0);
    CHECK_EQ(write(fd, "a", 1), 1);
    await(kq, EVFILT_VNODE, fd);
    CHECK_EQ(got[0].fflags, NOTE_WRITE);
    CHECK_EQ(unlink(path), 0);
    await(kq, EVFILT_VNODE, fd);
    CHECK((got[0].fflags & NOTE_DELETE) != 0);
    CHECK_EQ(close(fd), 0);
    CHECK_EQ(look(kq), 0);
}

TEST(a_regular_file_is_readable_before_its_end) {
    char path[] = "/tmp/kqueue.XXXXXX", byte;
    int kq = kqueue(), fd = mkstemp(path);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(pwrite(fd, "a", 1, 0), 1);
    CHECK_EQ(add(kq, fd, EVFILT_READ, 0), 0);
    await(kq, EVFILT_READ, fd);
    CHECK_EQ(read(fd, &byte, 1), 1);
    CHECK_EQ(look(kq), 0);
    CHECK_EQ(add(kq, fd, EVFILT_WRITE, 0), -EINVAL); /* man: not supported for vnodes */
}

TEST(what_finds_no_room_stays) {
    int fd[2], kq = kqueue();
    tcp_pair(fd);
    CHECK_EQ(add(kq, fd[0], EVFILT_WRITE, EV_CLEAR), 0);
    CHECK_EQ(add(kq, fd[1], EVFILT_WRITE, EV_CLEAR), 0);
    CHECK_EQ(kevent(kq, NULL, 0, got, 1, NULL), 1);
    uintptr_t first = got[0].ident;
    CHECK_EQ(kevent(kq, NULL, 0, got, 1, NULL), 1);
    CHECK(got[0].ident != first);
    CHECK_EQ(look(kq), 0);
}

TEST(a_queue_can_be_waited_for_in_another) {
    int fd[2], inner = kqueue(), outer = kqueue();
    tcp_pair(fd);
    CHECK_EQ(add(inner, fd[0], EVFILT_READ, EV_CLEAR), 0);
    CHECK_EQ(add(outer, inner, EVFILT_READ, EV_CLEAR), 0);
    CHECK_EQ(look(outer), 0);
    CHECK_EQ(write(fd[1], "a", 1), 1);
    await(outer, EVFILT_READ, inner);
    await(inner, EVFILT_READ, fd[0]);
    CHECK_EQ(close(inner), 0);
    CHECK_EQ(look(outer), 0);
}

TEST(a_forked_child_has_no_queue) {
    int kq = kqueue(), status;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(fcntl(kq, F_GETFD) < 0 && errno == EBADF ? 0 : 1);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
}

TEST(bad_arguments) {
    int kq = kqueue();
    const struct timespec bad = {0, -1};
    CHECK_EQ(kevent(kq, NULL, 0, got, 8, &bad), -1);
    CHECK_EQ(errno, EINVAL);
    CHECK_EQ(add(kq, 999, EVFILT_READ, 0), -EBADF);
    CHECK_EQ(add(kq, 0, -99, 0), -EINVAL);
    CHECK_EQ(kevent(kq, NULL, 0, NULL, 0, NULL), 0); /* man: without room it returns at once */
    CHECK_EQ(close(kq), 0);
    CHECK_EQ(look(kq), -1);
    CHECK_EQ(errno, EBADF);
}
