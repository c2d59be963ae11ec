/* Metrics: each shard writes its numbers down, shard 0 sorts them by name and makes the text. */
#include "xev/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/internal.h"
#include "xev/ask.h"
#include "xev/log.h"
#include "xev/threadpool.h"

#define LABELS_MAX 200u
#define TIMEOUT_MS 2000u
#define REQUEST_MAX 8192u

struct xev__metrics {
    xev_serve *serve;
    uint32_t timeout_ms;
    xev_metrics_fn own;
    void *userdata;
};

#define FIRST_BOUND 10u /* of the buckets told, as powers of two */
#define LAST_BOUND 36u
#define BOUND_STEP 2u

/* Those of a histogram are told in this order. */
enum sample_kind { COUNTER, GAUGE, BUCKET, SUM, COUNT };

struct sample {
    const char *name; /* of the program: the same address on every shard */
    enum sample_kind kind;
    uint32_t shard;
    uint64_t count; /* COUNTER, BUCKET, COUNT */
    double level;   /* GAUGE, SUM; BUCKET: no value is above it */
    char labels[LABELS_MAX + 1];
};

/* Samples of one shard; and of all of them, in a look. */
struct xev_metrics {
    struct sample *samples;
    uint32_t len, room;
    uint32_t shard;
};

struct look {
    struct xev_metrics all;
    uint32_t missing;
    bool only_head;
    xev_conn_slot *slot;
};

/* ---- numbers ---- */

static bool make_room(xev_metrics *m, uint32_t more) {
    if (m->room - m->len < more) {
        uint32_t room = m->room + (more > m->room ? more : m->room) + 16;
        struct sample *samples = realloc(m->samples, room * sizeof *samples);
        if (samples == NULL) {
            return false;
        }
        m->samples = samples;
        m->room = room;
    }
    return true;
}

static struct sample *add_sample(xev_metrics *m, const char *name, const char *labels) {
    if (!make_room(m, 1)) {
        return NULL;
    }
    struct sample *s = &m->samples[m->len++];
    *s = (struct sample){.name = name, .shard = m->shard};
    if (labels != NULL && *labels != '\0') {
        snprintf(s->labels, sizeof s->labels, ",%.*s", (int)LABELS_MAX - 1, labels);
    }
    return s;
}

static void check_sample(const char *call, const xev_metrics *m, const char *name) {
    xev__serve_check(m != NULL && name != NULL, call, "metrics or name is null");
}

void xev_metrics_counter(xev_metrics *metrics, const char *name, const char *labels,
                         uint64_t value) {
    check_sample("xev_metrics_counter", metrics, name);
    struct sample *s = add_sample(metrics, name, labels);
    if (s != NULL) {
        s->kind = COUNTER;
        s->count = value;
    }
}

void xev_metrics_gauge(xev_metrics *metrics, const char *name, const char *labels, double value) {
    check_sample("xev_metrics_gauge", metrics, name);
    struct sample *s = add_sample(metrics, name, labels);
    if (s != NULL) {
        s->kind = GAUGE;
        s->level = value;
    }
}

void xev_metrics_histogram(xev_metrics *metrics, const char *name, const char *labels,
                           const xev_histogram *h, double unit) {
    check_sample("xev_metrics_histogram", metrics, name);
    xev__serve_check(h != NULL, "xev_metrics_histogram", "histogram is null");
    uint32_t bounds = (LAST_BOUND - FIRST_BOUND) / BOUND_STEP + 1;
    if (!make_room(metrics, bounds + 3)) {
        return; /* all or nothing */
    }
    uint64_t count = xev_histogram_count(h);
    for (uint32_t i = 0; i <= bounds; i++) {
        struct sample *s = add_sample(metrics, name, labels);
        uint64_t bound = (uint64_t)1 << (FIRST_BOUND + BOUND_STEP * i);
        uint64_t below = i < bounds ? xev_histogram_count_below(h, bound) : count;
        s->kind = BUCKET;
        s->level = i < bounds ? (double)(bound - 1) * unit : (double)INFINITY;
        s->count = below < count ? below : count; /* another thread may record meanwhile */
    }
    struct sample *s = add_sample(metrics, name, labels);
    s->kind = SUM;
    s->level = (double)xev_histogram_sum(h) * unit;
    s = add_sample(metrics, name, labels);
    s->kind = COUNT;
    s->count = count;
}

/* ---- what a shard tells ---- */

