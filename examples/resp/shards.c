/* The way of a command to the shards that it concerns.
 *
 * Another shard is asked with the command and its arguments, packed: of each its length, four
 * bytes, and its bytes.
 */
#include "examples/resp/internal.h"

#define ASK_BYTES 1024 /* what an ask counts at least */

/* What another shard is asked; behind it the arguments. */
struct head {
    const resp_command *command;
    uint64_t hash;
    bool resp3;
};

/* Of a RESP_PARTS or RESP_ALL: what shards have answered by now. */
struct sum {
    const resp_command *command; /* NULL: one shard's answer is the reply; this is all of it */
    bool resp3;
    uint64_t count;
    const char *error;
    resp_out data;
};

/* ---- counts and data of several shards ---- */

static const char *error_of(int code) {
    return code == XEV_ENOMEM     ? RESP_NO_MEMORY
           : code == XEV_EMSGSIZE ? "ERR the request or its reply is too long"
           : code == XEV_EAGAIN   ? "ERR the server is busy"
                                  : "ERR the server ends";
}

static void sum_add(resp_server *s, struct sum *sum, int result, const void *data, size_t len) {
    if (result < 0) {
        sum->error = error_of(result);
        return;
    }
    sum->count += (uint64_t)result;
    if (sum->command->sum == RESP_ONE) {
        s->random = s->random * UINT64_C(6364136223846793005) + 1442695040888963407;
        if (result == 0 || (s->random >> 32) % sum->count >= (uint64_t)result) {
            return;
        }
        resp_clear(&sum->data);
    }
    resp_put(&sum->data, data, len);
}

static void sum_finish(struct sum *sum, resp_out *out) {
    const resp_out *data = &sum->data;
    resp_sum how = sum->command->sum;
    if (sum->error != NULL || data->failed) {
        resp_put_error(out, "%s", sum->error != NULL ? sum->error : RESP_NO_MEMORY);
    } else if (how == RESP_OK) {
        resp_put_text(out, "+OK\r\n");
    } else if (how == RESP_COUNT) {
        resp_put_number(out, ':', (long long)sum->count);
    } else if (how == RESP_ARRAY) {
        resp_put_number(out, '*', (long long)sum->count);
        resp_put(out, data->at, data->len);
    } else if (sum->count > 0) {
        resp_put_bulk(out, (resp_text){data->at, (uint32_t)data->len, 0});
    } else {
        resp_put_nil(out, sum->resp3);
    }
    resp_free(&sum->data);
}

/* ---- the asked shard ---- */

/* Of a RESP_PARTS once for each of the keys. */
static int run_command(resp_call *c) {
    int sum = 0, rc = 0;
    resp_call one = *c;
    if (c->command->kind != RESP_PARTS) {
        return c->command->run(c);
    }
    for (size_t i = 1; i < c->argc && rc >= 0; i += (size_t)c->command->step) {
        one.argv = c->argv + i - 1;
        one.hash = resp_hash(c->server->service, c->argv[i]);
        rc = c->command->run(&one);
        sum += rc;
    }
    return rc < 0 ? rc : sum;
}

static int run_packed(resp_call *c, const char *at, const char *end) {
    resp_out *args = &c->server->asked;
    resp_clear(args);
    while (at < end) {
        resp_text arg = {at + sizeof arg.len, 0, 0};
        memcpy(&arg.len, at, sizeof arg.len);
        resp_put(args, &arg, sizeof arg);
        at = arg.at + arg.len;
    }
    c->argv = (resp_text *)(void *)args->at;
    c->argc = args->len / sizeof *c->argv;
    return args->failed ? XEV_ENOMEM : run_command(c);
}

static void on_ask(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes) {
    resp_server *s = xev_shard_loop(self)->userdata;
    const struct head *head = argument;
    resp_call call = {.command = head->command,
                      .server = s,
                      .hash = head->hash,
                      .resp3 = head->resp3,
                      .ask = ask,
                      .out = &s->out};
    resp_clear(&s->out);
    s->now_ms = resp_now_ms();
    int rc = run_packed(&call, (const char *)(head + 1), (const char *)argument + len_bytes);
    if (call.command->kind != RESP_LATER || rc <= 0) {
        bool failed = s->out.failed; /* for lack of memory */
        xev_ask_answer(ask, failed ? XEV_ENOMEM : rc, s->out.at, failed ? 0 : s->out.len);
    }
}

