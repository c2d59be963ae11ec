/* Signals that end a runtime, on whichever thread the system delivers them, and whatever
 * disposition they had before. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/shard_scene.h"

/* ---- scene ---- */

/* The dispositions that a program starts with; the harness has handlers of its own. */
static void reset_signals(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        CHECK(signal(numbers[i], SIG_DFL) != SIG_ERR);
    }
}

static void raise_to_process(int number) { CHECK_EQ(kill(getpid(), number), 0); }

static void zero_raises_term(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        raise_to_process(SIGTERM);
    }
}

static sem_t over; /* given once per bystander, when the runtimes have ended */

/* A thread of the program, made before the runtime, that blocks no signal. */
static void *stand_by(void *arg) {
    (void)arg;
    sem_take(&over);
    return NULL;
}

static pthread_t bystander_start(void) {
    sem_new(&over);
    return thread_start(stand_by, NULL);
}

static void bystander_end(pthread_t bystander) {
    sem_give(&over);
    thread_join(bystander);
}

static void set_mask(int how, int number) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    CHECK_EQ(pthread_sigmask(how, &set, NULL), 0);
}

static bool is_blocked(int number) {
    sigset_t now;
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, NULL, &now), 0);
    return sigismember(&now, number) == 1;
}

static void (*handler_of(int number))(int) {
    struct sigaction action;
    CHECK_EQ(sigaction(number, NULL, &action), 0);
    return action.sa_handler;
}

static atomic_int handled;

static void count_signal(int number) {
    (void)number;
    handled++;
}

/* ---- whichever thread they land on ---- */

TEST(a_signal_on_a_thread_made_before_the_runtime_starts_the_drain) {
    reset_signals();
    pthread_t bystander = bystander_start();
    sc.body = zero_raises_term;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(logged(DRAIN), 2);
    bystander_end(bystander);
}

static pthread_t addressee;

static void zero_raises_in_addressee(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        CHECK_EQ(pthread_kill(addressee, SIGTERM), 0);
    }
}

TEST(a_signal_for_another_thread_of_the_program_starts_the_drain) {
    reset_signals();
    addressee = bystander_start();
    sc.body = zero_raises_in_addressee;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(logged(DRAIN), 2);
    bystander_end(addressee);
}

static void *run_two_shards(void *arg) {
    *(int *)arg = scene_run(2);
    return NULL;
}

TEST(a_signal_on_the_main_thread_ends_a_runtime_on_another) {
    reset_signals();
    int rc = 1;
    sc.body = zero_raises_term;
    thread_join(thread_start(run_two_shards, &rc));
    CHECK_EQ(rc, 0);
    CHECK_EQ(logged(DRAIN), 2);
}

TEST(signals_that_the_program_blocked_start_the_drain) {
    reset_signals();
    set_mask(SIG_BLOCK, SIGTERM); /* as it may have been before exec */
    set_mask(SIG_BLOCK, SIGUSR1);
    sc.body = zero_raises_term;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(logged(DRAIN), 2);
    CHECK(is_blocked(SIGTERM));
    CHECK(is_blocked(SIGUSR1));
    CHECK(!is_blocked(SIGINT));
}

TEST(a_signal_that_was_pending_before_the_start_ends_after_it) {
    reset_signals();
    set_mask(SIG_BLOCK, SIGTERM);
    raise_to_process(SIGTERM);
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(logged(INIT), 2);
    CHECK_EQ(logged(DRAIN), 2);
}

/* ---- several that catch them ---- */

static struct second {
    xev_runtime rt;
    xev_message begin;
    int result;
    sem_t serves;
} second;

static void second_serves(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    sem_give(&((struct second *)arg)->serves);
}

static int second_init(xev_shard *self, void *userdata) {
    struct second *s = userdata;
    return xev_shard_send(self, &s->begin, second_serves, s);
}

static void *run_second(void *arg) {
    struct second *s = arg;
    xev_runtime_options o = {
        .shards = 1, .no_pin = true, .drain_ms = HOUR_MS, .init = second_init, .userdata = s};
    s->result = xev_runtime_run(&s->rt, &o);
    return NULL;
}

TEST(one_signal_ends_every_runtime_of_the_process) {
    reset_signals();
    second.result = 1;
    sem_new(&second.serves);
    pthread_t t = thread_start(run_second, &second);
    sem_take(&second.serves);
    sc.body = zero_raises_term;
    CHECK_EQ(scene_run(2), 0);
    thread_join(t);
    CHECK_EQ(second.result, 0);
    CHECK(handler_of(SIGTERM) == SIG_DFL);
}

