/* What services tell the service manager, which is a Unix socket of the test's; and reloads. */
#include "tests/serve_scene.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

static int manager;
static xev_service *one;

/* The manager's socket, at a path or with an abstract name. */
static void open_manager(const char *address) {
    xev_addr addr;
    CHECK_EQ(xev_addr_from_text(&addr, address), 0);
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK_GE(manager, 0);
    CHECK_EQ(bind(manager, (struct sockaddr *)(void *)addr.storage, addr.len_bytes), 0);
    char name[128]; /* from the root, and short */
    bool is_path = file_of(address)[0] != '@';
    snprintf(name, sizeof name, "%s%s", is_path ? "/proc/self/cwd/" : "", file_of(address));
    CHECK_EQ(setenv("NOTIFY_SOCKET", name, 1), 0);
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
}

static char told[256];

/* The next thing that the manager is told, within ms or for as long as it takes (-1). */
static bool next_told(int ms) {
    struct pollfd p = {.fd = manager, .events = POLLIN};
    if (poll(&p, 1, ms) == 0) {
        return false;
    }
    ssize_t n = recv(manager, told, sizeof told - 1, 0);
    CHECK_GT(n, 0);
    told[n] = '\0';
    return true;
}

static void check_told(const char *text) {
    CHECK(next_told(-1));
    CHECK_STR_EQ(told, text);
}

static void check_told_all(void) {
    CHECK(!next_told(0));
    CHECK_EQ(close(manager), 0);
    xev_serve_free(serve);
    serve = NULL;
}

static unsigned long long now_us(void) {
    struct timespec ts;
    CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
    return (unsigned long long)ts.tv_sec * 1000000 + (unsigned long long)ts.tv_nsec / 1000;
}

/* ---- start, reload, stop ---- */

static atomic_int hangups;
static sem_t hold, held; /* of the first hangup callback on shard 1, where it is to wait */
static bool holds;

static void on_hangup(xev_shard *self, void *userdata) {
    (void)userdata;
    if (holds && xev_shard_id(self) == 1 && hangups < 3) {
        CHECK_EQ(sem_post(&held), 0);
        CHECK_EQ(sem_wait(&hold), 0);
    }
    hangups++;
}

static void check_reloading(unsigned long long since) {
    unsigned long long at;
    CHECK(next_told(-1));
    CHECK_EQ(sscanf(told, "RELOADING=1\nMONOTONIC_USEC=%llu", &at), 1);
    CHECK_GE(at, since);
    CHECK_LE(at, now_us());
}

static void reload_twice(void) {
    check_told("READY=1");
    CHECK_LT(ask_and_close(one), 3);
    for (int i = 1; i <= 2; i++) {
        unsigned long long since = now_us();
        if (i == 1) {
            CHECK_EQ(kill(getpid(), SIGHUP), 0);
        } else {
            xev_runtime_reload(&runtime);
        }
        check_reloading(since);
        check_told("READY=1");
        CHECK_EQ(hangups, 3 * i);
    }
}

static void check_life(const char *address) {
    open_manager(address);
    hangups = 0;
    one = add_at("a", "127.0.0.1:0");
    options.hangup = on_hangup;
    run_with_clients(3, reload_twice);
    check_told("STOPPING=1");
    check_told_all();
}

static void find_no_standard_input(void) {
    check_told("READY=1");
    CHECK_EQ(fcntl(STDIN_FILENO, F_GETFD), -1);
    CHECK_EQ(errno, EBADF);
}

/* A program may be started with closed streams, and what it prints must not go to the manager. */
TEST(the_socket_for_the_manager_is_no_standard_stream) {
    open_manager(abstract_address());
    one = add_at("a", "127.0.0.1:0");
    CHECK_EQ(close(STDIN_FILENO), 0);
    run_with_clients(2, find_no_standard_input);
    check_told("STOPPING=1");
    check_told_all();
}

TEST(the_manager_is_told_at_a_path) { check_life(path_in_tmp("unix:", "manager")); }
TEST(the_manager_is_told_at_an_abstract_name) { check_life(abstract_address()); }

/* While a shard has not reloaded, another SIGHUP: when it has, all reload once more. */
static void reload_in_between(void) {
    check_told("READY=1");
    CHECK_EQ(kill(getpid(), SIGHUP), 0);
    check_reloading(0);
    CHECK_EQ(sem_wait(&held), 0);
    while (hangups < 2) {
        sched_yield();
    }
    CHECK_EQ(kill(getpid(), SIGHUP), 0);
    ask_and_close(one); /* whichever shard it is, not a turn of 1 */
    CHECK_EQ(sem_post(&hold), 0);
    while (hangups < 6) {
        sched_yield();
    }
}

