/* File operations: what each of them does, its errors and its bad arguments. */
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <linux/capability.h>

#include "tests/file_scene.h"

/* In front of the C library's: each write takes at most so many bytes; 0: as many as it will. */
static atomic_size_t write_limit;

static int cut(const struct iovec *vec, int count, struct iovec *out) {
    size_t left = atomic_load(&write_limit);
    int n = 0;
    for (; n < count && (left > 0 || n == 0); n++) {
        out[n] = vec[n];
        out[n].iov_len = vec[n].iov_len < left ? vec[n].iov_len : left;
        left -= out[n].iov_len;
    }
    return n;
}

ssize_t writev(int fd, const struct iovec *vec, int count) {
    struct iovec part[XEV_VEC_MAX];
    bool whole = atomic_load(&write_limit) == 0 || count > XEV_VEC_MAX;
    int n = whole ? count : cut(vec, count, part);
    return syscall(SYS_writev, fd, whole ? vec : part, n);
}

ssize_t pwritev(int fd, const struct iovec *vec, int count, off_t offset) {
    struct iovec part[XEV_VEC_MAX];
    bool whole = atomic_load(&write_limit) == 0 || count > XEV_VEC_MAX;
    int n = whole ? count : cut(vec, count, part);
    return syscall(SYS_pwritev, fd, whole ? vec : part, n, offset, (off_t)0);
}

#define GIB ((uint64_t)1 << 30)

TEST(open_write_read_close) {
    struct scene s;
    struct freq f;
    scene_start(&s);
    int fd = create_in(&s, "a");
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(RUN(&s, xev_file_write(fd, &s.loop, &f.r, "hello, file", 11, ARG)), 11);
    CHECK_EQ(f.r.done_bytes, 11);
    close_file(&s, fd);
    fd = open_in(&s, "a", XEV_OPEN_READ);
    char buf[32] = "";
    CHECK_EQ(RUN(&s, xev_file_read(fd, &s.loop, &f.r, buf, 5, ARG)), 5);
    CHECK_MEM_EQ(buf, "hello", 5);
    /* The position has moved; fewer at the end of the file; then the end. */
    CHECK_EQ(RUN(&s, xev_file_read(fd, &s.loop, &f.r, buf, sizeof buf, ARG)), 6);
    CHECK_MEM_EQ(buf, ", file", 6);
    CHECK_EQ(RUN(&s, xev_file_read(fd, &s.loop, &f.r, buf, sizeof buf, ARG)), XEV_EOF);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, buf, 4, 1 << 20, ARG)), XEV_EOF);
    close_file(&s, fd);
    scene_end(&s);
}

TEST(pread_and_pwrite_at_zero_one_and_above_4_gib) {
    static const uint64_t offsets[] = {0, 1, 4 * GIB - 2, 4 * GIB + 2, 5 * GIB};
    struct scene s;
    struct freq f;
    scene_start(&s);
    int fd = create_in(&s, "sparse");
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t word = 0x01020304u * (i + 1);
        CHECK_EQ(RUN(&s, xev_file_pwrite(fd, &s.loop, &f.r, &word, 4, offsets[i], ARG)), 4);
    }
    for (uint32_t i = 1; i < 5; i++) { /* the second went over the first */
        uint32_t word = 0;
        CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, &word, 4, offsets[i], ARG)), 4);
        CHECK_EQ(word, 0x01020304u * (i + 1));
    }
    char byte = 1;
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, &byte, 1, 3 * GIB, ARG)), 1);
    CHECK_EQ(byte, 0);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, &byte, 1, 5 * GIB + 4, ARG)), XEV_EOF);
    /* The position did not move. */
    CHECK_EQ(RUN(&s, xev_file_read(fd, &s.loop, &f.r, &byte, 1, ARG)), 1);
    CHECK_EQ(byte, 0x04);
    CHECK_EQ(RUN(&s, xev_file_stat_fd(fd, &s.loop, &f.r, ARG)), 0);
    CHECK_EQ(f.r.stat.size_bytes, 5 * GIB + 4);
    CHECK_LT(f.r.stat.allocated_bytes, GIB);
    close_file(&s, fd);
    scene_end(&s);
}

TEST(vectored_forms_gather_and_scatter) {
    struct scene s;
    struct freq f;
    scene_start(&s);
    int fd = create_in(&s, "v");
    char a[] = "one", b[] = "", c[] = "three";
    xev_vec out[] = {{a, 3}, {b, 0}, {c, 5}};
    CHECK_EQ(RUN(&s, xev_file_writev(fd, &s.loop, &f.r, out, 3, ARG)), 8);
    CHECK_EQ(RUN(&s, xev_file_pwritev(fd, &s.loop, &f.r, out, 3, 6, ARG)), 8);
    char x[4], y[64];
    xev_vec in[] = {{x, 4}, {y, sizeof y}};
    CHECK_EQ(RUN(&s, xev_file_preadv(fd, &s.loop, &f.r, in, 2, 0, ARG)), 14);
    CHECK_MEM_EQ(x, "onet", 4);
    CHECK_MEM_EQ(y, "hronethree", 10);
    CHECK_EQ(RUN(&s, xev_file_readv(fd, &s.loop, &f.r, in, 2, ARG)), 6); /* from position 8 */
    CHECK_MEM_EQ(x, "ethr", 4);
    CHECK_EQ(RUN(&s, xev_file_readv(fd, &s.loop, &f.r, in, 2, ARG)), XEV_EOF);
    static xev_vec many[XEV_VEC_MAX + 1];
    static char bytes[XEV_VEC_MAX + 1];
    for (int i = 0; i <= XEV_VEC_MAX; i++) {
        many[i] = (xev_vec){&bytes[i], 1};
    }
    CHECK_EQ(RUN(&s, xev_file_pwritev(fd, &s.loop, &f.r, many, XEV_VEC_MAX, 0, ARG)), XEV_VEC_MAX);
    CHECK_EQ(RUN(&s, xev_file_pwritev(fd, &s.loop, &f.r, many, XEV_VEC_MAX + 1, 0, ARG)),
             XEV_EINVAL);
    close_file(&s, fd);
    scene_end(&s);
}