/* The label of a service; its name may hold what is special in one. */
static int service_label(char labels[LABELS_MAX], const xev_service *v) {
    int at = snprintf(labels, LABELS_MAX, "service=\"");
    for (const char *p = v->options.name; *p != '\0'; p++) { /* 31 bytes at most */
        if (*p == '"' || *p == '\\' || *p == '\n') {
            labels[at++] = '\\';
        }
        labels[at++] = *p == '\n' ? 'n' : *p;
    }
    return at + snprintf(labels + at, LABELS_MAX - (size_t)at, "\"");
}

static void tell_service(xev_metrics *m, const xev_service *v, xev_shard *shard) {
    char labels[LABELS_MAX];
    xev_service_counters c;
    xev_conn_counters conns;
    xev_conn_service *on = xev_service_conns(v, shard);
    if (on == NULL) {
        return; /* it stops */
    }
    xev_service_count(v, m->shard, &c);
    xev_conn_service_count(on, &conns);
    int len = service_label(labels, v);
    xev_metrics_gauge(m, "xev_service_connections", labels, c.connections);
    xev_metrics_counter(m, "xev_service_accepted_total", labels, c.accepted);
    xev_metrics_counter(m, "xev_service_handed_total", labels, c.handed);
    xev_metrics_counter(m, "xev_service_served_total", labels, c.served);
    xev_metrics_counter(m, "xev_service_moved_in_total", labels, c.moved_in);
    xev_metrics_counter(m, "xev_service_moved_out_total", labels, c.moved_out);
    xev_metrics_counter(m, "xev_service_received_bytes_total", labels, conns.bytes_in);
    xev_metrics_counter(m, "xev_service_sent_bytes_total", labels, conns.bytes_out);
    xev_metrics_gauge(m, "xev_service_memory_bytes", labels, (double)conns.pool_bytes);
    for (int i = 0; i < XEV_SERVE_REFUSALS; i++) {
        if (c.refused[i] > 0) {
            snprintf(labels + len, sizeof labels - (size_t)len, ",reason=\"%s\"",
                     xev_serve_refusal_name((xev_serve_refusal)i));
            xev_metrics_counter(m, "xev_service_refused_total", labels, c.refused[i]);
        }
    }
    for (int i = 0; i < XEV_CONN_REASONS; i++) {
        if (conns.closed[i] > 0) {
            snprintf(labels + len, sizeof labels - (size_t)len, ",reason=\"%s\"",
                     xev_conn_reason_name((xev_conn_reason)i));
            xev_metrics_counter(m, "xev_service_closed_total", labels, conns.closed[i]);
        }
    }
}

static void tell_times(xev_metrics *m, xev_shard *shard) {
    static const char *const times[] = {"xev_loop_turn_seconds", "xev_loop_callback_seconds",
                                        "xev_shard_delay_seconds"};
    _Static_assert(sizeof times / sizeof times[0] == XEV_SHARD_TIMES, "a name for each");
    for (int i = 0; i < XEV_SHARD_TIMES; i++) {
        xev_histogram h = {0};
        xev_shard_times(shard, (xev_shard_time)i, &h);
        if (xev_histogram_count(&h) > 0) {
            xev_metrics_histogram(m, times[i], NULL, &h, 1e-9);
        }
    }
}

static void tell_shard(xev_metrics *m, xev_shard *shard) {
    xev_shard_counters c;
    xev_loop_metrics loop;
    xev_shard_count(shard, &c);
    xev_loop_metrics_get(xev_shard_loop(shard), &loop);
    xev_metrics_counter(m, "xev_shard_messages_sent_total", NULL, c.messages_sent);
    xev_metrics_counter(m, "xev_shard_messages_received_total", NULL, c.messages_received);
    xev_metrics_counter(m, "xev_shard_messages_refused_total", NULL, c.messages_refused);
    xev_metrics_counter(m, "xev_shard_asks_total", NULL, c.asks);
    xev_metrics_counter(m, "xev_shard_asks_waited_total", NULL, c.asks_waited);
    xev_metrics_counter(m, "xev_shard_asks_timed_out_total", NULL, c.asks_timed_out);
    xev_metrics_counter(m, "xev_shard_asks_cancelled_total", NULL, c.asks_cancelled);
    xev_metrics_gauge(m, "xev_shard_asks", NULL, c.asks_now);
    xev_metrics_counter(m, "xev_shard_slow_total", NULL, c.slow);
    xev_metrics_counter(m, "xev_shard_sleeps_total", NULL, c.sleeps);
    xev_metrics_counter(m, "xev_shard_wakes_total", NULL, c.wakes);
    xev_metrics_counter(m, "xev_loop_turns_total", NULL, loop.turns);
    xev_metrics_counter(m, "xev_loop_callbacks_total", NULL, loop.callbacks);
    xev_metrics_counter(m, "xev_loop_submissions_total", NULL, loop.submissions);
    xev_metrics_counter(m, "xev_loop_syscalls_total", NULL, loop.syscalls);
    xev_metrics_counter(m, "xev_loop_paused_total", NULL, loop.paused);
    xev_metrics_counter(m, "xev_loop_starved_total", NULL, loop.starved);
    xev_metrics_gauge(m, "xev_loop_buffers_taken", NULL, (double)loop.buffers_taken);
    xev_metrics_counter(m, "xev_loop_awake_nanoseconds_total", NULL, loop.awake_ns);
    xev_metrics_counter(m, "xev_loop_asleep_nanoseconds_total", NULL, loop.asleep_ns);
    xev_metrics_gauge(m, "xev_loop_longest_turn_seconds", NULL, (double)loop.longest_turn_ns / 1e9);
}