TEST(a_sighup_during_a_reload_is_another_one) {
    open_manager(abstract_address());
    xev_service_options o = service_options("a", abstract_address());
    o.policy = XEV_SERVE_SINGLE;
    one = add_service(&o);
    options.hangup = on_hangup;
    holds = true;
    CHECK_EQ(sem_init(&hold, 0, 0), 0);
    CHECK_EQ(sem_init(&held, 0, 0), 0);
    run_with_clients(3, reload_in_between);
    CHECK_EQ(hangups, 6);
    do { /* the second end of a reload may or may not have come before the stop */
        CHECK(next_told(-1));
    } while (strcmp(told, "STOPPING=1") != 0);
    check_told_all();
}

/* ---- who is not told, or not at once ---- */

static void ask_one(void) { CHECK_LT(ask_and_close(one), 2); }

TEST(nobody_is_told_where_that_is_not_wanted) {
    open_manager(abstract_address());
    one = add_at("a", "127.0.0.1:0");
    xev_serve_set_notify(serve, false);
    run_with_clients(2, ask_one);
    check_told_all();
}

TEST(a_manager_that_is_not_there) {
    static const char *const names[] = {"", "@xev-nobody-is-here", "/nobody/is/here", "vsock:2:1"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        serve = NULL;
        CHECK_EQ(setenv("NOTIFY_SOCKET", names[i], 1), 0);
        CHECK_EQ(setenv("WATCHDOG_USEC", "1000", 1), 0);
        one = add_at("a", "127.0.0.1:0");
        run_with_clients(2, ask_one);
        xev_serve_free(serve);
    }
}

static int others; /* that the manager was told by others */

static void read_the_others(void) {
    CHECK_LT(ask_and_close(one), 2); /* it serves, and could not say so yet */
    for (int i = 0; i < others; i++) {
        check_told("x");
    }
    check_told("READY=1");
}

TEST(a_manager_that_is_slow) {
    xev_addr addr;
    socklen_t len = sizeof addr.storage;
    open_manager(abstract_address());
    CHECK_EQ(getsockname(manager, (struct sockaddr *)(void *)addr.storage, &len), 0);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fd, 0);
    while (sendto(fd, "x", 1, MSG_DONTWAIT, (struct sockaddr *)(void *)addr.storage, len) == 1) {
        others++;
    }
    CHECK_EQ(errno, EAGAIN);
    one = add_at("a", "127.0.0.1:0");
    run_with_clients(2, read_the_others);
    check_told("STOPPING=1");
    check_told_all();
    CHECK_EQ(close(fd), 0);
}

/* ---- the watchdog ---- */

static xev_message block;

static void block_shard(xev_shard *self, xev_message *message, void *arg) {
    (void)self, (void)message, (void)arg;
    CHECK_EQ(sem_post(&held), 0);
    CHECK_EQ(sem_wait(&hold), 0);
}

static void watch(void) {
    check_told("READY=1");
    for (int i = 0; i < 3; i++) {
        check_told("WATCHDOG=1");
    }
    CHECK_EQ(xev_shard_send(xev_runtime_shard(&runtime, 1), &block, block_shard, NULL), 0);
    CHECK_EQ(sem_wait(&held), 0);
    while (next_told(0)) {
        CHECK_STR_EQ(told, "WATCHDOG=1");
    }
    int more = 0; /* what was on its way, and one for the last turn of the shard */
    while (next_told(300)) {
        more++;
        CHECK_LE(more, 2);
    }
    CHECK_EQ(sem_post(&hold), 0);
    check_told("WATCHDOG=1");
}

TEST(the_watchdog_is_fed_while_all_shards_turn) {
    open_manager(abstract_address());
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    CHECK_EQ(setenv("WATCHDOG_USEC", "20000", 1), 0);
    CHECK_EQ(setenv("WATCHDOG_PID", pid, 1), 0);
    CHECK_EQ(sem_init(&hold, 0, 0), 0);
    CHECK_EQ(sem_init(&held, 0, 0), 0);
    one = add_at("a", "127.0.0.1:0");
    run_with_clients(2, watch);
    do {
        CHECK(next_told(-1));
    } while (strcmp(told, "WATCHDOG=1") == 0);
    CHECK_STR_EQ(told, "STOPPING=1");
    while (next_told(0)) { /* the drain is watched, too */
        CHECK_STR_EQ(told, "WATCHDOG=1");
    }
    check_told_all();
}

static void wait_for_nothing(void) {
    check_told("READY=1");
    CHECK(!next_told(100));
}

TEST(the_watchdog_of_another_process) {
    open_manager(abstract_address());
    CHECK_EQ(setenv("WATCHDOG_USEC", "4000", 1), 0);
    CHECK_EQ(setenv("WATCHDOG_PID", "1", 1), 0);
    one = add_at("a", "127.0.0.1:0");
    run_with_clients(2, wait_for_nothing);
    check_told("STOPPING=1");
    check_told_all();
}
