/* Handles that the program has opened in ways of Windows' own. */
#include "tests/loop_scene.h"

/* A pipe of messages: the loop's end, and the other one. */
static xev_fd message_pipe(HANDLE *other) {
    char name[64];
    snprintf(name, sizeof name, "\\\\.\\pipe\\xev-test-%lu", GetCurrentProcessId());
    HANDLE reads =
        CreateNamedPipeA(name, PIPE_ACCESS_INBOUND | FILE_FLAG_OVERLAPPED,
                         PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE, 1, 4096, 4096, 0, NULL);
    CHECK(reads != INVALID_HANDLE_VALUE);
    *other = CreateFileA(name, GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    CHECK(*other != INVALID_HANDLE_VALUE);
    return (xev_fd)(intptr_t)reads;
}

static void close_handle(xev_loop *loop, xev_fd fd) {
    struct op closing = {0};
    xev_fd_close(fd, loop, &closing.c, &closing, op_cb);
    run_for(loop, &closing, 1);
    CHECK_EQ(closing.result, 0);
}

/* As bytes: whether the message was there before the read, or comes while it waits. */
TEST(a_message_longer_than_the_buffer_comes_in_parts) {
    xev_loop loop;
    HANDLE other;
    DWORD n;
    char part[4];
    loop_start(&loop);
    for (int waits = 0; waits < 2; waits++) {
        xev_fd reads = message_pipe(&other);
        struct op first = {0}, second = {0}, last = {0};
        if (!waits) {
            CHECK(WriteFile(other, "message", 7, &n, NULL) && n == 7);
        }
        xev_fd_read(reads, &loop, &first.c, part, sizeof part, &first, op_cb);
        run_no_wait(&loop);
        if (waits) {
            CHECK(WriteFile(other, "message", 7, &n, NULL) && n == 7);
        }
        run_for(&loop, &first, 1);
        CHECK_EQ(first.result, 4);
        CHECK_MEM_EQ(part, "mess", 4);
        xev_fd_read(reads, &loop, &second.c, part, sizeof part, &second, op_cb);
        run_for(&loop, &second, 1);
        CHECK_EQ(second.result, 3);
        CHECK_MEM_EQ(part, "age", 3);
        CHECK(CloseHandle(other));
        xev_fd_read(reads, &loop, &last.c, part, sizeof part, &last, op_cb);
        run_for(&loop, &last, 1);
        CHECK_EQ(last.result, XEV_EOF);
        close_handle(&loop, reads);
    }
    xev_loop_deinit(&loop);
}

struct request {
    xev_file_req req;
    int ended, result;
};

static xev_cb_action on_request(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct request *r = userdata;
    (void)loop;
    (void)c;
    r->ended++;
    r->result = result;
    return XEV_DISARM;
}

static int wait_for(xev_loop *loop, struct request *r) {
    while (r->ended == 0) {
        run_once(loop);
    }
    r->ended = 0;
    return r->result;
}

/* Its reads and writes at an offset go on after the call; and a port that the program has for it
 * hears nothing of them. */
TEST(a_file_for_overlapped_operations_is_read_and_written) {
    xev_loop loop;
    xev_threadpool pool;
    xev_threadpool_config cfg;
    struct request r = {0};
    char folder[MAX_PATH], path[MAX_PATH + 32], got[8];
    xev_threadpool_config_init(&cfg);
    CHECK_EQ(xev_threadpool_init(&pool, &cfg), 0);
    loop_start_options(&loop, &(xev_loop_options){.thread_pool = &pool});
    CHECK_GT(GetTempPathA(sizeof folder, folder), 0);
    snprintf(path, sizeof path, "%sxev-overlapped-%lu", folder, GetCurrentProcessId());
    HANDLE h = CreateFileA(path, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS,
                           FILE_FLAG_OVERLAPPED | FILE_FLAG_DELETE_ON_CLOSE, NULL);
    CHECK(h != INVALID_HANDLE_VALUE);
    HANDLE port = CreateIoCompletionPort(h, NULL, 0, 1);
    CHECK(port != NULL);
    xev_fd fd = (xev_fd)(intptr_t)h;
    xev_file_pwrite(fd, &loop, &r.req, "overlapped", 10, 5, &r, on_request);
    CHECK_EQ(wait_for(&loop, &r), 10);
    xev_file_pread(fd, &loop, &r.req, got, 4, 9, &r, on_request);
    CHECK_EQ(wait_for(&loop, &r), 4);
    CHECK_MEM_EQ(got, "lapp", 4);
    xev_file_pread(fd, &loop, &r.req, got, 4, 100, &r, on_request);
    CHECK_EQ(wait_for(&loop, &r), XEV_EOF);
    DWORD n;
    ULONG_PTR key;
    OVERLAPPED *o;
    CHECK(!GetQueuedCompletionStatus(port, &n, &key, &o, 0) && o == NULL);
    close_handle(&loop, fd);
    CHECK(CloseHandle(port));
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
}