TEST(a_runtime_that_ends_leaves_the_signals_to_the_others) {
    reset_signals();
    sem_new(&second.serves);
    pthread_t t = thread_start(run_second, &second);
    sem_take(&second.serves);
    sc.body = stop_all;
    CHECK_EQ(scene_run(1), 0);
    raise_to_process(SIGTERM);
    thread_join(t);
    CHECK_EQ(second.result, 0);
    CHECK(handler_of(SIGTERM) == SIG_DFL);
}

static xev_signal watcher;
static struct op watch;

static int watch_term(xev_shard *self) {
    CHECK_EQ(xev_signal_init(&watcher, SIGTERM), 0);
    xev_signal_wait(&watcher, xev_shard_loop(self), &watch.c, &watch, op_cb);
    return 0;
}

static void unwatch(xev_shard *self) {
    (void)self;
    xev_signal_deinit(&watcher);
}

TEST(a_watcher_of_the_program_is_told_as_well) {
    reset_signals();
    sc.init = watch_term;
    sc.body = zero_raises_term;
    sc.deinit = unwatch;
    CHECK_EQ(scene_run(1), 0);
    check_op(&watch, SIGTERM);
    CHECK(handler_of(SIGTERM) == SIG_DFL);
}

/* ---- before and afterwards ---- */

TEST(the_dispositions_of_before_come_back) {
    reset_signals();
    static const int numbers[] = {SIGINT, SIGTERM};
    struct sigaction mine = {.sa_handler = count_signal, .sa_flags = SA_NODEFER}, after;
    sigaddset(&mine.sa_mask, SIGUSR2);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(sigaction(numbers[i], &mine, NULL), 0);
    }
    sc.body = zero_raises_term;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(handled, 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(sigaction(numbers[i], NULL, &after), 0);
        CHECK(after.sa_handler == count_signal);
        CHECK_EQ(after.sa_flags & SA_NODEFER, SA_NODEFER);
        CHECK_EQ(sigismember(&after.sa_mask, SIGUSR2), 1);
    }
    raise_to_process(SIGTERM);
    CHECK_EQ(handled, 1);
}

static void zero_raises_int_then_stops(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        raise_to_process(SIGINT);
        CHECK(handler_of(SIGINT) == SIG_IGN);
        stop_all(self);
    }
}

/* A shell without job control starts what runs in the background like this. */
TEST(an_ignored_sigint_stays_ignored) {
    reset_signals();
    signal(SIGINT, SIG_IGN);
    sc.body = zero_raises_int_then_stops;
    CHECK_EQ(scene_run(2), 0); /* and not XEV_EINTR */
    CHECK(handler_of(SIGINT) == SIG_IGN);
}

static int child_status;

static void fork_and_raise(xev_shard *self) {
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        (void)raise(SIGTERM);
        _exit(0); /* caught, or blocked */
    }
    CHECK_EQ(waitpid(pid, &child_status, 0), pid);
    stop_all(self);
}

TEST(a_forked_child_of_a_shard_is_ended_by_the_signal) {
    reset_signals();
    sc.body = fork_and_raise;
    CHECK_EQ(scene_run(1), 0);
    CHECK(WIFSIGNALED(child_status));
    CHECK_EQ(WTERMSIG(child_status), SIGTERM);
}

/* ---- SIGHUP ---- */

static void zero_raises_hup(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        raise_to_process(SIGHUP);
    }
}

static struct op soon;

static void raise_hup_with_a_timer(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        op_timer(self, &soon, 50);
        raise_to_process(SIGHUP);
    }
}

static void soon_has_fired(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        check_op(&soon, 0);
    }
}

TEST(sighup_drains) {
    reset_signals();
    sc.body = zero_raises_hup;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(logged(DRAIN), 2);
    CHECK(handler_of(SIGHUP) == SIG_DFL);
}

/* The terminal sends one, and its shell another. */
TEST(a_second_sighup_does_not_cut_the_drain_short) {
    reset_signals();
    sc.body = raise_hup_with_a_timer;
    sc.drain = zero_raises_hup;
    sc.stop = soon_has_fired;
    CHECK_EQ(scene_run(2), 0);
}

/* A session that ends: the terminal sends one, and the system the other. */
TEST(the_first_sigterm_after_sighup_does_not_cut_the_drain_short) {
    reset_signals();
    sc.body = raise_hup_with_a_timer;
    sc.drain = zero_raises_term;
    sc.stop = soon_has_fired;
    CHECK_EQ(scene_run(2), 0);
}

static struct op hour;

/* By a timer: signals of one moment are one request. */
static xev_cb_action raise_term_again(xev_loop *loop, xev_completion *c, int result,
                                      void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    if (result == 0) {
        raise_to_process(SIGTERM);
    }
    return XEV_REARM;
}

