/* The metrics of services: what the text says, and who may ask for it in which way. */
#include <math.h>

#include "tests/serve_scene.h"
#include "xev/metrics.h"

static xev_service *service, *metrics;

static void own_numbers(xev_shard *shard, xev_metrics *m, void *userdata) {
    uint32_t id = xev_shard_id(shard);
    CHECK(xev_shard_current() == shard);
    CHECK(userdata == &service);
    xev_metrics_counter(m, "own_total", "op=\"get\"", 100 + id);
    xev_metrics_counter(m, "own_total", "op=\"set\"", UINT64_MAX);
    xev_metrics_counter(m, "own_total", NULL, 1);
    xev_metrics_gauge(m, "own_level", NULL, -0.5);
    char labels[300];
    memset(labels, 'a', sizeof labels);
    memcpy(labels + 297, "b", 2);
    xev_metrics_gauge(m, "own_long", labels, NAN);
    static const uint64_t values[] = {0, 1023, 1024, 4096, 1000000, (uint64_t)1 << 40};
    xev_histogram h = {.sum = 0};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        xev_histogram_record(&h, values[i]);
    }
    xev_metrics_histogram(m, "own_size", "op=\"get\"", &h, 1);
}

static char reply[65536];

/* Sends the text, in two pieces, and reads until the end. */
static const char *look(const char *text) {
    int fd = connect_to(metrics);
    size_t len = strlen(text), half = len / 2, at = 0;
    CHECK_EQ(send(fd, text, half, MSG_NOSIGNAL), (ssize_t)half);
    CHECK_EQ(send(fd, text + half, len - half, MSG_NOSIGNAL), (ssize_t)(len - half));
    CHECK_EQ(shutdown(fd, SHUT_WR), 0); /* the reply comes all the same */
    ssize_t n;
    while ((n = recv(fd, reply + at, sizeof reply - 1 - at, 0)) > 0) {
        at += (size_t)n;
    }
    CHECK_EQ(n, 0);
    CHECK_EQ(close(fd), 0);
    reply[at] = '\0';
    return reply;
}

static void check_has(const char *text, const char *line) {
    char wanted[512];
    snprintf(wanted, sizeof wanted, "\n%s\n", line);
    if (strstr(text, wanted) == NULL) {
        CHECK_FAIL("not there: %s; in: %s", line, text);
    }
}

static xev_metrics_options with_own(void) {
    return (xev_metrics_options){
        .address = "127.0.0.1:0", .own = own_numbers, .timeout_ms = HOUR_MS, .userdata = &service};
}

