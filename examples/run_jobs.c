/* A server that runs programs for its clients, and streams to them what the programs write.
 *
 *     run COMMAND ARG...     COMMAND is that of an --allow flag, letter by letter; there is no
 * shell
 *
 * It answers "queued" where the job has to wait for others; then "out N" and N bytes, each time
 * that the job writes; then "end exit CODE" or "end signal N", with " late" or " full" where
 * --job-ms or
 * --output-kib ended it. Or it answers "error: ...". A client has one job at a time, which ends
 * when the client ends its side or is gone. One that reads slowly holds its job back. In a drain
 * jobs go on to their end; where that is cut short they are killed.
 */
#include "examples/job.h"
#include "examples/line.h"
#include "examples/server.h"

enum { JOBS_MAX = 64, ALLOWED_MAX = 64, HIGH_BYTES = 65536 };

/* A job, and for whom; conn NULL: the client is gone. A connection's user part is its request. */
struct request {
    struct job job;
    struct part *part;
    xev_conn *conn;
    struct request *next;
    char line[LINE_BYTES]; /* where argv points */
};

/* Of one shard: its requests, in the order in which they came. */
struct part {
    struct request *first;
    uint32_t len, running;
};

static struct server server = {.program = "run_jobs", .host = "127.0.0.1", .port = 7000};
static const char *allowed[ALLOWED_MAX];
static size_t allowed_len;
static uint32_t jobs_max = 4, queue_max = 64, job_ms = 60000, grace_ms = 2000, output_kib = 65536;

static void say(xev_conn *conn, const char *text) {
    (void)xev_conn_write(conn, text, strlen(text));
}

static struct request **request_of(xev_conn *conn) { return xev_conn_user(conn); }

/* ---- jobs ---- */

static bool on_output(struct job *job, const void *data, size_t len_bytes) {
    xev_conn *conn = ((struct request *)job)->conn;
    char head[32];
    size_t len = (size_t)snprintf(head, sizeof head, "out %zu\n", len_bytes);
    const xev_vec vec[] = {{head, len}, {(void *)(uintptr_t)data, len_bytes}};
    return conn == NULL || /* it is dropped */
           (xev_conn_writev(conn, vec, 2), xev_conn_queued_bytes(conn) <= HIGH_BYTES);
}

/* Its client is told, and may ask for another one. */
static void end_request(struct request *r, int result) {
    char text[JOB_END_BYTES];
    if (r->conn != NULL) {
        say(r->conn, job_end_text(&r->job, result, text));
        *request_of(r->conn) = NULL;
        xev_conn_set_busy(r->conn, false);
    }
    struct request **at = &r->part->first;
    while (*at != r) {
        at = &(*at)->next;
    }
    *at = r->next;
    r->part->len--;
    free(r);
}

/* As many as may run. */
static void run_next(struct part *part) {
    for (struct request *r = part->first, *next; r != NULL && part->running < jobs_max; r = next) {
        bool waits = r->job.why == NULL;
        int rc = waits ? job_begin(&r->job) : 0;
        next = r->next;
        part->running += waits && rc == 0;
        if (rc < 0) {
            end_request(r, rc);
        }
    }
}

static void on_over(struct job *job) {
    struct request *r = (struct request *)job;
    struct part *part = r->part;
    part->running--;
    end_request(r, job->result);
    run_next(part);
}

/* ---- clients ---- */

/* Fill in the job of a request. NULL, or what is wrong with it. */
static const char *parse(struct request *r, const char *text) {
    size_t argc = 0, i = 0;
    snprintf(r->line, sizeof r->line, "%s", text);
    for (char *word = r->line, *rest; *word != '\0'; word = rest) {
        rest = line_cut(word);
        if (argc == JOB_ARGS_MAX) {
            return "error: too many words\n";
        }
        r->job.argv[argc++] = word;
    }
    for (; argc > 0 && i < allowed_len && strcmp(r->job.argv[0], allowed[i]) != 0; i++) {
    }
    return argc == 0 || i == allowed_len ? "error: that command is not allowed\n" : NULL;
}