static void zero_raises_until_it_ends(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        op_timer(self, &hour, HOUR_MS);
        xev_timer_run(NULL, xev_shard_loop(self), &soon.c, 130, NULL, raise_term_again);
    }
}

TEST(the_second_sigterm_after_sighup_cuts_the_drain_short) {
    reset_signals();
    sc.body = zero_raises_hup;
    sc.drain = zero_raises_until_it_ends;
    sc.o.stuck_ms = UINT32_MAX; /* where the machine is slow there are more than two */
    CHECK_EQ(scene_run(2), XEV_EINTR);
    check_op(&hour, XEV_ECANCELED);
}

static uint64_t raising_ms;

/* As timeout(1) does, and a parent that passes on what its terminal has sent to both. */
static void raise_many_with_a_timer(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        op_timer(self, &soon, 50);
        struct timespec from, to;
        CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &from), 0);
        for (int i = 0; i < 4; i++) { /* of this thread: handled when it returns */
            CHECK_EQ(raise(i % 2 == 0 ? SIGTERM : SIGINT), 0);
        }
        CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &to), 0);
        raising_ms = (uint64_t)((to.tv_sec - from.tv_sec) * 1000 +
                                (to.tv_nsec - from.tv_nsec) / 1000000 + 1);
    }
}

TEST(signals_of_one_moment_are_one_request) {
    reset_signals();
    sc.body = raise_many_with_a_timer;
    sc.o.drain_ms = HOUR_MS;
    int rc;
    do { /* a thread that was held up has given two requests */
        soon = (struct op){0};
        rc = scene_run(2);
    } while (raising_ms >= 100);
    CHECK_EQ(rc, 0);
    check_op(&soon, 0);
}

static void zero_raises_hup_then_stops(xev_shard *self) {
    zero_raises_hup(self);
    if (xev_shard_id(self) == 0) {
        CHECK(handler_of(SIGHUP) == SIG_IGN);
        stop_all(self);
    }
}

TEST(a_sighup_that_nohup_ignores_stays_ignored) {
    reset_signals();
    signal(SIGHUP, SIG_IGN);
    sc.body = zero_raises_hup_then_stops;
    CHECK_EQ(scene_run(2), 0);
    CHECK(handler_of(SIGHUP) == SIG_IGN);
}

static atomic_int hangups;

static void count_hangup(xev_shard *self, void *userdata) {
    CHECK(userdata == &sc);
    CHECK(xev_shard_current() == self);
    int calls = ++hangups;
    if (calls == 2 * 3) {
        stop_all(self);
    } else if (calls == 3) {
        raise_to_process(SIGHUP);
    }
}

TEST(sighup_calls_the_hangup_callback_on_every_shard) {
    reset_signals();
    signal(SIGHUP, SIG_IGN); /* who asks for the callback gets it all the same */
    hangups = 0;
    sc.o.hangup = count_hangup;
    sc.body = zero_raises_hup;
    sc.stop = sc.deinit = zero_raises_hup; /* nobody's any more, and harmless */
    CHECK_EQ(scene_run(3), 0);
    CHECK_EQ(hangups, 6);
    CHECK(handler_of(SIGHUP) == SIG_IGN);
}

/* ---- the same by a call ---- */

static void reload_in_handler(int number) {
    CHECK_EQ(number, SIGUSR1);
    int error = errno;
    xev_runtime_reload(&sc.rt);
    CHECK_EQ(errno, error);
}

static void *reload_by_thread(void *arg) {
    xev_runtime_reload(arg);
    return NULL;
}

static pthread_t reloader;

/* Each of the three rounds is asked for in another way. */
static void count_reload(xev_shard *self, void *userdata) {
    CHECK(userdata == &sc);
    CHECK(xev_shard_current() == self);
    switch (++hangups) {
    case 3:
        CHECK_EQ(raise(SIGUSR1), 0);
        break;
    case 6:
        reloader = thread_start(reload_by_thread, xev_shard_runtime(self));
        break;
    case 9:
        stop_all(self);
        break;
    default:
        break;
    }
}

static void zero_reloads(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        xev_runtime_reload(xev_shard_runtime(self));
    }
}

TEST(a_reload_calls_the_hangup_callback_on_every_shard) {
    reset_signals();
    CHECK(signal(SIGUSR1, reload_in_handler) != SIG_ERR);
    hangups = 0;
    sc.o.hangup = count_reload;
    sc.o.no_signals = true;
    sc.body = zero_reloads;
    sc.stop = sc.deinit = zero_reloads; /* nothing */
    CHECK_EQ(scene_run(3), 0);
    thread_join(reloader);
    CHECK_EQ(hangups, 9);
    CHECK(handler_of(SIGHUP) == SIG_DFL);
    xev_runtime_reload(&sc.rt); /* nothing */
    CHECK_EQ(hangups, 9);
}

