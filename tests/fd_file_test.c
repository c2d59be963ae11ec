/* Regular files through fd.h and stream.h, as when a program's output is redirected to a file.
 * Every byte that is reported as written is in the file, in order, and the file's position is
 * behind it. */
#include <pthread.h>
#include <sys/stat.h>

#include "tests/fd_scene.h"

enum way { PLAIN, VECTORED, WAYS };

static int file_open(int flags) {
    char path[256];
    const char *tmp = getenv("TEST_TMPDIR");
    snprintf(path, sizeof path, "%s/xev.XXXXXX", tmp != NULL ? tmp : "/tmp");
    int fd = mkostemp(path, O_CLOEXEC | flags);
    CHECK_GE(fd, 0);
    CHECK_EQ(unlink(path), 0);
    return fd;
}

static int write_by(struct net *n, enum way way, int fd, const char *bytes, size_t len) {
    struct op op;
    if (way == PLAIN) {
        return write_now(n, fd, bytes, len);
    }
    char *at = (char *)(uintptr_t)bytes;
    xev_vec vec[] = {{at, len / 3}, {NULL, 0}, {at + len / 3, len - len / 3}};
    xev_fd_writev(fd, &n->loop, &op_new(&op, n)->c, vec, 3, &op, op_called);
    run_op(&op);
    return op.result;
}

static int read_by(struct net *n, enum way way, int fd, char *bytes, size_t len) {
    struct op op;
    if (way == PLAIN) {
        return read_now(n, fd, bytes, len);
    }
    xev_vec vec[] = {{bytes, len / 3}, {NULL, 0}, {bytes + len / 3, len - len / 3}};
    xev_fd_readv(fd, &n->loop, &op_new(&op, n)->c, vec, 3, &op, op_called);
    run_op(&op);
    return op.result;
}

