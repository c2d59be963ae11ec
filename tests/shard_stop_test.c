/* Stops of a runtime: what asked for one, and shards that do not end. */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/death.h"
#include "tests/refuse.h"
#include "tests/shard_scene.h"
#include "xev/os/thread.h"

/* ---- a shard that cannot go on is no user's stop ---- */

static struct op later;

/* The kernel will not wait for this thread any more. */
static void break_loop(void) {
    refuse(SYS_io_uring_enter, EBADF);
#if defined(SYS_epoll_pwait2)
    refuse(SYS_epoll_pwait2, EBADF);
#endif
    refuse(SYS_epoll_pwait, EBADF);
#if defined(SYS_epoll_wait)
    refuse(SYS_epoll_wait, EBADF);
#endif
}

static void all_but_zero_break(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        op_timer(self, &later, 100);
    } else {
        break_loop();
    }
}

static void later_has_fired(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        check_op(&later, 0);
    }
}

TEST(a_shard_that_breaks_starts_a_drain_of_the_others) {
    sc.body = all_but_zero_break;
    sc.stop = later_has_fired;
    CHECK_EQ(scene_run(2), XEV_EBADF);
    CHECK_EQ(logged(DRAIN), 2);
    CHECK_EQ(logged(DEINIT), 2);
}

TEST(several_shards_that_break_do_not_cut_the_drain_short) {
    sc.body = all_but_zero_break;
    sc.stop = later_has_fired;
    CHECK_EQ(scene_run(4), XEV_EBADF);
}

static void break_in_drain(xev_shard *self) {
    if (xev_shard_id(self) > 0) {
        break_loop();
    }
}

static void zero_stops_and_waits(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        op_timer(self, &later, 100);
        stop_all(self);
    }
}

TEST(a_shard_that_breaks_in_the_drain_does_not_cut_it_short) {
    sc.body = zero_stops_and_waits;
    sc.drain = break_in_drain;
    sc.stop = later_has_fired;
    CHECK_EQ(scene_run(3), XEV_EBADF);
}

static void zero_stops(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        stop_all(self);
    }
}

TEST(the_first_stop_of_a_user_does_not_cut_short_the_drain_of_a_broken_shard) {
    sc.body = all_but_zero_break;
    sc.drain = zero_stops;
    sc.stop = later_has_fired;
    CHECK_EQ(scene_run(2), XEV_EBADF);
}

/* ---- messages of a shard that cannot go on ---- */

static int replies[2];

static void answer_later(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    xev_shard_reply(arg, 7);
}

static void take_request(xev_shard *self, xev_request *request, void *arg) {
    static xev_message messages[2];
    uint32_t asker = *(uint32_t *)arg;
    CHECK_NE(asker, xev_shard_id(self));
    CHECK_EQ(xev_shard_send(self, &messages[asker], answer_later, request), 0);
}

static void take_reply(xev_shard *self, xev_request *request, int result, void *arg) {
    (void)request;
    CHECK_EQ(*(uint32_t *)arg, xev_shard_id(self));
    replies[xev_shard_id(self)] = result;
}

static void ask_the_other(xev_shard *self) {
    static xev_request requests[2];
    static uint32_t askers[2] = {0, 1};
    uint32_t id = xev_shard_id(self);
    CHECK_EQ(xev_shard_submit_to(shard_number(self, 1 - id), &requests[id], take_request,
                                 &askers[id], take_reply),
             0);
}

static void has_its_reply(xev_shard *self) { CHECK_EQ(replies[xev_shard_id(self)], 7); }

static void one_breaks(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        break_loop();
    }
}

TEST(a_broken_shard_still_answers_and_gets_its_answers) {
    sc.body = one_breaks;
    sc.drain = ask_the_other;
    sc.stop = has_its_reply;
    CHECK_EQ(scene_run(2), XEV_EBADF); /* the drain's deadline does not come in this test */
}

/* ---- clients of a broken shard ---- */

static int listening, waiting_client;
static xev_listener broken_listener;
static xev_completion client_recv;
static int client_result, listener_result;

static void note_listener(xev_listener *l, int result, void *userdata) {
    (void)l;
    (void)userdata;
    listener_result = result;
}