static void zero_reloads_and_stops(xev_shard *self) {
    zero_reloads(self);
    zero_stops_all(self);
}

TEST(a_reload_without_a_hangup_callback_is_nothing) {
    reset_signals();
    sc.body = zero_reloads_and_stops;
    CHECK_EQ(scene_run(2), 0);
}

static void raise_and_stop_at_three(xev_shard *self, void *userdata) {
    (void)userdata;
    if (++hangups < 3) {
        xev_runtime_reload(xev_shard_runtime(self));
    } else {
        stop_all(self);
    }
}

TEST(a_runtime_that_is_alone_reloads) {
    reset_signals();
    hangups = 0;
    sc.o.alone = true;
    sc.o.hangup = raise_and_stop_at_three;
    sc.body = zero_raises_hup;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(hangups, 3);
}

static int raise_hup_and_fail(xev_shard *self) {
    zero_raises_hup(self);
    return xev_shard_id(self) == 1 ? XEV_ENOSPC : 0;
}

TEST(a_failed_start_calls_no_hangup_callback) {
    reset_signals();
    hangups = 0;
    sc.o.hangup = count_hangup;
    sc.init = raise_hup_and_fail;
    CHECK_EQ(scene_run(2), XEV_ENOSPC);
    CHECK_EQ(hangups, 0);
    CHECK(handler_of(SIGHUP) == SIG_DFL);
}

/* ---- SIGPIPE ---- */

static void write_to_nobody(int error) {
    int fd[2];
    CHECK_EQ(pipe(fd), 0);
    CHECK_EQ(close(fd[0]), 0);
    CHECK_EQ(write(fd[1], "x", 1), -1);
    CHECK_EQ(errno, error);
    CHECK_EQ(close(fd[1]), 0);
}

static void write_then_stop(xev_shard *self) {
    write_to_nobody(EPIPE);
    zero_stops_all(self);
}

TEST(writing_where_nobody_reads_ends_nothing) {
    reset_signals();
    sc.body = write_then_stop;
    CHECK_EQ(scene_run(2), 0);
    CHECK(handler_of(SIGPIPE) == SIG_DFL);
}

TEST(the_programs_own_sigpipe_stays) {
    reset_signals();
    handled = 0;
    signal(SIGPIPE, count_signal);
    sc.body = write_then_stop;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(handled, 1);
    CHECK(handler_of(SIGPIPE) == count_signal);
}

static void execute_and_stop(xev_shard *self) {
    pid_t pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", "kill -PIPE $$", (char *)NULL);
        _exit(127);
    }
    CHECK_EQ(waitpid(pid, &child_status, 0), pid);
    stop_all(self);
}

TEST(what_a_shard_executes_has_the_default_sigpipe) {
    reset_signals();
    sc.body = execute_and_stop;
    CHECK_EQ(scene_run(1), 0);
    CHECK(WIFSIGNALED(child_status));
    CHECK_EQ(WTERMSIG(child_status), SIGPIPE);
}

/* ---- left alone ---- */

static bool caught[4];

static void note_what_is_caught(xev_shard *self) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (int i = 0; i < 4; i++) {
        caught[i] = handler_of(numbers[i]) != SIG_DFL;
    }
    stop_all(self);
}

static void check_caught(bool int_term, bool hup, bool sigpipe) {
    reset_signals();
    sc.body = note_what_is_caught;
    sc.o.hangup = count_hangup;
    CHECK_EQ(scene_run(1), 0);
    CHECK_EQ(caught[0], int_term);
    CHECK_EQ(caught[1], int_term);
    CHECK_EQ(caught[2], hup);
    CHECK_EQ(caught[3], sigpipe);
}

TEST(signals_are_left_alone_where_the_options_say_so) {
    check_caught(true, true, true);
    sc.o.no_sighup = true;
    check_caught(true, false, true);
    sc.o.no_sigpipe = true;
    check_caught(true, false, false);
    sc.o.no_sighup = false;
    check_caught(true, true, false);
    sc.o.no_sigpipe = false;
    sc.o.no_signals = true;
    check_caught(false, false, false);
}

static void stop_in_handler(int number) {
    CHECK_EQ(number, SIGTERM);
    int error = errno;
    xev_runtime_stop(&sc.rt);
    CHECK_EQ(errno, error);
}

TEST(a_handler_of_the_program_may_stop_the_runtime) {
    reset_signals();
    CHECK(signal(SIGTERM, stop_in_handler) != SIG_ERR);
    sc.o.no_signals = true;
    sc.body = zero_raises_term;
    CHECK_EQ(scene_run(2), 0);
    CHECK_EQ(logged(DRAIN), 2);
    CHECK(handler_of(SIGTERM) == stop_in_handler);
}