TEST(writes_at_the_position_are_done_in_order) {
    enum { N = 200 };
    static struct freq f[N];
    static uint32_t words[N], back[N];
    struct scene s;
    scene_start(&s);
    /* More threads than one: order must not come from the lane's cap. */
    xev_loop_deinit(&s.loop);
    xev_threadpool_deinit(&s.pool);
    CHECK_EQ(xev_threadpool_init(&s.pool, NULL), 0);
    xev_loop_options options = {.thread_pool = &s.pool};
    loop_start_options(&s.loop, &options);
    int fd = create_in(&s, "queue");
    memset(f, 0, sizeof f);
    for (uint32_t i = 0; i < N; i++) {
        words[i] = i;
        xev_file_write(fd, &s.loop, &f[i].r, &words[i], 4, &f[i], freq_cb);
    }
    struct op cancel;
    cancel_op(&s, &f[N / 2].r.c, &cancel);
    run_done(&s.loop);
    uint32_t n = 0;
    for (uint32_t i = 0; i < N; i++) {
        CHECK_EQ(f[i].calls, 1);
        CHECK_EQ(f[i].result, i == N / 2 ? XEV_ECANCELED : 4);
        if (i != N / 2) {
            CHECK(n == 0 || f[i].order > f[i == N / 2 + 1 ? i - 2 : i - 1].order);
            words[n++] = i;
        }
    }
    CHECK_EQ(cancel.result, 0);
    CHECK_EQ(pread(fd, back, sizeof back, 0), (N - 1) * 4);
    CHECK_MEM_EQ(words, back, (N - 1) * 4);
    close_file(&s, fd);
    scene_end(&s);
}

TEST(partial_writes_are_continued_to_the_last_byte) {
    enum { PIECES = 50 };
    static char bytes[PIECES * (PIECES + 1) / 2], back[sizeof bytes];
    static const size_t limits[] = {1, 7, 100, sizeof bytes - 1, sizeof bytes};
    struct scene s;
    struct freq f;
    scene_start(&s);
    xev_vec vec[PIECES];
    size_t at = 0;
    for (size_t i = 0; i < PIECES; at += i++) { /* the first is empty */
        vec[i] = (xev_vec){bytes + at, i};
    }
    for (size_t i = 0; i < at; i++) {
        bytes[i] = (char)(i * 7 + i / 256);
    }
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        int fd = create_in(&s, "a");
        atomic_store(&write_limit, limits[i]);
        CHECK_EQ(RUN(&s, xev_file_writev(fd, &s.loop, &f.r, vec, PIECES, ARG)), at);
        CHECK_EQ(f.r.done_bytes, at);
        CHECK_EQ(RUN(&s, xev_file_pwritev(fd, &s.loop, &f.r, vec, PIECES, at, ARG)), at);
        CHECK_EQ(RUN(&s, xev_file_write(fd, &s.loop, &f.r, bytes, 20, ARG)), 20);
        CHECK_EQ(RUN(&s, xev_file_pwrite(fd, &s.loop, &f.r, bytes, 9, 2 * at, ARG)), 9);
        atomic_store(&write_limit, 0);
        CHECK_EQ(pread(fd, back, at, 0), (ssize_t)at);
        CHECK_MEM_EQ(back, bytes, at);
        CHECK_EQ(pread(fd, back, at, (off_t)at), (ssize_t)at);
        CHECK_MEM_EQ(back, bytes, 20);
        CHECK_MEM_EQ(back + 20, bytes + 20, at - 20);
        CHECK_EQ(pread(fd, back, at, (off_t)(2 * at)), 9);
        CHECK_MEM_EQ(back, bytes, 9);
        close_file(&s, fd);
    }
    scene_end(&s);
}