/* As a full disk: what reaches beyond is cut short. SIGXFSZ stays as it is. */
static struct rlimit limit_files(size_t bytes) {
    struct rlimit old, limit;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = (struct rlimit){.rlim_cur = bytes, .rlim_max = old.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
    return old;
}

static void check_bytes(int fd, size_t at, char wanted, size_t len) {
    for (size_t i = 0; i < len;) {
        char buf[4096];
        size_t part = len - i < sizeof buf ? len - i : sizeof buf;
        CHECK_EQ(pread(fd, buf, part, (off_t)(at + i)), (ssize_t)part);
        for (size_t k = 0; k < part; k++, i++) {
            if (buf[k] != wanted) {
                CHECK_FAIL("%c instead of %c at %zu", buf[k], wanted, at + i);
            }
        }
    }
}

TEST(a_write_that_is_cut_short_moves_the_position) {
    for (int append = 0; append < 2; append++) {
        for (int way = 0; way < WAYS; way++) {
            struct net n;
            static char a[60000], b[60000], c[5000];
            memset(a, 'a', sizeof a);
            memset(b, 'b', sizeof b);
            memset(c, 'c', sizeof c);
            net_open(&n, NULL);
            int fd = file_open(append ? O_APPEND : 0);
            struct rlimit old = limit_files(100000);
            CHECK_EQ(write_by(&n, (enum way)way, fd, a, sizeof a), 60000);
            CHECK_EQ(write_by(&n, (enum way)way, fd, b, sizeof b), 40000);
            CHECK_EQ(lseek(fd, 0, SEEK_CUR), 100000);
            CHECK_EQ(write_by(&n, (enum way)way, fd, b, sizeof b), XEV_EFBIG);
            CHECK_EQ(lseek(fd, 0, SEEK_CUR), 100000);
            CHECK_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
            CHECK_EQ(write_by(&n, (enum way)way, fd, c, sizeof c), 5000);
            CHECK_EQ(lseek(fd, 0, SEEK_CUR), 105000);
            check_bytes(fd, 0, 'a', 60000);
            check_bytes(fd, 60000, 'b', 40000);
            check_bytes(fd, 100000, 'c', 5000);
            close_fd(&n, fd);
            net_close(&n);
        }
    }
}

static int written_result, written_calls;

static void on_written(xev_loop *loop, xev_stream *stream, xev_write_req *req, int result,
                       void *userdata) {
    (void)loop;
    (void)stream;
    (void)req;
    (void)userdata;
    written_result = result;
    written_calls++;
}

TEST(a_write_queue_ends_where_the_file_has_no_more_room) {
    struct net n;
    static char a[60000];
    xev_stream stream;
    xev_write_req req[2];
    memset(a, 'a', sizeof a);
    net_open(&n, NULL);
    int fd = file_open(0);
    xev_stream_init_fd(&stream, &n.loop, fd);
    struct rlimit old = limit_files(100000);
    xev_stream_write(&stream, &req[0], a, sizeof a, NULL, on_written);
    xev_stream_write(&stream, &req[1], a, sizeof a, NULL, on_written);
    run_until(&n, &written_calls, 2);
    CHECK_EQ(written_result, XEV_EFBIG);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
    CHECK_EQ(lseek(fd, 0, SEEK_CUR), 100000);
    CHECK_EQ(lseek(fd, 0, SEEK_END), 100000);
    check_bytes(fd, 0, 'a', 100000);
    close_fd(&n, fd);
    net_close(&n);
}

TEST(reads_and_writes_share_the_position_with_everybody_else) {
    for (int way = 0; way < WAYS; way++) {
        struct net n;
        char buf[8] = "";
        net_open(&n, NULL);
        int fd = file_open(0);
        CHECK_EQ(write(fd, "abc", 3), 3);
        CHECK_EQ(write_by(&n, (enum way)way, fd, "defghi", 6), 6);
        CHECK_EQ(write(fd, "jk", 2), 2);
        CHECK_EQ(lseek(fd, 1, SEEK_SET), 1);
        CHECK_EQ(read_by(&n, (enum way)way, fd, buf, 3), 3);
        CHECK_STR_EQ(buf, "bcd");
        CHECK_EQ(read(fd, buf, 3), 3);
        CHECK_STR_EQ(buf, "efg");
        CHECK_EQ(read_by(&n, (enum way)way, fd, buf, 8), 4); /* cut short by the end */
        CHECK_MEM_EQ(buf, "hijk", 4);
        CHECK_EQ(lseek(fd, 0, SEEK_CUR), 11);
        CHECK_EQ(read_by(&n, (enum way)way, fd, buf, 8), XEV_EOF);
        CHECK_EQ(write_by(&n, (enum way)way, fd, "l", 1), 1);
        CHECK_EQ(lseek(fd, 0, SEEK_CUR), 12);
        close_fd(&n, fd);
        net_close(&n);
    }
}

/* ---- several loops, one log ---- */

enum { WRITERS = 3, LINES = 2000, LINE_BYTES = 16 };

struct writer {
    pthread_t thread;
    int fd, number, lines;
    char line[LINE_BYTES + 1];
};

static xev_cb_action line_written(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct writer *w = userdata;
    (void)loop;
    (void)c;
    CHECK_EQ(result, LINE_BYTES);
    snprintf(w->line, sizeof w->line, "%02d %12d\n", w->number, ++w->lines % LINES);
    return w->lines < LINES ? XEV_REARM : XEV_DISARM;
}

static void *write_lines(void *arg) {
    struct writer *w = arg;
    xev_loop loop;
    xev_completion c;
    CHECK_EQ(xev_loop_init(&loop), 0);
    snprintf(w->line, sizeof w->line, "%02d %12d\n", w->number, 0);
    xev_fd_write(w->fd, &loop, &c, w->line, LINE_BYTES, w, line_written);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
    xev_loop_deinit(&loop);
    return NULL;
}

TEST(loops_that_write_to_one_file_overwrite_nothing) {
    static struct writer writers[WRITERS];
    int fd = file_open(0), next[WRITERS] = {0};
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.fd = fd, .number = i};
        CHECK_EQ(pthread_create(&writers[i].thread, NULL, write_lines, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        CHECK_EQ(pthread_join(writers[i].thread, NULL), 0);
    }
    CHECK_EQ(lseek(fd, 0, SEEK_END), WRITERS * LINES * LINE_BYTES);
    for (int i = 0; i < WRITERS * LINES; i++) {
        char line[LINE_BYTES + 1] = "";
        int number, count;
        CHECK_EQ(pread(fd, line, LINE_BYTES, (off_t)i * LINE_BYTES), LINE_BYTES);
        CHECK_EQ(sscanf(line, "%d %d", &number, &count), 2);
        CHECK_EQ(next[number], count);
        next[number]++;
    }
    CHECK_EQ(close(fd), 0);
}

/* A close that follows at once takes nothing from what was begun, and a cancel finds it done. */
TEST(what_a_file_has_taken_is_reported_as_taken) {
    struct net n;
    struct op out, cancel;
    net_open(&n, NULL);
    int fd = file_open(0);
    do_write(&out, &n, fd, "abc", 3);
    xev_cancel(&n.loop, &out.c, &op_new(&cancel, &n)->c, &cancel, op_called);
    run_op(&cancel);
    CHECK_EQ(out.calls, 1);
    struct stat st;
    CHECK_EQ(fstat(fd, &st), 0);
    CHECK_EQ(out.result, st.st_size > 0 ? 3 : XEV_ECANCELED);
    CHECK_EQ(cancel.result, st.st_size > 0 ? XEV_ENOENT : 0);
    close_fd(&n, fd);
    net_close(&n);
}