void resp_answer(xev_ask *ask, const resp_out *reply) {
    xev_ask_answer(ask, reply->failed ? XEV_ENOMEM : 0, reply->at, reply->failed ? 0 : reply->len);
}

/* ---- the asking shard ---- */

static void on_part(xev_gather *g, int result, const void *answer, size_t len_bytes) {
    resp_server *s = xev_gather_gatherer(g)->userdata;
    struct sum *sum = xev_gather_user(g);
    if (sum->command != NULL) {
        sum_add(s, sum, result, answer, len_bytes);
    } else if (result < 0) {
        resp_clear(&s->more);
        resp_put_error(&s->more, "%s", error_of(result));
        xev_gather_fill(g, s->more.at, s->more.len);
    } else {
        xev_gather_fill(g, answer, len_bytes);
    }
}

static void on_all(xev_gather *g) {
    resp_server *s = xev_gather_gatherer(g)->userdata;
    struct sum *sum = xev_gather_user(g);
    if (sum->command != NULL) {
        resp_clear(&s->more);
        sum_finish(sum, &s->more);
        xev_gather_fill(g, s->more.at, s->more.len);
    }
}

void resp_prepare(resp_server *server) {
    server->gatherer = (xev_gatherer){.ask = on_ask,
                                      .detached = true, /* a client may SET and go away */
                                      .part = on_part,
                                      .all = on_all,
                                      .share_offset = offsetof(resp_client, share),
                                      .userdata = server};
}

/* The arguments that are a shard's, or all, with the name in front. */
static const resp_out *pack(const resp_call *c, bool all, uint32_t shard) {
    resp_out *to = &c->server->packed;
    resp_clear(to);
    for (size_t i = 0; i < c->argc; i++) {
        if (i == 0 || all || c->argv[i].shard == shard) {
            resp_put(to, &c->argv[i].len, sizeof c->argv[i].len);
            resp_put(to, c->argv[i].at, c->argv[i].len);
        }
    }
    return to;
}

/* The place of a reply behind those so far, with so many bytes of the user's, for asks that count
 * so many. RESP_DONE, and *g is it. */
static resp_outcome begin(const resp_call *c, size_t asks_bytes, size_t user_bytes,
                          xev_gather **g) {
    resp_server *s = c->server;
    if (!xev_gather_may_ask(&s->gatherer, c->conn, asks_bytes)) {
        return RESP_HOLD;
    }
    if (!resp_flush(c->conn, s)) {
        return RESP_END;
    }
    *g = s->packed.failed ? NULL : xev_gather_new(&s->gatherer, c->conn, user_bytes);
    if (*g == NULL) {
        xev_conn_abort(c->conn);
    }
    return *g != NULL ? RESP_DONE : RESP_END;
}

static void ask(const resp_call *c, uint32_t to, xev_gather *g, size_t bytes) {
    const struct head head = {c->command, c->hash, c->resp3};
    const resp_out *packed = &c->server->packed;
    const xev_vec vec[] = {{(void *)(uintptr_t)&head, sizeof head}, {packed->at, packed->len}};
    xev_gather_ask(g, xev_runtime_shard(c->server->service->runtime, to), vec, 2, bytes);
}

/* Carry it out on another shard, or later. */
static resp_outcome run_there(const resp_call *c, uint32_t to) {
    const resp_service *service = c->server->service;
    size_t bytes = ASK_BYTES + pack(c, true, 0)->len;
    xev_gather *g;
    if (c->command->value) {
        bytes += atomic_load_explicit(&service->servers[to].value_max, memory_order_relaxed);
    }
    resp_outcome outcome = begin(c, bytes, sizeof(struct resp_command *), &g);
    if (outcome == RESP_DONE) {
        ask(c, to, g, bytes);
        xev_gather_end(g);
    }
    return outcome;
}

/* It goes on where it stopped for want of room: it stays in the connection's input, and client.next
 * says what is done of it. */
