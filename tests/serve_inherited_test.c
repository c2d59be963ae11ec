/* xev_serve_inherited: the sockets that a process was started with, by systemd's convention. Each
 * case is a child process that sets its environment as systemd would. */
#include "tests/serve_scene.h"

#include <sys/wait.h>

/* In the child: a check that fails is its exit code. */
#define HAVE(cond) ((cond) ? (void)0 : _exit(__LINE__ % 250 + 1))

static void check_child(void (*run)(void)) {
    pid_t pid = fork();
    int status;
    CHECK_GE(pid, 0);
    if (pid == 0) {
        run();
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    if (WEXITSTATUS(status) != 0) {
        CHECK_FAIL("the check in line %d, modulo 250", WEXITSTATUS(status) - 1);
    }
}

/* NULL: the variable is not there. */
static void set(const char *name, const char *value) {
    HAVE(value != NULL ? setenv(name, value, 1) == 0 : unsetenv(name) == 0);
}

static void give(const char *fds, const char *names) {
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    set("LISTEN_PID", pid);
    set("LISTEN_FDS", fds);
    set("LISTEN_FDNAMES", names);
}

/* Sockets of which the first count are at 3, 4, ... */
static void open_at_3(int count) {
    for (int i = 0; i < count; i++) {
        struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        HAVE(fd >= 0 && bind(fd, (struct sockaddr *)(void *)&sa, sizeof sa) == 0);
        HAVE(listen(fd, 8) == 0 && (fd == 3 + i || dup2(fd, 3 + i) == 3 + i));
    }
}

static void named(void) {
    xev_serve_socket s[3] = {{0}};
    open_at_3(2);
    give("2", "http:admin");
    HAVE(xev_serve_inherited(NULL, 0) == 2);
    HAVE(getenv("LISTEN_PID") == NULL && getenv("LISTEN_FDS") == NULL);
    HAVE(getenv("LISTEN_FDNAMES") == NULL);
    HAVE(fcntl(3, F_GETFD) == FD_CLOEXEC && fcntl(4, F_GETFD) == FD_CLOEXEC);
    HAVE(xev_serve_inherited(s, 1) == 2 && s[1].name == NULL);
    HAVE(xev_serve_inherited(s, 3) == 2 && s[2].name == NULL);
    HAVE(s[0].fd == 3 && strcmp(s[0].name, "http") == 0);
    HAVE(s[1].fd == 4 && strcmp(s[1].name, "admin") == 0);
}
TEST(sockets_with_names) { check_child(named); }

static void unnamed(void) {
    xev_serve_socket s[1];
    open_at_3(1);
    give("1", NULL);
    HAVE(xev_serve_inherited(s, 1) == 1);
    HAVE(s[0].fd == 3 && strcmp(s[0].name, "unknown") == 0);
}
TEST(a_socket_without_a_name) { check_child(unnamed); }

static void of_another(void) {
    open_at_3(1);
    give("1", "http");
    set("LISTEN_PID", "1");
    HAVE(xev_serve_inherited(NULL, 0) == 0);
    HAVE(getenv("LISTEN_FDS") == NULL && fcntl(3, F_GETFD) == 0);
}
TEST(sockets_of_another_process) { check_child(of_another); }

static const char *bad_fds, *bad_names, *bad_pid;
static int bad_code;

static void bad(void) {
    open_at_3(1);
    (void)close(4);
    give(bad_fds, bad_names);
    if (bad_pid != NULL) {
        set("LISTEN_PID", bad_pid);
    }
    HAVE(xev_serve_inherited(NULL, 0) == bad_code);
    HAVE(xev_serve_inherited(NULL, 0) == bad_code);
    HAVE(getenv("LISTEN_FDS") == NULL);
}

static void check_bad(const char *fds, const char *names, const char *pid, int code) {
    bad_fds = fds, bad_names = names, bad_pid = pid, bad_code = code;
    check_child(bad);
}

TEST(variables_that_are_wrong) {
    check_bad("0", NULL, NULL, 0);
    check_bad(NULL, NULL, NULL, 0);
    check_bad("x", NULL, NULL, XEV_EINVAL);
    check_bad("-1", NULL, NULL, XEV_EINVAL);
    check_bad("1", NULL, "x", XEV_EINVAL);
    check_bad("1", "a:b", NULL, XEV_EINVAL);
    check_bad("2", NULL, NULL, XEV_EBADF);
}

/* Two services at one name of sockets have the first and the second; there is no third. */
static void taken(void) {
    xev_serve_socket s[2];
    xev_runtime_failure f;
    xev_addr addr[2];
    open_at_3(2);
    give("2", "http:http");
    HAVE(xev_serve_new(&serve) == 0);
    xev_service *services[2];
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"a", "b", "c"};
        xev_service_options o = service_options(names[i], "systemd:http");
        HAVE(xev_serve_add(serve, &o, i < 2 ? &services[i] : NULL) == 0);
    }
    HAVE(run_services(1) == XEV_ENOENT);
    xev_runtime_failure_get(&runtime, &f);
    HAVE(strcmp(f.call, "LISTEN_FDNAMES") == 0 && strcmp(f.object, "systemd:http") == 0);
    HAVE(xev_serve_inherited(s, 2) == 2);
    HAVE(s[0].fd == XEV_INVALID_FD && s[1].fd == XEV_INVALID_FD);
    HAVE(fcntl(3, F_GETFD) < 0 && fcntl(4, F_GETFD) < 0);
    HAVE(xev_service_addr(services[0], &addr[0]) == XEV_EINVAL);
    xev_serve_free(serve);
}
TEST(each_socket_is_of_one_service) { check_child(taken); }