static xev_cb_action on_client_end(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    client_result = result;
    return XEV_DISARM;
}

static int listen_on_one(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK_EQ(listen(listening, 8), 0); /* at any port */
        CHECK_EQ(xev_shard_listen_fd(self, &broken_listener, listening, false, NULL, note_listener),
                 0);
        xev_listener_pause(&broken_listener);
    }
    return 0;
}

/* On shard 0, which is drained when the client has its end. */
static void wait_for_client_end(xev_shard *self, xev_message *message, void *arg) {
    static char buf[1];
    (void)message;
    (void)arg;
    xev_tcp_recv(xev_tcp_from_fd(waiting_client), xev_shard_loop(self), &client_recv, buf, 1, NULL,
                 on_client_end);
}

/* The pause has begun: nobody accepts the client. */
static xev_cb_action connect_and_break(xev_loop *loop, xev_completion *c, int result,
                                       void *userdata) {
    static xev_message message;
    xev_runtime *rt = xev_shard_runtime(userdata);
    (void)loop;
    (void)c;
    CHECK_EQ(result, 0);
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    CHECK_EQ(getsockname(listening, (struct sockaddr *)(void *)&at, &len), 0);
    waiting_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(connect(waiting_client, (struct sockaddr *)(void *)&at, len), 0);
    CHECK_EQ(xev_shard_send_urgent(xev_runtime_shard(rt, 0), &message, wait_for_client_end, NULL),
             0);
    break_loop();
    return XEV_DISARM;
}

static void one_breaks_later(xev_shard *self) {
    static xev_completion timer;
    if (xev_shard_id(self) == 1) {
        xev_timer_run(NULL, xev_shard_loop(self), &timer, 10, self, connect_and_break);
    }
}

TEST(clients_that_wait_at_a_broken_shard_are_turned_away_at_once) {
    sc.init = listen_on_one;
    sc.body = one_breaks_later;
    client_result = 1;
    CHECK_EQ(scene_run(2), XEV_EBADF); /* the drain's deadline does not come in this test */
    CHECK_LE(client_result, 0);
    CHECK_EQ(listener_result, XEV_EBADF);
    CHECK_EQ(close(waiting_client), 0);
}

/* ---- shards that do not come to their end ---- */

enum place {
    IN_CALLBACK,
    IN_MESSAGE,
    IN_HOOK,
    IN_WORK,
    IN_INIT,
    IN_DRAIN,
    IN_STOP,
    IN_DEINIT,
    PLACES
};
static enum place blocked_in;

/* Whatever is waited for, it does not come. */
static void block(void) {
    for (;;) {
        pause();
    }
}

static void block_if(enum place here, xev_shard *self) {
    if (blocked_in == here && xev_shard_id(self) == 1) {
        block();
    }
}

static xev_cb_action block_in_callback(xev_loop *loop, xev_completion *c, int result,
                                       void *userdata) {
    (void)loop;
    (void)c;
    (void)result;
    block_if(IN_CALLBACK, userdata);
    return XEV_DISARM;
}

static void block_in_message(xev_shard *self, xev_message *message, void *arg) {
    (void)message;
    (void)arg;
    block_if(IN_MESSAGE, self);
}

static int block_in_work(void *userdata) {
    block_if(IN_WORK, userdata);
    return 0;
}

static xev_hook hook;
static void block_in_hook(xev_loop *loop, xev_hook *h) {
    (void)loop;
    (void)h;
    block_if(IN_HOOK, xev_shard_current());
}

static int block_in_init(xev_shard *self, void *userdata) {
    static xev_completion timer, work;
    static xev_message message;
    (void)userdata;
    if (xev_shard_id(self) == 1) {
        (void)kill(getpid(), SIGTERM); /* the start goes on, and the drain follows */
        block_if(IN_INIT, self);
        xev_timer_run(NULL, xev_shard_loop(self), &timer, 0, self, block_in_callback);
        CHECK_EQ(xev_shard_send(self, &message, block_in_message, NULL), 0);
        xev_work_submit(xev_shard_loop(self), &work, XEV_LANE_CPU, block_in_work, self,
                        block_in_callback);
        hook.callback = block_in_hook;
        xev_loop_hook_add(xev_shard_loop(self), XEV_HOOK_AFTER_POLL, &hook);
    }
    return 0;
}