static void ask_for_job(xev_conn *conn, const char *text) {
    struct part *part = xev_conn_service_userdata(xev_conn_service_of(conn));
    struct request *r = calloc(1, sizeof *r);
    struct request **last = &part->first;
    bool waits = part->running == jobs_max;
    const char *error = r == NULL                   ? "error: no memory\n"
                        : *request_of(conn) != NULL ? "error: you have a job\n"
                        : waits && part->len - part->running >= queue_max
                            ? "error: too many jobs wait\n"
                            : parse(r, text);
    if (error != NULL) {
        say(conn, error);
        free(r);
        return;
    }
    r->part = part;
    r->conn = conn;
    r->job.loop = xev_conn_service_loop(xev_conn_service_of(conn));
    r->job.time_ms = job_ms;
    r->job.grace_ms = grace_ms;
    r->job.left_bytes = (uint64_t)output_kib * 1024;
    r->job.output = on_output;
    r->job.over = on_over;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = r;
    part->len++;
    *request_of(conn) = r;
    xev_conn_set_busy(conn, true);
    if (waits) {
        say(conn, "queued\n");
    }
    run_next(part);
}

static ptrdiff_t on_data(xev_conn *conn, const void *data, size_t len_bytes) {
    char line[LINE_BYTES];
    ptrdiff_t n = line_take(data, len_bytes, line);
    const char *text = n > 0 ? line_cut(line) : "";
    if (n < 0) {
        say(conn, "error: the line is too long, or not text\n");
    } else if (n > 0 && strcmp(line, "run") != 0) {
        say(conn, "error: say run COMMAND ARG...\n");
    } else if (n > 0) {
        ask_for_job(conn, text);
    }
    return n;
}

static void on_writable(xev_conn *conn) {
    if (*request_of(conn) != NULL) {
        job_resume(&(*request_of(conn))->job);
    }
}

static void on_ended(xev_conn *conn) {
    struct request *r = *request_of(conn);
    if (r != NULL) {
        *request_of(conn) = NULL;
        r->conn = NULL;
        xev_conn_set_busy(conn, false);
        if (r->job.why == NULL) { /* it waits in the queue */
            end_request(r, 0);
        } else {
            job_end(&r->job, "");
            job_resume(&r->job);
        }
    }
    xev_conn_finish(conn);
}

static void on_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    (void)code;
    if (reason != XEV_CONN_LOOP_ENDED) {
        on_ended(conn);
    }
}

static const xev_conn_handlers handlers = {
    .data = on_data, .writable = on_writable, .ended = on_ended, .closed = on_closed};

/* ---- shards ---- */

static void on_stop(xev_shard *shard, void *userdata) {
    struct part *part = xev_service_part(server.service, xev_shard_id(shard));
    (void)userdata;
    for (struct request *r = part->first; r != NULL; r = r->next) {
        job_kill(&r->job);
    }
}

static void on_deinit(xev_shard *shard, void *userdata) {
    struct part *part = xev_service_part(server.service, xev_shard_id(shard));
    (void)userdata;
    for (struct request *r; part != NULL && (r = part->first) != NULL;) {
        part->first = r->next;
        free(r);
    }
}

static bool allow(const char *text) {
    if (allowed_len == ALLOWED_MAX || text[0] == '\0' || strchr(text, ' ') != NULL) {
        return false;
    }
    allowed[allowed_len++] = text;
    return true;
}

int main(int argc, char **argv) {
    const struct server_flag flags[] = {
        {"allow", "COMMAND", "may be run: a path, or a name in PATH; once for each, to 64",
         .add = allow, .takes = "one word, 64 times at most"},
        {"jobs", "N", "at a time, per shard (4)", .min = 1, .max = JOBS_MAX, .number = &jobs_max},
        {"queue", "N", "jobs that wait, per shard (64)", .max = 100000, .number = &queue_max},
        {"job-ms", "N", "time for a job (60000)", .min = 1, .max = 1u << 30, .number = &job_ms},
        {"grace-ms", "N", "SIGTERM to SIGKILL (2000)", .min = 1, .max = 1u << 30,
         .number = &grace_ms},
        {"output-kib", "N", "of a job (65536)", .min = 1, .max = UINT32_MAX, .number = &output_kib},
        {.name = NULL},
    };
    server.flags = flags;
    server.runtime.shards = 1; /* the work is the jobs' */
    server_parse(&server, argc, argv);
    if (allowed_len == 0) {
        fprintf(stderr, "run_jobs: no --allow; try --help\n");
        return 2;
    }
    server.runtime.stop = on_stop;
    server.runtime.deinit = on_deinit;
    const xev_service_options jobs = {
        .shard_bytes = sizeof(struct part),
        .conns = {.handlers = &handlers,
                  .user_bytes = sizeof(struct request *),
                  .high_bytes = HIGH_BYTES,
                  .deadlines = {.idle_ms = UINT32_MAX}},
    };
    return server_serve(&server, &jobs);
}