/* Of messages, by the shard that sent them. */
static void tell_delays(xev_metrics *m, xev_shard *shard) {
    uint32_t shards = xev_runtime_shards(xev_shard_runtime(shard));
    for (uint32_t from = 0; from < shards; from++) {
        xev_shard_delays d;
        char labels[32];
        xev_shard_delays_get(shard, from, &d);
        if (d.samples > 0) {
            snprintf(labels, sizeof labels, "from=\"%" PRIu32 "\"", from);
            xev_metrics_counter(m, "xev_shard_delay_samples_total", labels, d.samples);
            xev_metrics_counter(m, "xev_shard_delay_nanoseconds_total", labels, d.sum_ns);
            xev_metrics_gauge(m, "xev_shard_delay_max_seconds", labels, (double)d.max_ns / 1e9);
        }
    }
}

/* The log and the pool are everybody's; shard 0 tells. */
static void tell_log(xev_metrics *m) {
    if (m->shard == 0) {
        xev_metrics_counter(m, "xev_log_left_out_total", NULL, xev_log_left_out());
    }
}

static void tell_pool(xev_metrics *m, xev_shard *shard) {
    static const char *const lanes[] = {"cpu", "fs", "fsync", "dns", "process"};
    _Static_assert(sizeof lanes / sizeof lanes[0] == XEV_LANE_COUNT, "a name for each");
    xev_threadpool *pool = xev_loop_thread_pool(xev_shard_loop(shard));
    xev_threadpool_counters c;
    if (pool == NULL || m->shard != 0) {
        return;
    }
    xev_threadpool_stats(pool, &c);
    xev_metrics_gauge(m, "xev_pool_threads", NULL, c.threads);
    for (int i = 0; i < XEV_LANE_COUNT; i++) {
        char labels[32];
        snprintf(labels, sizeof labels, "lane=\"%s\"", lanes[i]);
        xev_metrics_gauge(m, "xev_pool_queued", labels, (double)c.lane[i].queued);
        xev_metrics_gauge(m, "xev_pool_running", labels, c.lane[i].running);
        xev_metrics_gauge(m, "xev_pool_cap", labels, c.lane[i].cap);
        xev_metrics_counter(m, "xev_pool_finished_total", labels, c.lane[i].finished);
        xev_metrics_gauge(m, "xev_pool_queued_peak", labels, (double)c.lane[i].peak_queued);
        xev_metrics_counter(m, "xev_pool_waits_total", labels, c.lane[i].waits);
        xev_metrics_counter(m, "xev_pool_wait_nanoseconds_total", labels, c.lane[i].wait_ns);
        xev_metrics_gauge(m, "xev_pool_wait_max_seconds", labels,
                          (double)c.lane[i].wait_max_ns / 1e9);
        xev_metrics_gauge(m, "xev_pool_oldest_seconds", labels, (double)c.lane[i].oldest_ns / 1e9);
    }
}

static void tell(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes) {
    struct xev__metrics *options;
    xev_metrics m = {.shard = xev_shard_id(self)};
    assert(len_bytes == sizeof options);
    (void)len_bytes;
    memcpy(&options, argument, sizeof options);
    for (const xev_service *v = options->serve->services; v != NULL; v = v->next) {
        tell_service(&m, v, self);
    }
    tell_shard(&m, self);
    tell_times(&m, self);
    tell_delays(&m, self);
    tell_log(&m);
    tell_pool(&m, self);
    if (options->own != NULL) {
        options->own(self, &m, options->userdata);
    }
    xev_ask_answer(ask, 0, m.samples, m.len * sizeof *m.samples);
    free(m.samples);
}