/* Both at once: many wait for their turn while each goes out in pieces. */
TEST(queued_partial_writes_keep_their_order) {
    enum { N = 60, TOTAL = N * (N + 1) / 2 };
    static struct freq f[N];
    static char bytes[TOTAL], back[TOTAL];
    struct scene s;
    scene_start(&s);
    xev_loop_deinit(&s.loop);
    xev_threadpool_deinit(&s.pool);
    CHECK_EQ(xev_threadpool_init(&s.pool, NULL), 0); /* several threads */
    xev_loop_options options = {.thread_pool = &s.pool};
    loop_start_options(&s.loop, &options);
    for (int i = 0; i < TOTAL; i++) {
        bytes[i] = (char)(i * 7 + i / 256);
    }
    for (int by_vec = 0; by_vec < 2; by_vec++) {
        int fd = create_in(&s, "queue");
        xev_vec vec[N][2];
        uint32_t at = 0;
        memset(f, 0, sizeof f);
        atomic_store(&write_limit, 7);
        for (uint32_t i = 0; i < N; at += ++i) {
            vec[i][0] = (xev_vec){bytes + at, i / 2};
            vec[i][1] = (xev_vec){bytes + at + i / 2, i + 1 - i / 2};
            if (by_vec) {
                xev_file_writev(fd, &s.loop, &f[i].r, vec[i], 2, &f[i], freq_cb);
            } else {
                xev_file_write(fd, &s.loop, &f[i].r, bytes + at, i + 1, &f[i], freq_cb);
            }
        }
        run_done(&s.loop);
        atomic_store(&write_limit, 0);
        for (uint32_t i = 0; i < N; i++) {
            CHECK_EQ(f[i].calls, 1);
            CHECK_EQ(f[i].result, i + 1);
            CHECK(i == 0 || f[i - 1].order < f[i].order);
        }
        CHECK_EQ(pread(fd, back, sizeof back, 0), TOTAL);
        CHECK_MEM_EQ(back, bytes, TOTAL);
        close_file(&s, fd);
    }
    scene_end(&s);
}

TEST(partial_write_goes_on_and_says_what_was_written_before_the_error) {
    struct scene s;
    struct freq f;
    scene_start(&s);
    int fd = create_in(&s, "limited");
    const size_t limit = 100000;
    struct rlimit old, max;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    max = (struct rlimit){.rlim_cur = limit, .rlim_max = old.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &max), 0);
    static char bytes[3][60000];
    for (int i = 0; i < 3; i++) {
        memset(bytes[i], 'a' + i, sizeof bytes[i]);
    }
    xev_vec vec[] = {{bytes[0], 60000}, {bytes[1], 60000}, {bytes[2], 60000}};
    CHECK_EQ(RUN(&s, xev_file_pwritev(fd, &s.loop, &f.r, vec, 3, 0, ARG)), XEV_EFBIG);
    CHECK_EQ(f.r.done_bytes, limit);
    CHECK_EQ(vec[1].len_bytes, 60000);
    CHECK_EQ(RUN(&s, xev_file_writev(fd, &s.loop, &f.r, vec, 3, ARG)), XEV_EFBIG);
    CHECK_EQ(f.r.done_bytes, limit);
    CHECK_EQ(RUN(&s, xev_file_write(fd, &s.loop, &f.r, "x", 1, ARG)), XEV_EFBIG);
    CHECK_EQ(f.r.done_bytes, 0);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
    char at = 0;
    CHECK_EQ(pread(fd, &at, 1, 59999), 1);
    CHECK_EQ(at, 'a');
    CHECK_EQ(pread(fd, &at, 1, (off_t)limit - 1), 1);
    CHECK_EQ(at, 'b');
    close_file(&s, fd);
    scene_end(&s);
}

TEST(rearm_reads_on_to_the_end) {
    struct scene s;
    scene_start(&s);
    static char bytes[10000], buf[1000];
    put_file(&s, "r", bytes, sizeof bytes);
    int fd = open_in(&s, "r", XEV_OPEN_READ);
    struct freq f = {.rearm = 10};
    xev_file_read(fd, &s.loop, &f.r, buf, sizeof buf, &f, freq_cb);
    CHECK_EQ(wait_calls(&s, &f, 11), XEV_EOF);
    CHECK_EQ(f.total, sizeof bytes);
    close_file(&s, fd);
    scene_end(&s);
}

struct pieces {
    struct freq f;
    xev_vec vec;
};

static xev_cb_action next_pieces(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct pieces *p = userdata;
    static const int wanted[] = {4, XEV_EINVAL, 2};
    (void)freq_cb(loop, c, result, &p->f);
    CHECK_EQ(result, wanted[p->f.calls - 1]);
    if (p->f.calls == 1) {
        p->vec.len_bytes = 0;
    } else if (p->f.calls == 2) {
        p->vec = (xev_vec){(char *)p->vec.base + 4, 2};
    }
    return p->f.calls < 3 ? XEV_REARM : XEV_DISARM;
}

TEST(rearm_takes_the_vector_as_it_is_now) {
    struct scene s;
    scene_start(&s);
    char got[8] = "", data[] = "abcdef";
    int fd = create_in(&s, "v");
    struct pieces out = {.vec = {data, 4}}, in = {.vec = {got, 4}};
    xev_file_writev(fd, &s.loop, &out.f.r, &out.vec, 1, &out, next_pieces);
    CHECK_EQ(wait_calls(&s, &out.f, 3), 2);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    xev_file_readv(fd, &s.loop, &in.f.r, &in.vec, 1, &in, next_pieces);
    CHECK_EQ(wait_calls(&s, &in.f, 3), 2);
    CHECK_STR_EQ(got, data);
    close_file(&s, fd);
    scene_end(&s);
}

