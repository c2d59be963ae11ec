/* Names of hosts. The test needs no network: it resolves names of /etc/hosts, addresses as text,
 * and names under "invalid". */
#include <netdb.h>
#include <sys/resource.h>

#include "tests/file_scene.h"
#include "xev/dns.h"

/* The system's resolver is wrapped. It answers by itself, but where there is no /etc/hosts (a bare
 * container), what it would say. */
static bool bare(void) { return access("/etc/hosts", R_OK) != 0; }

/* Not 0: the resolver has failed with this errno. Its code is "no such name" all the same:
 * glibc 2.36 says so of every name when it has no descriptor to read nsswitch.conf by. */
static int resolver_errno;

int __real_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **list);
int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **list);
int __real_getnameinfo(const struct sockaddr *addr, socklen_t addr_len, char *host,
                       socklen_t host_len, char *service, socklen_t service_len, int flags);
int __wrap_getnameinfo(const struct sockaddr *addr, socklen_t addr_len, char *host,
                       socklen_t host_len, char *service, socklen_t service_len, int flags);

int __wrap_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                       struct addrinfo **list) {
    if (resolver_errno != 0) {
        errno = resolver_errno;
        return EAI_NONAME;
    }
    bool known = bare() && host != NULL && strcmp(host, "localhost") == 0;
    return __real_getaddrinfo(known ? "127.0.0.1" : host, service, hints, list);
}

int __wrap_getnameinfo(const struct sockaddr *addr, socklen_t addr_len, char *host,
                       socklen_t host_len, char *service, socklen_t service_len, int flags) {
    if (resolver_errno != 0) {
        errno = resolver_errno;
        return EAI_NONAME;
    }
    if (bare() && host_len > 0) {
        int len = snprintf(host, host_len, "localhost");
        return len < (int)host_len ? 0 : EAI_OVERFLOW;
    }
    return __real_getnameinfo(addr, addr_len, host, host_len, service, service_len, flags);
}

struct dns {
    xev_dns_req r;
    uint32_t calls, rearm, order;
    int result;
    xev_addr addrs[8];
};

static xev_cb_action dns_cb(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct dns *d = userdata;
    (void)loop;
    CHECK(c == &d->r.c);
    CHECK_EQ(xev_completion_state(c), XEV_COMPLETION_DEAD);
    d->calls++;
    d->result = result;
    d->order = atomic_fetch_add(&op_clock, 1) + 1;
    if (d->rearm > 0) {
        d->rearm--;
        return XEV_REARM;
    }
    return XEV_DISARM;
}

static int dns_wait(xev_loop *loop, struct dns *d) {
    while (d->calls == 0) {
        CHECK_GT(xev_loop_active(loop), 0);
        run_once(loop);
    }
    CHECK_EQ(d->calls, 1);
    return d->result;
}

static void dns_submit(xev_loop *loop, struct dns *d, const char *host, const char *service,
                       enum xev_family family) {
    memset(d, 0, sizeof *d);
    xev_dns_resolve(loop, &d->r, host, service, family, d->addrs, 8, d, dns_cb);
}

static int resolve(xev_loop *loop, struct dns *d, const char *host, const char *service,
                   enum xev_family family) {
    dns_submit(loop, d, host, service, family);
    return dns_wait(loop, d);
}

static void check_addr(const xev_addr *addr, const char *text) {
    char out[XEV_ADDR_TEXT_BYTES];
    CHECK_EQ(xev_addr_format(addr, out, sizeof out), 0);
    CHECK_STR_EQ(out, text);
}