static void ask_for_text(void) {
    for (int i = 0; i < 5; i++) {
        (void)ask_and_close(service);
    }
    while (count_of(service).connections > 0) {
        usleep(1000);
    }
    const char *text = look("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_EQ(strncmp(text, "HTTP/1.1 200 OK\r\n", 17), 0);
    const char *body = strstr(text, "\r\n\r\n");
    CHECK(body != NULL);
    body += 3; /* from its line feed on */
    const char *length = strstr(text, "Content-Length: ");
    CHECK(length != NULL);
    CHECK_EQ(strtoul(length + 16, NULL, 10), strlen(body) - 1);
    check_has(body, "# TYPE xev_service_served_total counter");
    check_has(body, "xev_service_served_total{shard=\"0\",service=\"a\"} 5");
    check_has(body, "xev_service_served_total{shard=\"1\",service=\"a\"} 0");
    check_has(body, "xev_service_closed_total{shard=\"0\",service=\"a\",reason=\"ended\"} 5");
    check_has(body, "xev_service_received_bytes_total{shard=\"0\",service=\"a\"} 5");
    check_has(body, "xev_service_sent_bytes_total{shard=\"0\",service=\"a\"} 10");
    check_has(body, "xev_service_connections{shard=\"0\",service=\"metrics\"} 1");
    check_has(body, "# TYPE xev_service_connections gauge");
    check_has(body, "xev_pool_queued{shard=\"0\",lane=\"fsync\"} 0");
    check_has(body, "xev_log_left_out_total{shard=\"0\"} 0");
    CHECK(strstr(body, "xev_log_left_out_total{shard=\"1\"}") == NULL);
    CHECK(strstr(body, "\nxev_shard_asks_total{shard=\"0\"} ") != NULL);
    check_has(body, "xev_pool_waits_total{shard=\"0\",lane=\"dns\"} 0");
    check_has(body, "xev_pool_wait_nanoseconds_total{shard=\"0\",lane=\"dns\"} 0");
    check_has(body, "xev_pool_oldest_seconds{shard=\"0\",lane=\"dns\"} 0");
    check_has(body, "xev_pool_queued_peak{shard=\"0\",lane=\"dns\"} 0");
    check_has(body, "own_total{shard=\"0\",op=\"get\"} 100");
    check_has(body, "own_total{shard=\"2\",op=\"get\"} 102");
    check_has(body, "own_total{shard=\"1\",op=\"set\"} 18446744073709551615");
    check_has(body, "own_total{shard=\"1\"} 1");
    check_has(body, "own_level{shard=\"1\"} -0.5");
    CHECK(strstr(body, "aaa} NaN\n") != NULL); /* cut, and the line is whole */
    check_has(body, "xev_metrics_missing 0");
    check_has(body, "# TYPE own_size histogram");
    check_has(body, "own_size_bucket{shard=\"1\",op=\"get\",le=\"1023\"} 2\n"
                    "own_size_bucket{shard=\"1\",op=\"get\",le=\"4095\"} 3\n"
                    "own_size_bucket{shard=\"1\",op=\"get\",le=\"16383\"} 4\n"
                    "own_size_bucket{shard=\"1\",op=\"get\",le=\"65535\"} 4\n"
                    "own_size_bucket{shard=\"1\",op=\"get\",le=\"262143\"} 4");
    check_has(body, "own_size_bucket{shard=\"1\",op=\"get\",le=\"6.87194767e+10\"} 5\n"
                    "own_size_bucket{shard=\"1\",op=\"get\",le=\"+Inf\"} 6\n"
                    "own_size_sum{shard=\"1\",op=\"get\"} 1.09951263e+12\n"
                    "own_size_count{shard=\"1\",op=\"get\"} 6");
    check_has(body, "# TYPE xev_shard_delay_seconds histogram");
    CHECK(strstr(body, "\nxev_shard_delay_samples_total{shard=\"2\",from=\"0\"} ") != NULL);
    CHECK(strstr(body, "\nxev_shard_delay_max_seconds{shard=\"2\",from=\"0\"} ") != NULL);
    check_has(body, "# TYPE xev_loop_turn_seconds histogram");
    CHECK(strstr(body, "\nxev_loop_turn_seconds_count{shard=\"2\"} ") != NULL);
    CHECK(strstr(body, "\nxev_loop_turn_seconds_bucket{shard=\"2\",le=\"1.023e-06\"} ") != NULL);
    CHECK(strstr(body, "xev_loop_callback_seconds") == NULL); /* not asked for */
    /* One line of type for each name, and all samples of a name behind it. */
    char copy[sizeof reply], *save = NULL, seen[100][64] = {{0}}, name[64] = "";
    uint32_t names = 0;
    snprintf(copy, sizeof copy, "%s", body);
    for (char *line = strtok_r(copy, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        if (strncmp(line, "# TYPE ", 7) == 0) {
            CHECK_EQ(sscanf(line, "# TYPE %63s", name), 1);
            for (uint32_t i = 0; i < names; i++) {
                CHECK(strcmp(seen[i], name) != 0);
            }
            CHECK_LT(names, 100);
            snprintf(seen[names++], sizeof seen[0], "%s", name);
        } else {
            CHECK_EQ(strncmp(line, name, strlen(name)), 0);
            CHECK(strchr("{ _", line[strlen(name)]) != NULL);
        }
    }
    CHECK_GT(names, 20);
}

TEST(all_shards_tell_their_numbers) {
    xev_service_options o = service_options("a", "127.0.0.1:0");
    xev_metrics_options m = with_own();
    o.policy = XEV_SERVE_SINGLE;
    service = add_service(&o);
    CHECK_EQ(xev_serve_add_metrics(serve, &m, &metrics), 0);
    CHECK_STR_EQ(xev_service_name(metrics), "metrics");
    options.sample_messages = 1;
    run_with_clients(3, ask_for_text);
    xev_serve_free(serve);
}

static void look_for_odd_name(void) {
    check_has(look("GET /metrics HTTP/1.1\r\n\r\n"),
              "xev_service_served_total{shard=\"0\",service=\"a\\\"\\\\\\nb\"} 0");
}

TEST(names_are_written_as_labels_want_it) {
    xev_service_options o = service_options("a\"\\\nb", "127.0.0.1:0");
    xev_metrics_options m = with_own();
    service = add_service(&o);
    CHECK_EQ(xev_serve_add(serve, &o, NULL), XEV_EINVAL); /* the same name twice */
    CHECK_EQ(xev_serve_add_metrics(serve, &m, &metrics), 0);
    m.own = NULL;
    xev_service *second;
    CHECK_EQ(xev_serve_add_metrics(serve, &m, &second), 0); /* at another address */
    CHECK_STR_EQ(xev_service_name(second), "metrics2");
    run_with_clients(1, look_for_odd_name);
    xev_serve_free(serve);
}

static void ask_in_other_ways(void) {
    static const struct {
        const char *request, *status;
    } rows[] = {
        {"HEAD /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200 "},
        {"GET /metrics?a=b HTTP/1.0\r\n\r\n", "HTTP/1.1 200 "},
        {"GET /metrics\n\n", "HTTP/1.1 200 "},
        {"GET /metricsx HTTP/1.1\r\n\r\n", "HTTP/1.1 404 "},
        {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 "},
        {"POST /metrics HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", "HTTP/1.1 405 "},
        {"\r\n\r\n", "HTTP/1.1 405 "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *text = look(rows[i].request);
        if (strncmp(text, rows[i].status, strlen(rows[i].status)) != 0) {
            CHECK_FAIL("%s: %s", rows[i].request, text);
        }
        if (rows[i].request[0] == 'H') {
            CHECK(strstr(text, "\r\n\r\n")[4] == '\0');
        }
    }
    CHECK_STR_EQ(look("GET /metrics HTTP/1.1\r\n"), ""); /* never whole */
    char long_one[20000];
    memset(long_one, 'a', sizeof long_one);
    int fd = connect_to(metrics);
    (void)send(fd, long_one, sizeof long_one, MSG_NOSIGNAL);
    CHECK_LE(recv(fd, reply, sizeof reply, 0), 0); /* ended, or reset */
    CHECK_EQ(close(fd), 0);
    /* One that asks and goes away at once. */
    for (int i = 0; i < 20; i++) {
        fd = connect_to(metrics);
        CHECK_EQ(send(fd, "GET /metrics\n\n", 14, MSG_NOSIGNAL), 14);
        CHECK_EQ(close(fd), 0);
    }
    CHECK(strstr(look("GET /metrics HTTP/1.1\r\n\r\n"), "xev_metrics_missing 0") != NULL);
}

TEST(other_requests_are_refused) {
    xev_metrics_options m = {.address = "127.0.0.1:0", .timeout_ms = HOUR_MS};
    CHECK_EQ(xev_serve_new(&serve), 0);
    CHECK_EQ(xev_serve_add_metrics(serve, &m, &metrics), 0);
    run_with_clients(2, ask_in_other_ways);
    xev_serve_free(serve);
}

/* ---- a shard that blocks is missing ---- */

static atomic_bool blocks, goes_on;
static xev_message message;

static void block(xev_shard *self, xev_message *m, void *arg) {
    (void)self;
    (void)m;
    (void)arg;
    blocks = true;
    while (!goes_on) {
        usleep(1000);
    }
}

static void look_at_a_blocked_shard(void) {
    CHECK_EQ(xev_shard_send(xev_runtime_shard(&runtime, 1), &message, block, NULL), 0);
    while (!blocks) {
        usleep(1000);
    }
    const char *text;
    do { /* shard 0 is missing, too, where the machine held it up for so long */
        text = look("GET /metrics HTTP/1.1\r\n\r\n");
    } while (strstr(text, "xev_metrics_missing 2") != NULL);
    check_has(text, "xev_metrics_missing 1");
    check_has(text, "own_total{shard=\"0\",op=\"get\"} 100");
    CHECK(strstr(text, "shard=\"1\"") == NULL);
    goes_on = true;
}

TEST(a_shard_that_does_not_answer_is_missing) {
    xev_metrics_options m = with_own();
    m.timeout_ms = 200;
    CHECK_EQ(xev_serve_new(&serve), 0);
    CHECK_EQ(xev_serve_add_metrics(serve, &m, &metrics), 0);
    run_with_clients(2, look_at_a_blocked_shard);
    xev_serve_free(serve);
}

static void look_at_short_asks(void) {
    const char *text = look("GET /metrics HTTP/1.1\r\n\r\n");
    check_has(text, "xev_metrics_missing 2");
}

TEST(shards_whose_numbers_are_more_than_an_ask_holds_are_missing) {
    xev_metrics_options m = with_own();
    options.ask_bytes = 1000;
    CHECK_EQ(xev_serve_new(&serve), 0);
    CHECK_EQ(xev_serve_add_metrics(serve, &m, &metrics), 0);
    run_with_clients(2, look_at_short_asks);
    xev_serve_free(serve);
}

TEST(an_address_that_is_none) {
    xev_metrics_options m = {.address = NULL};
    CHECK_EQ(xev_serve_new(&serve), 0);
    CHECK_EQ(xev_serve_add_metrics(serve, &m, &metrics), XEV_EINVAL);
    CHECK(metrics == NULL);
    m.address = "nowhere";
    CHECK_EQ(xev_serve_add_metrics(serve, &m, NULL), 0);
    CHECK_EQ(run_services(1), XEV_EINVAL);
    xev_runtime_failure why;
    xev_runtime_failure_get(&runtime, &why);
    CHECK_STR_EQ(why.part, "metrics");
    xev_serve_free(serve);
}