TEST(opened_number_is_not_taken_for_an_earlier_file) {
    struct scene s;
    struct freq f;
    scene_start(&s);
    CHECK_EQ(mkfifo(path_in(&s, "fifo"), 0600), 0);
    int ends[2];
    char byte = 0;
    struct op read_op = {0}, cancel;
    CHECK_EQ(pipe(ends), 0);
    xev_fd_read(ends[0], &s.loop, &read_op.c, &byte, 1, &read_op, op_cb);
    run_no_wait(&s.loop); /* now the backend knows the number */
    cancel_op(&s, &read_op.c, &cancel);
    run_done(&s.loop);
    CHECK_EQ(close(ends[0]), 0); /* not by the loop */
    const uint32_t rw = XEV_OPEN_READ | XEV_OPEN_WRITE;
    int fd = RUN(&s, xev_file_open(&s.loop, &f.r, path_in(&s, "fifo"), rw, 0, ARG));
    CHECK_EQ(fd, ends[0]);
    memset(&read_op, 0, sizeof read_op);
    xev_fd_read(fd, &s.loop, &read_op.c, &byte, 1, &read_op, op_cb);
    run_no_wait(&s.loop);
    CHECK_EQ(write(fd, "q", 1), 1);
    run_for(&s.loop, &read_op, 1);
    CHECK_EQ(read_op.result, 1);
    CHECK_EQ(byte, 'q');
    CHECK_EQ(close(ends[1]), 0);
    close_file(&s, fd);
    scene_end(&s);
}

/* A thread that waited in open for the other end would be lost to all files, and to deinit. */
TEST(opening_a_fifo_waits_for_nobody) {
    struct scene s;
    struct freq f;
    struct op ready = {0}, read = {0};
    char buf[8] = "";
    scene_start(&s);
    const char *path = path_in(&s, "fifo");
    CHECK_EQ(mkfifo(path, 0600), 0);
    CHECK_EQ(RUN(&s, xev_file_open(&s.loop, &f.r, path, XEV_OPEN_WRITE, 0, ARG)), XEV_ENXIO);
    int in = RUN(&s, xev_file_open(&s.loop, &f.r, path, XEV_OPEN_READ, 0, ARG));
    CHECK_GE(in, 0);
    CHECK_EQ(fcntl(in, F_GETFL) & O_NONBLOCK, 0);
    xev_fd_poll(in, &s.loop, &ready.c, XEV_POLL_IN, &ready, op_cb);
    run_no_wait(&s.loop);
    run_no_wait(&s.loop);
    CHECK_EQ(ready.calls, 0); /* no writer has come, and that is no end */
    int out = RUN(&s, xev_file_open(&s.loop, &f.r, path, XEV_OPEN_WRITE, 0, ARG));
    CHECK_GE(out, 0);
    CHECK_EQ(write(out, "hello", 5), 5);
    run_for(&s.loop, &ready, 1);
    CHECK_EQ(ready.result & XEV_POLL_IN, XEV_POLL_IN);
    xev_fd_read(in, &s.loop, &read.c, buf, sizeof buf, &read, op_cb);
    run_for(&s.loop, &read, 1);
    CHECK_STR_EQ(buf, "hello");
    close_file(&s, out);
    xev_fd_read(in, &s.loop, &read.c, buf, sizeof buf, &read, op_cb);
    run_for(&s.loop, &read, 2);
    CHECK_EQ(read.result, XEV_EOF);
    close_file(&s, in);
    int both = open_in(&s, "fifo", XEV_OPEN_READ | XEV_OPEN_WRITE);
    close_file(&s, both);
    scene_end(&s);
}

static int leased = -1;

static void give_up_lease(int sig) {
    (void)sig;
    (void)fcntl(leased, F_SETLEASE, F_UNLCK);
}

/* Not waiting for a FIFO's other end must not become an error where a file has to be waited for. */
TEST(opening_and_copying_wait_for_who_has_a_lease) {
    for (int copy = 0; copy < 2; copy++) {
        struct scene s;
        struct freq f;
        scene_start(&s);
        put_file(&s, "a", "abc", 3);
        leased = open(path_in(&s, "a"), O_RDWR | O_CLOEXEC);
        CHECK_GE(leased, 0);
        CHECK(signal(SIGIO, give_up_lease) != SIG_ERR);
        if (fcntl(leased, F_SETLEASE, F_WRLCK) == 0) { /* not every file system has leases */
            int rc = copy ? RUN(&s, xev_file_copy(&s.loop, &f.r, path_in(&s, "a"), path_in(&s, "b"),
                                                  0, ARG))
                          : open_in(&s, "a", XEV_OPEN_READ);
            CHECK_GE(rc, 0);
            if (!copy) {
                close_file(&s, rc);
            }
        }
        CHECK_EQ(close(leased), 0);
        scene_end(&s);
    }
}

TEST(append_ignores_the_position) {
    struct scene s;
    struct freq f;
    scene_start(&s);
    put_file(&s, "log", "abc", 3);
    int fd = open_in(&s, "log", XEV_OPEN_READ | XEV_OPEN_WRITE | XEV_OPEN_APPEND);
    CHECK_EQ(RUN(&s, xev_file_write(fd, &s.loop, &f.r, "def", 3, ARG)), 3);
    char buf[8];
    CHECK_EQ(RUN(&s, xev_file_pread(fd, &s.loop, &f.r, buf, 8, 0, ARG)), 6);
    CHECK_MEM_EQ(buf, "abcdef", 6);
    close_file(&s, fd);
    scene_end(&s);
}