static resp_outcome run_each(const resp_call *whole) {
    resp_client *client = xev_conn_user(whole->conn);
    resp_server *s = whole->server;
    resp_text argv[2] = {resp_text_of(whole->command->one)};
    resp_call c = *whole;
    size_t from = s->out.len;
    c.command = resp_find(s->service, argv[0]);
    c.argv = argv;
    c.argc = 2;
    if (client->next == 0) {
        resp_put_number(&s->out, '*', (long long)whole->argc - 1);
    }
    for (; client->next < whole->argc - 1; client->next++) {
        argv[1] = whole->argv[1 + client->next];
        c.hash = resp_hash(s->service, argv[1]);
        resp_outcome o = xev_gather_may_ask(&s->gatherer, c.conn, 0) ? resp_run(&c) : RESP_HOLD;
        if (o == RESP_HOLD && client->next == 0) {
            s->out.len = from;
        }
        if (o != RESP_DONE || (s->out.len > RESP_OUT_BYTES && !resp_flush(c.conn, s))) {
            return o != RESP_DONE ? o : RESP_END;
        }
    }
    client->next = 0;
    return RESP_DONE;
}

/* Carry out what is this shard's: the whole, or what is packed. */
static void run_own(const resp_call *c, struct sum *sum, const resp_out *packed) {
    resp_server *s = c->server;
    resp_call own = *c;
    own.out = &s->more;
    resp_clear(own.out);
    int rc =
        packed != NULL ? run_packed(&own, packed->at, packed->at + packed->len) : run_command(&own);
    sum_add(s, sum, own.out->failed ? XEV_ENOMEM : rc, own.out->at, own.out->len);
}

static resp_outcome run_sum(const resp_call *c) {
    resp_server *s = c->server;
    resp_service *service = s->service;
    struct sum sum = {.command = c->command, .resp3 = c->resp3};
    bool all = c->command->kind == RESP_ALL, elsewhere = all && service->shards > 1;
    xev_gather *g;
    for (size_t i = 1; !all && i < c->argc; i++) {
        bool is_key = (i - 1) % (size_t)c->command->step == 0;
        c->argv[i].shard =
            is_key ? resp_shard_of(service, resp_hash(service, c->argv[i])) : c->argv[i - 1].shard;
        elsewhere |= c->argv[i].shard != s->id;
    }
    if (!elsewhere) {
        run_own(c, &sum, NULL);
        sum_finish(&sum, &s->out);
        return RESP_DONE;
    }
    size_t bytes = pack(c, true, 0)->len * (all ? service->shards : 1);
    bytes += service->shards * (size_t)ASK_BYTES;
    resp_outcome outcome = begin(c, bytes, sizeof sum, &g);
    if (outcome != RESP_DONE) {
        return outcome;
    }
    *(struct sum *)xev_gather_user(g) = sum;
    for (uint32_t to = 0; to < service->shards; to++) {
        const resp_out *packed = pack(c, all, to);
        if (!all && packed->len == sizeof(uint32_t) + c->argv[0].len) {
            continue; /* no key is this shard's */
        }
        if (to == s->id) {
            run_own(c, xev_gather_user(g), packed);
        } else {
            ask(c, to, g, ASK_BYTES + packed->len);
        }
    }
    xev_gather_end(g);
    return RESP_DONE;
}

resp_outcome resp_run(resp_call *call) {
    const resp_command *command = call->command;
    uint32_t shard = 0;
    switch (command->kind) {
    case RESP_HERE:
        if (command->run(call) >= 0) {
            return RESP_DONE;
        }
        if (resp_flush(call->conn, call->server)) {
            xev_conn_finish(call->conn);
        }
        return RESP_END;
    case RESP_KEY:
        shard = resp_shard_of(call->server->service, call->hash);
        break;
    case RESP_SHARD:
    case RESP_LATER:
        shard = command->shard != NULL ? command->shard(call) : 0;
        break;
    case RESP_EACH:
        return run_each(call);
    default:
        return run_sum(call);
    }
    if (shard == call->server->id && command->kind != RESP_LATER) {
        (void)command->run(call);
        return RESP_DONE;
    }
    return run_there(call, shard);
}