static void block_in_drain(xev_shard *self, void *userdata) {
    (void)userdata;
    block_if(IN_DRAIN, self);
}

static void block_in_stop(xev_shard *self, void *userdata) {
    (void)userdata;
    block_if(IN_STOP, self);
}

static void block_in_deinit(xev_shard *self, void *userdata) {
    (void)userdata;
    block_if(IN_DEINIT, self);
}

static xev_runtime_options blocking(uint32_t stuck_ms) {
    xev_runtime_options o = {.shards = 2, .no_pin = true, .drain_ms = 10, .stuck_ms = stuck_ms};
    o.init = block_in_init;
    o.drain = block_in_drain;
    o.stop = block_in_stop;
    o.deinit = block_in_deinit;
    return o;
}

TEST(a_blocked_shard_ends_the_process_and_is_named) {
    static const struct {
        const char *doing;
        uintptr_t code;
    } want[PLACES] = {
        [IN_CALLBACK] = {"in a callback of its loop", (uintptr_t)block_in_callback},
        [IN_MESSAGE] = {"in a callback of its loop", (uintptr_t)block_in_message},
        [IN_HOOK] = {"in a callback of its loop", (uintptr_t)block_in_hook},
        [IN_WORK] = {"ending its loop", (uintptr_t)xev_loop_deinit}, /* which waits for the pool */
        [IN_INIT] = {"in its init callback", (uintptr_t)block_in_init},
        [IN_DRAIN] = {"in its drain callback", (uintptr_t)block_in_drain},
        [IN_STOP] = {"in its stop callback", (uintptr_t)block_in_stop},
        [IN_DEINIT] = {"in its deinit callback", (uintptr_t)block_in_deinit},
    };
    for (blocked_in = 0; blocked_in < PLACES; blocked_in++) {
        char text[DEATH_TEXT_BYTES], place[96], wanted[192];
        uint32_t stuck_ms = 200 * (uint32_t)test_slowdown();
        do { /* until the other shard has come to its end in the time that both have */
            struct death death;
            if (death_begins(&death)) {
                xev_runtime rt;
                xev_runtime_options o = blocking(stuck_ms);
                (void)!xev_runtime_run(&rt, &o);
                death_missed();
            }
            death_take_text(&death, want[blocked_in].doing, text);
            stuck_ms *= 2;
        } while (strstr(text, "xev: shard 0: ") != NULL);
        xev__os_code_place((const void *)want[blocked_in].code, place, sizeof place);
        snprintf(wanted, sizeof wanted, "xev: shard 1: stuck %s, ", want[blocked_in].doing);
        CHECK(strstr(text, wanted) == text);
        CHECK(strchr(text, '\n') == text + strlen(text) - 1);
        snprintf(wanted, sizeof wanted, "; last callback at %s; its thread is ", place);
        if (strstr(text, wanted) == NULL) {
            CHECK_FAIL("it says: %s", text);
        }
        bool names_pool = strstr(text, "; tasks that run on the pool: 1") != NULL;
        CHECK_EQ(names_pool, blocked_in == IN_WORK);
    }
}

static void log_and_raise(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        (void)!write(STDERR_FILENO, "accepted\n", 9);
    } else {
        (void)raise(SIGTERM);
    }
}

/* Whose logging nobody reads. */
TEST(a_shard_blocked_by_a_full_stderr_ends_the_process) {
    int fd[2];
    CHECK_EQ(pipe(fd), 0);
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        char block_of[65536] = {0};
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(fd[1], STDERR_FILENO);
        CHECK_EQ(write(fd[1], block_of, sizeof block_of), (ssize_t)sizeof block_of);
        sc.o.stuck_ms = 20;
        sc.o.drain_ms = 20;
        sc.body = log_and_raise;
        (void)!scene_run(2);
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGABRT);
    close(fd[0]);
    close(fd[1]);
}