/* One service at an address; why the start fails. */
static const char *why_of(const char *address, int code, const char *step) {
    static xev_runtime_failure f;
    HAVE(xev_serve_new(&serve) == 0);
    xev_service_options o = service_options("a", address);
    HAVE(xev_serve_add(serve, &o, NULL) == 0);
    HAVE(run_services(1) == code);
    xev_runtime_failure_get(&runtime, &f);
    xev_serve_free(serve);
    HAVE(strcmp(f.call, step) == 0 && strcmp(f.object, address) == 0);
    return f.why;
}

static void no_sockets(void) {
    set("LISTEN_FDS", NULL);
    HAVE(strstr(why_of("systemd:http", XEV_ENXIO, "LISTEN_FDS"), "started with no sockets") !=
         NULL);
}
static void too_few_sockets(void) {
    open_at_3(1);
    (void)close(4);
    give("2", NULL);
    HAVE(strstr(why_of("systemd:http", XEV_EBADF, "LISTEN_FDS"), "more sockets than are open"));
}
static void wrong_variables(void) {
    open_at_3(1);
    give("1", "a:b");
    HAVE(strstr(why_of("systemd:a", XEV_EINVAL, "LISTEN_FDS"), "LISTEN_FDNAMES") != NULL);
}
static void another_name(void) {
    open_at_3(1);
    give("1", "a");
    HAVE(strstr(why_of("systemd:b", XEV_ENOENT, "LISTEN_FDNAMES"), "no socket of that name"));
}
TEST(what_is_wrong_is_said) {
    check_child(no_sockets);
    check_child(too_few_sockets);
    check_child(wrong_variables);
    check_child(another_name);
}

/* A service has the socket by its number, so that it is nobody's by its name. */
static void by_number_and_name(void) {
    xev_serve_socket s[2];
    xev_runtime_failure f;
    open_at_3(2);
    give("2", "http:admin");
    HAVE(xev_serve_new(&serve) == 0);
    xev_service_options first = service_options("a", "systemd:http"),
                        second = service_options("b", "fd:3");
    HAVE(xev_serve_add(serve, &first, NULL) == 0);
    HAVE(xev_serve_add(serve, &second, NULL) == 0);
    HAVE(run_services(1) == XEV_ENOENT);
    xev_runtime_failure_get(&runtime, &f);
    HAVE(strcmp(f.call, "LISTEN_FDNAMES") == 0 && strcmp(f.part, "a") == 0);
    HAVE(xev_serve_inherited(s, 2) == 2 && s[0].fd == XEV_INVALID_FD && s[1].fd == 4);
    HAVE(fcntl(3, F_GETFD) < 0 && fcntl(4, F_GETFD) >= 0);
    xev_serve_free(serve);
}
TEST(a_socket_is_of_one_service_by_number_or_by_name) { check_child(by_number_and_name); }