/* ---- the text ---- */

static int by_name(const void *a, const void *b) {
    const struct sample *x = a, *y = b;
    int rc = strcmp(x->name, y->name);
    rc = rc != 0 ? rc : strcmp(x->labels, y->labels);
    rc = rc != 0 ? rc : (x->shard > y->shard) - (x->shard < y->shard);
    rc = rc != 0 ? rc : (x->kind > y->kind) - (x->kind < y->kind);
    return rc != 0 || x->kind != BUCKET ? rc : (x->level > y->level) - (x->level < y->level);
}

static void gather_samples(xev_shard *self, uint32_t shard, int result, const void *answer,
                           size_t len_bytes, void *userdata) {
    struct look *look = userdata;
    uint32_t count = (uint32_t)(len_bytes / sizeof(struct sample));
    (void)self;
    (void)shard;
    if (result < 0 || !make_room(&look->all, count)) {
        look->missing++;
    } else if (count > 0) {
        memcpy(&look->all.samples[look->all.len], answer, len_bytes);
        look->all.len += count;
    }
}

/* A growing text; data is NULL where memory was short. */
struct text {
    char *data;
    size_t len, room;
};

__attribute__((format(printf, 2, 3))) static void append_line(struct text *t, const char *format,
                                                              ...) {
    char line[LABELS_MAX + 400];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    if (t->data != NULL && t->room - t->len < len) {
        t->room = 2 * t->room + sizeof line;
        char *data = realloc(t->data, t->room);
        if (data == NULL) {
            free(t->data);
        }
        t->data = data;
    }
    if (t->data != NULL) {
        memcpy(t->data + t->len, line, len);
        t->len += len;
    }
}

/* "1", "NaN": what is not finite has names of its own there. */
static void write_level(char *out, size_t out_bytes, double level) {
    if (isfinite(level)) {
        snprintf(out, out_bytes, "%.9g", level);
    } else {
        snprintf(out, out_bytes, "%s", isnan(level) ? "NaN" : level > 0 ? "+Inf" : "-Inf");
    }
}

static void write_sample(struct text *t, const struct sample *s) {
    static const char *const suffixes[] = {"", "", "_bucket", "_sum", "_count"};
    char value[32], bound[48] = "";
    if (s->kind == GAUGE || s->kind == SUM) {
        write_level(value, sizeof value, s->level);
    } else {
        snprintf(value, sizeof value, "%" PRIu64, s->count);
    }
    if (s->kind == BUCKET) {
        char level[32];
        write_level(level, sizeof level, s->level);
        snprintf(bound, sizeof bound, ",le=\"%s\"", level);
    }
    append_line(t, "%.200s%s{shard=\"%" PRIu32 "\"%s%s} %s\n", s->name, suffixes[s->kind], s->shard,
                s->labels, bound, value);
}

/* The text of all samples. */
static struct text make_text(struct look *look) {
    struct text t = {.data = malloc(4096), .room = 4096};
    const char *name = "";
    if (look->all.len > 0) {
        qsort(look->all.samples, look->all.len, sizeof *look->all.samples, by_name);
    }
    for (uint32_t i = 0; i < look->all.len; i++) {
        const struct sample *s = &look->all.samples[i];
        if (strcmp(name, s->name) != 0) {
            name = s->name;
            append_line(&t, "# TYPE %.200s %s\n", name,
                        s->kind == COUNTER ? "counter"
                        : s->kind == GAUGE ? "gauge"
                                           : "histogram");
        }
        write_sample(&t, s);
    }
    append_line(&t, "# TYPE xev_metrics_missing gauge\nxev_metrics_missing %" PRIu32 "\n",
                look->missing);
    return t;
}

/* ---- the service ---- */