TEST(sync_stat_and_truncate) {
    struct scene s;
    struct freq f;
    scene_start(&s);
    struct timespec before;
    clock_gettime(CLOCK_REALTIME, &before);
    int fd = create_in(&s, "t");
    CHECK_EQ(RUN(&s, xev_file_write(fd, &s.loop, &f.r, "123456789", 9, ARG)), 9);
    CHECK_EQ(RUN(&s, xev_file_fsync(fd, &s.loop, &f.r, ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_fdatasync(fd, &s.loop, &f.r, ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_truncate(fd, &s.loop, &f.r, 4, ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_stat_path(&s.loop, &f.r, path_in(&s, "t"), ARG)), 0);
    struct stat st;
    CHECK_EQ(fstat(fd, &st), 0);
    CHECK_EQ(f.r.stat.size_bytes, 4);
    CHECK_EQ(f.r.stat.type, XEV_FILE_REGULAR);
    CHECK_EQ(f.r.stat.inode, st.st_ino);
    CHECK_EQ(f.r.stat.device, st.st_dev);
    CHECK_EQ(f.r.stat.mode, st.st_mode & 07777);
    CHECK_EQ(f.r.stat.uid, geteuid());
    CHECK_EQ(f.r.stat.links, 1);
    CHECK_GE(f.r.stat.modify_ns / 1000000000, before.tv_sec - 1);
    CHECK_EQ(RUN(&s, xev_file_truncate_path(&s.loop, &f.r, path_in(&s, "t"), 6 * GIB, ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_stat_fd(fd, &s.loop, &f.r, ARG)), 0);
    CHECK_EQ(f.r.stat.size_bytes, 6 * GIB);
    CHECK_EQ(RUN(&s, xev_file_truncate(fd, &s.loop, &f.r, UINT64_MAX, ARG)), XEV_EFBIG);
    CHECK_EQ(RUN(&s, xev_file_stat_path(&s.loop, &f.r, s.dir, ARG)), 0);
    CHECK_EQ(f.r.stat.type, XEV_FILE_DIRECTORY);
    CHECK_EQ(RUN(&s, xev_file_stat_path(&s.loop, &f.r, "/dev/null", ARG)), 0);
    CHECK_EQ(f.r.stat.type, XEV_FILE_CHAR_DEVICE);
    CHECK_EQ(mkfifo(path_in(&s, "fifo"), 0600), 0);
    CHECK_EQ(RUN(&s, xev_file_stat_path(&s.loop, &f.r, path_in(&s, "fifo"), ARG)), 0);
    CHECK_EQ(f.r.stat.type, XEV_FILE_FIFO);
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(RUN(&s, xev_file_stat_fd(sock, &s.loop, &f.r, ARG)), 0);
    CHECK_EQ(f.r.stat.type, XEV_FILE_SOCKET);
    close_file(&s, sock);
    int typeless = epoll_create1(EPOLL_CLOEXEC);
    CHECK_EQ(RUN(&s, xev_file_stat_fd(typeless, &s.loop, &f.r, ARG)), 0);
    CHECK_EQ(f.r.stat.type, XEV_FILE_UNKNOWN);
    close_file(&s, typeless);
    close_file(&s, fd);
    scene_end(&s);
}

TEST(names_are_made_moved_and_removed) {
    struct scene s;
    struct freq f;
    scene_start(&s);
    put_file(&s, "a", "x", 1);
    xev_loop *l = &s.loop;
    CHECK_EQ(RUN(&s, xev_file_link(l, &f.r, path_in(&s, "a"), path_in(&s, "b"), ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_stat_path(l, &f.r, path_in(&s, "b"), ARG)), 0);
    CHECK_EQ(f.r.stat.links, 2);
    CHECK_EQ(RUN(&s, xev_file_symlink(l, &f.r, "a", path_in(&s, "s"), ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_stat_path(l, &f.r, path_in(&s, "s"), ARG)), 0);
    CHECK_EQ(f.r.stat.type, XEV_FILE_REGULAR);
    CHECK_EQ(RUN(&s, xev_file_lstat_path(l, &f.r, path_in(&s, "s"), ARG)), 0);
    CHECK_EQ(f.r.stat.type, XEV_FILE_SYMLINK);
    CHECK_EQ(RUN(&s, xev_file_open(l, &f.r, path_in(&s, "s"), XEV_OPEN_READ | XEV_OPEN_NOFOLLOW, 0,
                                   ARG)),
             XEV_ELOOP);
    CHECK_EQ(RUN(&s, xev_file_rename(l, &f.r, path_in(&s, "b"), path_in(&s, "c"), ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_stat_path(l, &f.r, path_in(&s, "b"), ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_mkdir(l, &f.r, path_in(&s, "d"), 0700, ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_mkdir(l, &f.r, path_in(&s, "d"), 0700, ARG)), XEV_EEXIST);
    CHECK_EQ(RUN(&s, xev_file_rename(l, &f.r, path_in(&s, "c"), path_in(&s, "d/c"), ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_rmdir(l, &f.r, path_in(&s, "d"), ARG)), XEV_ENOTEMPTY);
    CHECK_EQ(RUN(&s, xev_file_unlink(l, &f.r, path_in(&s, "d/c"), ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_unlink(l, &f.r, path_in(&s, "d/c"), ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_unlink(l, &f.r, path_in(&s, "d"), ARG)), XEV_EISDIR);
    CHECK_EQ(RUN(&s, xev_file_rmdir(l, &f.r, path_in(&s, "a"), ARG)), XEV_ENOTDIR);
    CHECK_EQ(RUN(&s, xev_file_rmdir(l, &f.r, path_in(&s, "d"), ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_symlink(l, &f.r, "a", path_in(&s, "s"), ARG)), XEV_EEXIST);
    scene_end(&s);
}

/* All names in dir, read with a buffer of len; each must be one of n numbers. */
static void read_names(struct scene *s, const char *dir, uint32_t n, size_t len) {
    _Alignas(8) static char buf[1 << 16];
    static uint8_t seen[2000];
    struct freq f;
    memset(seen, 0, sizeof seen);
    int fd = open_in(s, dir, XEV_OPEN_READ | XEV_OPEN_DIRECTORY);
    uint32_t found = 0;
    int rc;
    while ((rc = RUN(s, xev_file_readdir(fd, &s->loop, &f.r, buf, len, ARG))) > 0) {
        size_t at = 0;
        xev_file_entry e;
        uint32_t here = 0;
        while (xev_file_next_entry(buf, (size_t)rc, &at, &e)) {
            unsigned long number = strtoul(e.name, NULL, 10);
            CHECK_LT(number, n);
            CHECK_EQ(seen[number]++, 0);
            CHECK(e.type == XEV_FILE_REGULAR || e.type == XEV_FILE_UNKNOWN);
            CHECK_GT(e.inode, 0);
            here++;
        }
        CHECK_GT(here, 0);
        found += here;
    }
    CHECK_EQ(rc, XEV_EOF);
    CHECK_EQ(RUN(s, xev_file_readdir(fd, &s->loop, &f.r, buf, len, ARG)), XEV_EOF);
    CHECK_EQ(found, n);
    close_file(s, fd);
}

TEST(readdir_finds_every_name_once_whatever_the_buffer) {
    struct scene s;
    struct freq f;
    scene_start(&s);
    CHECK_EQ(RUN(&s, xev_file_mkdir(&s.loop, &f.r, path_in(&s, "empty"), 0700, ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_mkdir(&s.loop, &f.r, path_in(&s, "full"), 0700, ARG)), 0);
    for (int i = 0; i < 500; i++) {
        char name[300];
        /* Some as long as names can be. */
        snprintf(name, sizeof name, "full/%d", i);
        if (i % 50 == 0) {
            size_t at = strlen(name);
            memset(name + at, '.', 5 + 255 - at);
            name[5 + 255] = '\0';
        }
        put_file(&s, name, "", 0);
    }
    read_names(&s, "empty", 0, XEV_FILE_READDIR_MIN);
    read_names(&s, "full", 500, XEV_FILE_READDIR_MIN);
    read_names(&s, "full", 500, 1 << 16);
    put_file(&s, "plain", "", 0);
    _Alignas(8) char buf[XEV_FILE_READDIR_MIN];
    int fd = open_in(&s, "plain", XEV_OPEN_READ);
    CHECK_EQ(RUN(&s, xev_file_readdir(fd, &s.loop, &f.r, buf, sizeof buf, ARG)), XEV_ENOTDIR);
    CHECK_EQ(RUN(&s, xev_file_readdir(fd, &s.loop, &f.r, buf, sizeof buf - 1, ARG)), XEV_EINVAL);
    close_file(&s, fd);
    scene_end(&s);
}

TEST(copy_copies_replaces_and_refuses) {
    enum { LEN = 300000 };
    struct scene s;
    struct freq f;
    static char bytes[LEN], back[LEN + 1];
    scene_start(&s);
    for (uint32_t i = 0; i < LEN; i++) {
        bytes[i] = (char)(i * 2654435761u >> 24);
    }
    put_file(&s, "from", bytes, LEN);
    CHECK_EQ(chmod(path_in(&s, "from"), 0600), 0);
    put_file(&s, "longer", back, LEN + 1);
    const char *from = path_in(&s, "from");
    xev_loop *l = &s.loop;
    static const char *const targets[] = {"new", "longer"};
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(RUN(&s, xev_file_copy(l, &f.r, from, path_in(&s, targets[i]), 0, ARG)), 0);
        CHECK_EQ(f.r.done_bytes, LEN);
        int fd = open_in(&s, targets[i], XEV_OPEN_READ);
        CHECK_EQ(pread(fd, back, sizeof back, 0), LEN);
        CHECK_MEM_EQ(back, bytes, LEN);
        close_file(&s, fd);
    }
    CHECK_EQ(RUN(&s, xev_file_stat_path(l, &f.r, path_in(&s, "new"), ARG)), 0);
    CHECK_EQ(f.r.stat.mode, 0600);
    const char *new = path_in(&s, "new");
    CHECK_EQ(RUN(&s, xev_file_copy(l, &f.r, from, new, XEV_COPY_EXCLUSIVE, ARG)), XEV_EEXIST);
    CHECK_EQ(RUN(&s, xev_file_copy(l, &f.r, from, from, 0, ARG)), XEV_EINVAL); /* and keeps it */
    CHECK_EQ(RUN(&s, xev_file_copy(l, &f.r, from, new, 0x80, ARG)), XEV_EINVAL);
    CHECK_EQ(RUN(&s, xev_file_copy(l, &f.r, s.dir, new, 0, ARG)), XEV_EISDIR);
    CHECK_EQ(RUN(&s, xev_file_copy(l, &f.r, from, s.dir, 0, ARG)), XEV_EISDIR);
    CHECK_EQ(RUN(&s, xev_file_copy(l, &f.r, path_in(&s, "no"), new, 0, ARG)), XEV_ENOENT);
    CHECK_EQ(RUN(&s, xev_file_copy(l, &f.r, from, "/dev/full", 0, ARG)), XEV_ENOSPC);
    CHECK_EQ(RUN(&s, xev_file_stat_path(l, &f.r, "/dev/full", ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_stat_path(l, &f.r, from, ARG)), 0);
    CHECK_EQ(f.r.stat.size_bytes, LEN);
    /* A file whose size is said to be 0, on another file system. */
    CHECK_EQ(RUN(&s, xev_file_copy(l, &f.r, "/proc/version", new, 0, ARG)), 0);
    CHECK_GT(f.r.done_bytes, 10);
    CHECK_EQ(entries_of("/proc/self/fd"), descriptors());
    scene_end(&s);
}

/* Not what would let others act as whoever copies; nor through a pipe, which may hold a thread. */
TEST(copy_takes_no_set_user_id_along_and_no_pipe_for_a_file) {
    struct scene s;
    struct freq f;
    scene_start(&s);
    put_file(&s, "from", "text", 4);
    const char *from = path_in(&s, "from"), *to = path_in(&s, "to"), *pipe = path_in(&s, "pipe");
    CHECK_EQ(chmod(from, 06700), 0);
    CHECK_EQ(RUN(&s, xev_file_copy(&s.loop, &f.r, from, to, 0, ARG)), 0);
    CHECK_EQ(RUN(&s, xev_file_stat_path(&s.loop, &f.r, to, ARG)), 0);
    CHECK_EQ(f.r.stat.mode, 0700);
    CHECK_EQ(mkfifo(pipe, 0600), 0);
    CHECK_EQ(RUN(&s, xev_file_copy(&s.loop, &f.r, from, pipe, 0, ARG)), XEV_EINVAL);
    int reader = open(pipe, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    CHECK_GE(reader, 0);
    CHECK_EQ(RUN(&s, xev_file_copy(&s.loop, &f.r, from, pipe, 0, ARG)), XEV_EINVAL);
    CHECK_EQ(close(reader), 0);
    scene_end(&s);
}

static void drop_root_s_access(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    CHECK_EQ(syscall(SYS_capget, &header, data), 0);
    uint32_t keep = ~((1u << CAP_DAC_OVERRIDE) | (1u << CAP_DAC_READ_SEARCH));
    data[0].effective &= keep;
    CHECK_EQ(syscall(SYS_capset, &header, data), 0);
}

TEST(errors_are_the_system_s) {
    struct scene s;
    struct freq f;
    drop_root_s_access(); /* the pool's threads start later */
    scene_start(&s);
    xev_loop *l = &s.loop;
    const uint32_t rw = XEV_OPEN_READ | XEV_OPEN_WRITE;
    put_file(&s, "plain", "x", 1);
    put_file(&s, "secret", "x", 1);
    CHECK_EQ(chmod(path_in(&s, "secret"), 0), 0);
    static const struct {
        const char *name;
        uint32_t flags;
        int result;
    } opens[] = {
        {"none", XEV_OPEN_READ, XEV_ENOENT},
        {"none/below", XEV_OPEN_WRITE | XEV_OPEN_CREATE, XEV_ENOENT},
        {"plain/below", XEV_OPEN_READ, XEV_ENOTDIR},
        {"plain", XEV_OPEN_READ | XEV_OPEN_DIRECTORY, XEV_ENOTDIR},
        {"secret", XEV_OPEN_READ, XEV_EACCES},
        {".", XEV_OPEN_WRITE, XEV_EISDIR},
        {"plain", XEV_OPEN_WRITE | XEV_OPEN_CREATE | XEV_OPEN_EXCLUSIVE, XEV_EEXIST},
        {"plain", 0, XEV_EINVAL},
        {"plain", XEV_OPEN_READ | XEV_OPEN_EXCLUSIVE, XEV_EINVAL},
        {"plain", XEV_OPEN_READ | XEV_OPEN_TRUNCATE, XEV_EINVAL},
        {"none", XEV_OPEN_CREATE | XEV_OPEN_DIRECTORY, XEV_EINVAL}, /* some kernels make a file */
        {"plain", XEV_OPEN_READ | 1u << 30, XEV_EINVAL},
    };
    for (size_t i = 0; i < sizeof opens / sizeof opens[0]; i++) {
        const char *path = path_in(&s, opens[i].name);
        CHECK_EQ(RUN(&s, xev_file_open(l, &f.r, path, opens[i].flags, 0644, ARG)), opens[i].result);
    }
    CHECK_EQ(RUN(&s, xev_file_open(l, &f.r, path_in(&s, "x"), rw | XEV_OPEN_CREATE, 010000, ARG)),
             XEV_EINVAL);
    char byte = 0;
    int dir = open_in(&s, ".", XEV_OPEN_READ | XEV_OPEN_DIRECTORY);
    CHECK_EQ(RUN(&s, xev_file_read(dir, l, &f.r, &byte, 1, ARG)), XEV_EISDIR);
    close_file(&s, dir);
    int full = RUN(&s, xev_file_open(l, &f.r, "/dev/full", XEV_OPEN_WRITE, 0, ARG));
    CHECK_EQ(RUN(&s, xev_file_write(full, l, &f.r, "xy", 2, ARG)), XEV_ENOSPC);
    CHECK_EQ(f.r.done_bytes, 0);
    CHECK_EQ(RUN(&s, xev_file_read(full, l, &f.r, &byte, 1, ARG)), XEV_EBADF); /* write-only */
    close_file(&s, full);
    CHECK_EQ(RUN(&s, xev_file_read(full, l, &f.r, &byte, 1, ARG)), XEV_EBADF);
    CHECK_EQ(RUN(&s, xev_file_fsync(987654, l, &f.r, ARG)), XEV_EBADF);
    CHECK_EQ(RUN(&s, xev_file_stat_fd(-1, l, &f.r, ARG)), XEV_EBADF);
    CHECK_EQ(RUN(&s, xev_file_close(full, l, &f.r, ARG)), XEV_EBADF);
    CHECK_EQ(RUN(&s, xev_file_close(-1, l, &f.r, ARG)), XEV_EBADF);
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    CHECK_EQ(RUN(&s, xev_file_pread(ends[0], l, &f.r, &byte, 1, 0, ARG)), XEV_ESPIPE);
    CHECK_EQ(RUN(&s, xev_file_fsync(ends[0], l, &f.r, ARG)), XEV_EINVAL);
    close_file(&s, ends[0]);
    CHECK_EQ(RUN(&s, xev_file_write(ends[1], l, &f.r, &byte, 1, ARG)), XEV_EPIPE); /* no signal */
    close_file(&s, ends[1]);
    scene_end(&s);
}

TEST(bad_lengths_are_refused_also_when_repeated) {
    struct scene s;
    struct freq f;
    scene_start(&s);
    xev_loop *l = &s.loop;
    int fd = create_in(&s, "a");
    char byte = 0;
    xev_vec huge[] = {{&byte, 5}, {&byte, SIZE_MAX}};
    const size_t over = (size_t)INT32_MAX + 1;
    CHECK_EQ(RUN(&s, xev_file_read(fd, l, &f.r, &byte, 0, ARG)), XEV_EINVAL);
    CHECK_EQ(RUN(&s, xev_file_read(fd, l, &f.r, &byte, over, ARG)), XEV_EINVAL);
    CHECK_EQ(RUN(&s, xev_file_write(fd, l, &f.r, &byte, 0, ARG)), XEV_EINVAL);
    CHECK_EQ(RUN(&s, xev_file_readv(fd, l, &f.r, huge, 0, ARG)), XEV_EINVAL);
    CHECK_EQ(RUN(&s, xev_file_writev(fd, l, &f.r, huge, 2, ARG)), XEV_EINVAL);
    CHECK_EQ(RUN(&s, xev_file_pread(fd, l, &f.r, &byte, 1, UINT64_MAX, ARG)), XEV_EINVAL);
    CHECK_EQ(RUN(&s, xev_file_pwrite(fd, l, &f.r, &byte, 1, (uint64_t)1 << 63, ARG)), XEV_EINVAL);
    CHECK_EQ(RUN(&s, xev_file_mkdir(l, &f.r, path_in(&s, "d"), 010000, ARG)), XEV_EINVAL);
    memset(&f, 0xa5, sizeof f);
    f.calls = 0;
    f.rearm = 3;
    xev_file_read(fd, l, &f.r, &byte, 0, ARG);
    CHECK_EQ(wait_calls(&s, &f, 4), XEV_EINVAL);
    close_file(&s, fd);
    scene_end(&s);
}

static struct scene victim;
static xev_file_req victim_req;
#define MISUSE(name, call)                                                                         \
    static void name(void) {                                                                       \
        CHECK_EQ(xev_loop_init(&victim.loop), 0);                                                  \
        call;                                                                                      \
    }
#define REQ &victim_req, op_cb
MISUSE(no_request, xev_file_read(0, &victim.loop, NULL, "", 1, REQ))
MISUSE(no_buffer, xev_file_read(0, &victim.loop, &victim_req, NULL, 1, REQ))
MISUSE(no_vector, xev_file_writev(0, &victim.loop, &victim_req, NULL, 1, REQ))
MISUSE(no_path, xev_file_open(&victim.loop, &victim_req, NULL, XEV_OPEN_READ, 0, REQ))
MISUSE(no_target, xev_file_rename(&victim.loop, &victim_req, "a", NULL, REQ))
MISUSE(no_loop, xev_file_fsync(0, NULL, &victim_req, REQ))
MISUSE(no_callback, xev_file_stat_fd(0, &victim.loop, &victim_req, NULL, NULL))
MISUSE(crooked, xev_file_readdir(0, &victim.loop, &victim_req, (void *)(uintptr_t)12, 4096, REQ))
MISUSE(busy, {
    xev_file_stat_path(&victim.loop, &victim_req, "/", REQ);
    xev_file_unlink(&victim.loop, &victim_req, "/", REQ);
})

TEST(misuse_ends_the_program) {
    check_dies(no_request, "xev_file_read");
    check_dies(no_buffer, "xev_file_read");
    check_dies(no_vector, "xev_file_writev");
    check_dies(no_path, "xev_file_open");
    check_dies(no_target, "xev_file_rename");
    check_dies(no_loop, "xev_file_fsync");
    check_dies(no_callback, "xev_file_stat_fd");
    check_dies(crooked, "xev_file_readdir");
    check_dies(busy, "xev_file_unlink");
}