TEST(literals_need_no_pool) {
    static const struct {
        const char *host, *service;
        enum xev_family family;
        const char *addr;
    } cases[] = {
        {"127.0.0.1", NULL, XEV_AF_UNSPEC, "127.0.0.1:0"},
        {"192.0.2.7", "80", XEV_AF_INET, "192.0.2.7:80"},
        {"::1", "65535", XEV_AF_UNSPEC, "[::1]:65535"},
        {"[2001:db8::1]", "0", XEV_AF_INET6, "[2001:db8::1]:0"},
    };
    xev_loop loop;
    struct dns d;
    loop_start(&loop);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_EQ(resolve(&loop, &d, cases[i].host, cases[i].service, cases[i].family), 1);
        CHECK_EQ(d.r.found, 1);
        check_addr(&d.addrs[0], cases[i].addr);
    }
    CHECK_EQ(resolve(&loop, &d, "127.0.0.1", NULL, XEV_AF_INET6), XEV_ENONAME);
    CHECK_EQ(resolve(&loop, &d, "::1", "80", XEV_AF_INET), XEV_ENONAME);
    /* No callback inside the call; repeated without a pool too. */
    memset(&d, 0, sizeof d);
    d.rearm = 2;
    xev_dns_resolve(&loop, &d.r, "::1", NULL, XEV_AF_UNSPEC, d.addrs, 8, &d, dns_cb);
    CHECK_EQ(d.calls, 0);
    run_done(&loop);
    CHECK_EQ(d.calls, 3);
    CHECK_EQ(d.result, 1);
    /* What does need one says so. */
    CHECK_EQ(resolve(&loop, &d, "localhost", NULL, XEV_AF_UNSPEC), XEV_ENOPOOL);
    CHECK_EQ(resolve(&loop, &d, "127.0.0.1", "http", XEV_AF_UNSPEC), XEV_ENOPOOL);
    memset(&d, 0, sizeof d);
    char name[XEV_DNS_NAME_BYTES];
    CHECK_EQ(xev_addr_parse(&d.addrs[0], "127.0.0.1", 1), 0);
    xev_dns_name(&loop, &d.r, &d.addrs[0], name, sizeof name, &d, dns_cb);
    CHECK_EQ(dns_wait(&loop, &d), XEV_ENOPOOL);
    xev_loop_deinit(&loop);
}

TEST(a_name_becomes_addresses_and_an_address_a_name) {
    struct scene s;
    struct dns d;
    scene_start(&s);
    CHECK_GE(resolve(&s.loop, &d, "localhost", "8080", XEV_AF_INET), 1);
    check_addr(&d.addrs[0], "127.0.0.1:8080");
    CHECK_GE(d.r.found, 1);
    int n = resolve(&s.loop, &d, "localhost", NULL, XEV_AF_UNSPEC);
    CHECK_GE(n, 1);
    CHECK_EQ(d.r.found, (uint32_t)n);
    for (int i = 0; i < n; i++) {
        CHECK_NE(xev_addr_family(&d.addrs[i]), XEV_AF_UNSPEC);
        CHECK_EQ(xev_addr_port(&d.addrs[i]), 0);
    }
    char name[XEV_DNS_NAME_BYTES] = "";
    xev_addr addr;
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 80), 0);
    memset(&d, 0, sizeof d);
    xev_dns_name(&s.loop, &d.r, &addr, name, sizeof name, &d, dns_cb);
    CHECK_EQ(dns_wait(&s.loop, &d), 0);
    CHECK_STR_EQ(name, "localhost");
    memset(&d, 0, sizeof d);
    xev_dns_name(&s.loop, &d.r, &addr, name, 4, &d, dns_cb);
    CHECK_EQ(dns_wait(&s.loop, &d), XEV_ENOBUFS);
    scene_end(&s);
}

TEST(services_have_names) {
    struct scene s;
    struct dns d;
    scene_start(&s);
    if (access("/etc/services", R_OK) == 0) {
        CHECK_EQ(resolve(&s.loop, &d, "127.0.0.1", "http", XEV_AF_UNSPEC), 1);
        check_addr(&d.addrs[0], "127.0.0.1:80");
        CHECK_EQ(resolve(&s.loop, &d, "[::1]", "http", XEV_AF_UNSPEC), 1);
        check_addr(&d.addrs[0], "[::1]:80");
    }
    CHECK_EQ(resolve(&s.loop, &d, "127.0.0.1", "no-such-service", XEV_AF_UNSPEC), XEV_ENOSERVICE);
    scene_end(&s);
}