/* The whole reply, and the end of the connection. */
static void reply(xev_conn_slot *slot, const char *status, bool only_head, const char *body,
                  size_t len) {
    char *text = malloc(256 + len);
    xev_conn *conn = xev_conn_slot_conn(slot);
    size_t at = 0;
    if (text != NULL) {
        at = (size_t)snprintf(text, 256,
                              "HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4\r\n"
                              "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                              status, len);
        memcpy(text + at, body, only_head ? 0 : len);
        at += only_head ? 0 : len;
    }
    xev_conn_fill(slot, text, at);
    free(text);
    if (conn != NULL) {
        xev_conn_finish(conn);
    }
}

static void refuse_look(xev_conn_slot *slot, const char *status) {
    reply(slot, status, false, status, strlen(status));
}

static void on_looked(xev_shard *self, int result, void *userdata) {
    struct look *look = userdata;
    struct text text = make_text(look);
    (void)self;
    (void)result; /* of a shard that is missing */
    if (text.data != NULL) {
        reply(look->slot, "200 OK", look->only_head, text.data, text.len);
    } else {
        refuse_look(look->slot, "503 Service Unavailable");
    }
    free(text.data);
    free(look->all.samples);
    free(look);
}

static const xev_map telling = {tell, gather_samples};

static void begin_look(struct xev__metrics *options, xev_conn_slot *slot, bool only_head) {
    struct look *look = calloc(1, sizeof *look);
    const xev_vec argument = {&options, sizeof options};
    int rc = XEV_ENOMEM;
    if (look != NULL) {
        look->slot = slot;
        look->only_head = only_head;
        rc = xev_shard_map_reduce(xev_shard_runtime(xev_shard_current()), &argument, 1,
                                  options->timeout_ms, &telling, look, on_looked);
    }
    if (rc < 0) {
        free(look);
        refuse_look(slot, "503 Service Unavailable");
    }
}

/* The end of the head: an empty line. */
static const char *find_end(const char *data, size_t len) {
    for (size_t i = 0; i + 1 < len; i++) {
        if (data[i] == '\n' &&
            (data[i + 1] == '\n' || (i + 2 < len && data[i + 1] == '\r' && data[i + 2] == '\n'))) {
            return data + i;
        }
    }
    return NULL;
}

static bool begins(const char *data, size_t len, const char *text) {
    return len >= strlen(text) && memcmp(data, text, strlen(text)) == 0;
}

/* One request; what follows it is not looked at. */
static ptrdiff_t on_metrics_data(xev_conn *conn, const void *data, size_t len_bytes) {
    bool *asked = xev_conn_user(conn);
    if (*asked) {
        return (ptrdiff_t)len_bytes;
    }
    if (find_end(data, len_bytes) == NULL) {
        return 0;
    }
    *asked = true;
    xev_conn_slot *slot = xev_conn_reserve(conn);
    bool head = begins(data, len_bytes, "HEAD /metrics");
    size_t path = head ? 13 : 12; /* "GET /metrics" */
    const char *behind = (const char *)data + path;
    if (slot == NULL) {
        xev_conn_abort(conn);
    } else if (!begins(data, len_bytes, "GET ") && !begins(data, len_bytes, "HEAD ")) {
        refuse_look(slot, "405 Method Not Allowed");
    } else if ((!head && !begins(data, len_bytes, "GET /metrics")) ||
               (*behind != ' ' && *behind != '?' && *behind != '\r' && *behind != '\n')) {
        refuse_look(slot, "404 Not Found");
    } else {
        begin_look(xev_conn_service_userdata(xev_conn_service_of(conn)), slot, head);
    }
    return (ptrdiff_t)len_bytes;
}

static const xev_conn_handlers metrics_handlers = {.data = on_metrics_data};

int xev_serve_add_metrics(xev_serve *serve, const xev_metrics_options *options,
                          xev_service **service) {
    const char *call = "xev_serve_add_metrics";
    xev__serve_check(serve != NULL && options != NULL, call, "services or options are null");
    if (service != NULL) {
        *service = NULL;
    }
    struct xev__metrics *m = malloc(sizeof *m);
    if (m == NULL) {
        return XEV_ENOMEM;
    }
    *m = (struct xev__metrics){
        .serve = serve,
        .timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : TIMEOUT_MS,
        .own = options->own,
        .userdata = options->userdata,
    };
    char name[32] = "metrics";
    for (uint32_t i = 2; xev__serve_has(serve, name); i++) {
        snprintf(name, sizeof name, "metrics%" PRIu32, i);
    }
    const xev_service_options o = {
        .name = name,
        .address = options->address,
        .policy = XEV_SERVE_SINGLE,
        .conns = {.handlers = &metrics_handlers,
                  .user_bytes = sizeof(bool),
                  .unconsumed_max_bytes = REQUEST_MAX,
                  .deadlines = {.idle_ms = 10000, .read_ms = 5000},
                  .userdata = m},
    };
    xev_service *v;
    int rc = xev_serve_add(serve, &o, &v);
    if (rc < 0) {
        free(m);
        return rc;
    }
    v->metrics = m;
    if (service != NULL) {
        *service = v;
    }
    return 0;
}