static void raise_times(int times) {
    for (int i = 0; i < times; i++) {
        usleep(i > 0 ? 120000 : 0);  /* those within 100 ms are one */
        CHECK_EQ(raise(SIGTERM), 0); /* of this thread: handled when it returns, so none coalesce */
    }
}

static void raise_thrice_and_block(xev_shard *self) {
    (void)self;
    raise_times(3);
    block();
}

TEST(a_third_signal_waits_for_nobody) {
    struct death death;
    char text[DEATH_TEXT_BYTES];
    if (death_begins(&death)) {
        sc.o.stuck_ms = HOUR_MS;
        sc.body = raise_thrice_and_block;
        (void)!scene_run(1);
        death_missed();
    }
    death_check_text(&death, "shard 0", "third signal", text);
    CHECK(strstr(text, "in a callback of its loop") != NULL);
}

static void zero_raises_thrice(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        op_timer(self, &later, HOUR_MS);
        raise_times(3);
    }
}

static bool wait_for_it(const xev_stuck *stuck, void *userdata) {
    (void)stuck;
    (void)userdata;
    return true; /* a slow machine's */
}

TEST(three_signals_end_a_healthy_runtime_in_order) {
    sc.o.stuck = wait_for_it;
    sc.body = zero_raises_thrice;
    CHECK_EQ(scene_run(3), XEV_EINTR);
    CHECK_EQ(logged(STOP), 3);
    CHECK_EQ(logged(DEINIT), 3);
}

static sem_t entered, go_on;
static int reports;

static void one_waits_zero_raises(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        sem_give(&entered);
        sem_take(&go_on);
    } else {
        sem_take(&entered);
        raise_times(1);
    }
}

static bool wait_twice(const xev_stuck *stuck, void *userdata) {
    char place[96];
    CHECK(userdata == &sc);
    CHECK(xev_shard_current() == NULL);
    if (stuck->shard != 1 || reports == 2) {
        return true; /* a slow machine's, not ours */
    }
    CHECK_STR_EQ(stuck->doing, "in a callback of its loop");
    CHECK(stuck->code == (void (*)(void))scene_begin);
    xev__os_code_place((const void *)(uintptr_t)scene_begin, place, sizeof place);
    CHECK_STR_EQ(stuck->place, place);
    CHECK_GE(stuck->since_stop_ms, 10);
    CHECK_NE(stuck->activity[0], '\0');
    if (++reports == 2) {
        sem_give(&go_on);
    }
    return true;
}

TEST(the_program_may_wait_for_a_stuck_shard) {
    sem_new(&entered);
    sem_new(&go_on);
    sc.o.stuck = wait_twice;
    sc.o.stuck_ms = 1;
    sc.o.drain_ms = 10;
    sc.body = one_waits_zero_raises;
    CHECK_EQ(scene_run(2), XEV_ETIMEDOUT);
    CHECK_GE(reports, 2);
    CHECK_EQ(logged(STOP), 2);
    CHECK_EQ(logged(DEINIT), 2);
}

static bool never_asked(const xev_stuck *stuck, void *userdata) {
    (void)userdata;
    CHECK_FAIL("shard %u is stuck %s", stuck->shard, stuck->doing);
    return false;
}

static void one_waits_zero_raises_thrice(xev_shard *self) {
    if (xev_shard_id(self) == 1) {
        sem_take(&go_on);
    } else {
        raise_times(3);
        usleep(300000); /* longer than the patience after a third signal */
        sem_give(&go_on);
    }
}

TEST(a_runtime_may_be_told_to_wait_for_ever) {
    sem_new(&go_on);
    sc.o.stuck = never_asked;
    sc.o.stuck_ms = UINT32_MAX;
    sc.body = one_waits_zero_raises_thrice;
    CHECK_EQ(scene_run(2), XEV_EINTR);
}

static int wait_in_init(xev_shard *self) {
    (void)self;
    usleep(50000);
    return 0;
}

TEST(a_slow_start_may_last) {
    sc.o.stuck = never_asked;
    sc.o.stuck_ms = 1;
    sc.init = wait_in_init;
    sc.body = zero_stops;
    CHECK_EQ(scene_run(2), 0);
}