TEST(unknown_names_are_a_stable_code) {
    static const char *const unknown[] = {"invalid", "no.such.host.invalid", "a.INVALID",
                                          "b.invalid."};
    xev_loop loop;
    struct dns d;
    loop_start(&loop);
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        CHECK_EQ(resolve(&loop, &d, unknown[i], "80", XEV_AF_UNSPEC), XEV_ENONAME);
        CHECK_EQ(d.r.found, 0);
    }
    /* Not under it, though it ends so: that is for the resolver, and there is no pool. */
    CHECK_EQ(resolve(&loop, &d, "notinvalid", NULL, XEV_AF_UNSPEC), XEV_ENOPOOL);
    CHECK_EQ(resolve(&loop, &d, "a.valid-in", NULL, XEV_AF_UNSPEC), XEV_ENOPOOL);
    CHECK_EQ(resolve(&loop, &d, "a.example", NULL, XEV_AF_UNSPEC), XEV_ENOPOOL);
    CHECK_EQ(XEV_ENONAME, -4092);
    CHECK_EQ(XEV_EDNS_AGAIN, -4091);
    CHECK_EQ(XEV_EDNS_FAIL, -4090);
    CHECK_EQ(XEV_ENOSERVICE, -4089);
    CHECK_STR_EQ(xev_err_name(XEV_EDNS_AGAIN), "XEV_EDNS_AGAIN");
    xev_loop_deinit(&loop);
}

TEST(a_resolver_out_of_resources_says_nothing_of_the_name) {
    static const int causes[] = {EMFILE, ENFILE, ENOMEM};
    struct scene s;
    struct dns d;
    xev_addr addr;
    char name[XEV_DNS_NAME_BYTES];
    scene_start(&s);
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 80), 0);
    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        resolver_errno = causes[i];
        CHECK_EQ(resolve(&s.loop, &d, "localhost", "80", XEV_AF_UNSPEC), -causes[i]);
        CHECK_EQ(d.r.found, 0);
        memset(&d, 0, sizeof d);
        xev_dns_name(&s.loop, &d.r, &addr, name, sizeof name, &d, dns_cb);
        CHECK_EQ(dns_wait(&s.loop, &d), -causes[i]);
    }
    resolver_errno = ENOENT; /* of a file that it looked for: no reason to doubt the answer */
    CHECK_EQ(resolve(&s.loop, &d, "localhost", "80", XEV_AF_UNSPEC), XEV_ENONAME);
    resolver_errno = 0;
    CHECK_GT(resolve(&s.loop, &d, "localhost", "80", XEV_AF_UNSPEC), 0);
    scene_end(&s);
}

/* The system's own resolver, in a process that cannot open a file. */
TEST(without_descriptors_a_name_is_not_unknown) {
    struct scene s;
    struct dns d;
    struct rlimit before;
    scene_start(&s);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit none = {.rlim_cur = 3, .rlim_max = before.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    int rc = resolve(&s.loop, &d, "localhost", "80", XEV_AF_UNSPEC);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK(rc == XEV_EMFILE || (bare() && rc > 0));
    CHECK_GT(resolve(&s.loop, &d, "localhost", "80", XEV_AF_UNSPEC), 0);
    scene_end(&s);
}

/* Whatever the machine's resolver makes of it: a code of the list, in the resolver's time. */
TEST_TIMEOUT(names_the_resolver_cannot_know_are_an_error, 60) {
    struct scene s;
    struct dns d;
    scene_start(&s);
    static char long_name[400];
    memset(long_name, 'x', sizeof long_name - 1);
    const char *const names[] = {long_name, "a b", "no..such"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int rc = resolve(&s.loop, &d, names[i], NULL, XEV_AF_UNSPEC);
        CHECK(rc == XEV_ENONAME || rc == XEV_EDNS_AGAIN || rc == XEV_EDNS_FAIL);
        CHECK_EQ(d.r.found, 0);
    }
    scene_end(&s);
}

TEST(bad_arguments_are_refused) {
    xev_loop loop;
    struct dns d;
    loop_start(&loop);
    CHECK_EQ(resolve(&loop, &d, "", NULL, XEV_AF_UNSPEC), XEV_EINVAL);
    CHECK_EQ(resolve(&loop, &d, "localhost", "", XEV_AF_UNSPEC), XEV_EINVAL);
    CHECK_EQ(resolve(&loop, &d, "localhost", "65536", XEV_AF_UNSPEC), XEV_EINVAL);
    CHECK_EQ(resolve(&loop, &d, "::1", "4294967376", XEV_AF_UNSPEC), XEV_EINVAL);
    CHECK_EQ(resolve(&loop, &d, "::1", NULL, (enum xev_family)7), XEV_EAFNOSUPPORT);
    memset(&d, 0, sizeof d);
    d.rearm = 2;
    xev_dns_resolve(&loop, &d.r, "::1", NULL, XEV_AF_UNSPEC, d.addrs, 0, &d, dns_cb);
    run_done(&loop);
    CHECK_EQ(d.calls, 3);
    CHECK_EQ(d.result, XEV_EINVAL);
    memset(&d, 0, sizeof d);
    char name[8];
    xev_dns_name(&loop, &d.r, &d.addrs[0], name, sizeof name, &d, dns_cb);
    CHECK_EQ(dns_wait(&loop, &d), XEV_EINVAL);
    memset(&d, 0, sizeof d); /* glibc has the name of this host for it */
    CHECK_EQ(xev_addr_from_text(&d.addrs[0], "unix:/run/a.sock"), 0);
    xev_dns_name(&loop, &d.r, &d.addrs[0], name, sizeof name, &d, dns_cb);
    CHECK_EQ(dns_wait(&loop, &d), XEV_EAFNOSUPPORT);
    memset(&d, 0, sizeof d);
    CHECK_EQ(xev_addr_parse(&d.addrs[0], "127.0.0.1", 0), 0);
    xev_dns_name(&loop, &d.r, &d.addrs[0], name, 0, &d, dns_cb);
    CHECK_EQ(dns_wait(&loop, &d), XEV_EINVAL);
    xev_loop_deinit(&loop);
}

struct asked {
    struct dns d;
    char host[16];
};

static xev_cb_action ask_on(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    static const char *const next[] = {"localhost", "", "127.0.0.2"};
    struct asked *a = userdata;
    (void)dns_cb(loop, c, result, &a->d);
    CHECK_EQ(result < 0, a->d.calls == 3);
    if (a->d.calls == 3) {
        CHECK_EQ(result, XEV_EINVAL);
    }
    if (a->d.calls == 4) {
        return XEV_DISARM;
    }
    snprintf(a->host, sizeof a->host, "%s", next[a->d.calls - 1]);
    return XEV_REARM;
}

TEST(rearm_asks_for_the_name_that_is_there_now) {
    struct scene s;
    struct asked a = {.host = "192.0.2.7"};
    scene_start(&s);
    xev_dns_resolve(&s.loop, &a.d.r, a.host, NULL, XEV_AF_INET, a.d.addrs, 8, &a, ask_on);
    run_done(&s.loop);
    CHECK_EQ(a.d.calls, 4);
    CHECK_EQ(a.d.result, 1);
    check_addr(&a.d.addrs[0], "127.0.0.2:0");
    scene_end(&s);
}

TEST(as_many_as_there_is_room_for) {
    struct scene s;
    struct dns d;
    scene_start(&s);
    memset(&d, 0, sizeof d);
    memset(&d.addrs[1], 0x5a, sizeof d.addrs[1]);
    xev_addr untouched = d.addrs[1];
    xev_dns_resolve(&s.loop, &d.r, "localhost", NULL, XEV_AF_UNSPEC, d.addrs, 1, &d, dns_cb);
    CHECK_EQ(dns_wait(&s.loop, &d), 1);
    CHECK_GE(d.r.found, 1);
    CHECK_MEM_EQ(&d.addrs[1], &untouched, sizeof untouched);
    scene_end(&s);
}

TEST(cancel_and_deadline_end_what_waits) {
    struct scene s;
    struct dns d[3];
    struct hold held;
    struct op cancel, late;
    scene_start(&s);
    hold_lane(&s, &held, XEV_LANE_DNS);
    dns_submit(&s.loop, &d[0], "localhost", NULL, XEV_AF_UNSPEC);
    dns_submit(&s.loop, &d[1], "localhost", NULL, XEV_AF_UNSPEC);
    dns_submit(&s.loop, &d[2], "localhost", NULL, XEV_AF_UNSPEC);
    xev_completion_set_timeout(&s.loop, &d[1].r.c, 1);
    cancel_op(&s, &d[0].r.c, &cancel);
    CHECK_EQ(dns_wait(&s.loop, &d[0]), XEV_ECANCELED);
    run_for(&s.loop, &cancel, 1);
    CHECK_EQ(cancel.result, 0);
    CHECK_GT(cancel.order, d[0].order);
    CHECK_EQ(dns_wait(&s.loop, &d[1]), XEV_ETIMEDOUT);
    CHECK_EQ(d[2].calls, 0);
    let_go(&s, &held);
    CHECK_GE(dns_wait(&s.loop, &d[2]), 1);
    cancel_op(&s, &d[2].r.c, &late);
    run_for(&s.loop, &late, 1);
    CHECK_EQ(late.result, XEV_ENOENT);
    /* A literal's answer is known: the cancel comes too late. */
    dns_submit(&s.loop, &d[0], "::1", NULL, XEV_AF_UNSPEC);
    cancel_op(&s, &d[0].r.c, &cancel);
    CHECK_EQ(dns_wait(&s.loop, &d[0]), 1);
    run_for(&s.loop, &cancel, 1);
    CHECK_EQ(cancel.result, XEV_ENOENT);
    scene_end(&s);
}

TEST(many_names_do_not_starve_files) {
    enum { N = 500 };
    static struct dns d[N];
    struct scene s;
    struct hold held;
    scene_start(&s);
    hold_lane(&s, &held, XEV_LANE_DNS); /* a name server that is silent */
    for (int i = 0; i < N; i++) {
        dns_submit(&s.loop, &d[i], "localhost", "1", XEV_AF_INET);
    }
    struct dns reverse = {.calls = 0};
    char name[XEV_DNS_NAME_BYTES];
    CHECK_EQ(xev_addr_parse(&reverse.addrs[0], "127.0.0.1", 0), 0);
    xev_dns_name(&s.loop, &reverse.r, &reverse.addrs[0], name, sizeof name, &reverse, dns_cb);
    for (int i = 0; i < 50; i++) {
        struct freq f;
        CHECK_EQ(RUN(&s, xev_file_stat_path(&s.loop, &f.r, "/", ARG)), 0);
    }
    for (int i = 0; i < N; i++) {
        CHECK_EQ(d[i].calls, 0);
    }
    CHECK_EQ(reverse.calls, 0);
    let_go(&s, &held);
    run_done(&s.loop);
    CHECK_EQ(reverse.result, 0);
    for (int i = 0; i < N; i++) {
        CHECK_EQ(d[i].calls, 1);
        CHECK_GE(d[i].result, 1);
        check_addr(&d[i].addrs[0], "127.0.0.1:1");
    }
    scene_end(&s);
}

TEST(teardown_ends_what_waits) {
    struct scene s;
    struct dns d[2];
    struct hold held;
    scene_start(&s);
    hold_lane(&s, &held, XEV_LANE_DNS);
    dns_submit(&s.loop, &d[0], "localhost", NULL, XEV_AF_UNSPEC);
    dns_submit(&s.loop, &d[1], "127.0.0.1", NULL, XEV_AF_UNSPEC);
    sem_post(&held.go);
    xev_loop_deinit(&s.loop);
    CHECK_EQ(d[0].calls, 1);
    CHECK(d[0].result == XEV_ECANCELED || d[0].result > 0);
    CHECK_EQ(d[1].calls, 1);
    CHECK_EQ(d[1].result, 1);
    loop_start(&s.loop);
    scene_end(&s);
}

static xev_loop victim;
static xev_dns_req victim_req;
static xev_addr victim_addr;
#define MISUSE(name, call)                                                                         \
    static void name(void) {                                                                       \
        CHECK_EQ(xev_loop_init(&victim), 0);                                                       \
        call;                                                                                      \
    }
#define REQ NULL, op_cb
MISUSE(no_host,
       xev_dns_resolve(&victim, &victim_req, NULL, NULL, XEV_AF_INET, &victim_addr, 1, REQ))
MISUSE(no_room, xev_dns_resolve(&victim, &victim_req, "::1", NULL, XEV_AF_INET, NULL, 1, REQ))
MISUSE(no_req, xev_dns_resolve(&victim, NULL, "::1", NULL, XEV_AF_INET, &victim_addr, 1, REQ))
MISUSE(no_addr, xev_dns_name(&victim, &victim_req, NULL, (char[8]){0}, 8, REQ))
MISUSE(no_name, xev_dns_name(&victim, &victim_req, &victim_addr, NULL, 8, REQ))

TEST(misuse_ends_the_program) {
    check_dies(no_host, "xev_dns_resolve");
    check_dies(no_room, "xev_dns_resolve");
    check_dies(no_req, "xev_dns_resolve");
    check_dies(no_addr, "xev_dns_name");
    check_dies(no_name, "xev_dns_name");
}
