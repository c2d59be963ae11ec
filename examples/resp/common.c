/* The commands of every server that speaks this protocol. */
#include <stdio.h>

#include "examples/resp/internal.h"

/* format has a place for argument i, of which no more than 64 bytes are shown. */
#define ERROR_OF(c, format, i)                                                                     \
    resp_put_error((c)->out, format, (c)->argv[i].len < 64 ? (int)(c)->argv[i].len : 64,           \
                   (c)->argv[i].at)

static int run_ping(resp_call *c) {
    return c->argc == 1 ? resp_put_text(c->out, "+PONG\r\n")
           : c->argc == 2
               ? resp_put_bulk(c->out, c->argv[1])
               : resp_put_error(c->out, "ERR wrong number of arguments for 'ping' command");
}

static int run_echo(resp_call *c) { return resp_put_bulk(c->out, c->argv[1]); }

static int run_select(resp_call *c) {
    long long n;
    return !resp_number(c->argv[1], &n) ? resp_put_error(c->out, RESP_NOT_INTEGER)
           : n == 0                     ? resp_put_text(c->out, "+OK\r\n")
                                        : resp_put_error(c->out, "ERR DB index is out of range");
}

static int run_quit(resp_call *c) {
    resp_put_text(c->out, "+OK\r\n");
    return -1;
}

static int run_hello(resp_call *c) {
    resp_client *client = xev_conn_user(c->conn);
    long long version = client->resp3 ? 3 : 2;
    if (c->argc > 1 && !resp_number(c->argv[1], &version)) {
        return resp_put_error(c->out, "ERR Protocol version is not an integer or out of range");
    }
    if (version < 2 || version > 3) {
        return resp_put_error(c->out, "NOPROTO unsupported protocol version");
    }
    if (c->argc > 2) {
        return ERROR_OF(c, "ERR syntax error in HELLO option '%.*s'", 2);
    }
    c->resp3 = client->resp3 = version == 3;
    resp_put_map(c->out, c->resp3, 7);
    resp_put_text(c->out, "$6\r\nserver\r\n");
    resp_put_bulk(c->out, resp_text_of(c->server->service->name));
    resp_put_text(c->out, "$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n");
    resp_put_number(c->out, ':', version);
    resp_put_text(c->out, "$2\r\nid\r\n");
    resp_put_number(c->out, ':', (long long)xev_conn_handle_of(c->conn));
    return resp_put_text(c->out, "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
                                 "$7\r\nmodules\r\n*0\r\n");
}

static int set_name(resp_call *c, resp_client *client, resp_text name) {
    for (uint32_t i = 0; i < name.len; i++) {
        if (name.at[i] < '!' || name.at[i] > '~') {
            return resp_put_error(
                c->out, "ERR Client names cannot contain spaces, newlines or special characters.");
        }
    }
    if (name.len >= sizeof client->name) {
        return resp_put_error(c->out, "ERR the name is too long");
    }
    snprintf(client->name, sizeof client->name, "%.*s", (int)name.len, name.at);
    return resp_put_text(c->out, "+OK\r\n");
}

static int run_client(resp_call *c) {
    resp_client *client = xev_conn_user(c->conn);
    if (c->argc == 2 && resp_is(c->argv[1], "id")) {
        return resp_put_number(c->out, ':', (long long)xev_conn_handle_of(c->conn));
    }
    if (c->argc == 2 && resp_is(c->argv[1], "getname")) {
        return client->name[0] != '\0' ? resp_put_bulk(c->out, resp_text_of(client->name))
                                       : resp_put_nil(c->out, c->resp3);
    }
    if (c->argc == 3 && resp_is(c->argv[1], "setname")) {
        return set_name(c, client, c->argv[2]);
    }
    if (c->argc == 4 && resp_is(c->argv[1], "setinfo")) { /* clients send it unasked */
        return resp_put_text(c->out, "+OK\r\n");
    }
    return ERROR_OF(c, "ERR unknown subcommand or wrong number of arguments for '%.*s'", 1);
}

static int run_list(resp_call *c);

const resp_command resp_common[RESP_COMMON] = {
    {"bgsave", RESP_LATER, -1, .run = resp_run_save, .arg = false},
    {"client", RESP_HERE, -2, .run = run_client},
    {"command", RESP_HERE, -1, .run = run_list},
    {"echo", RESP_HERE, 2, .run = run_echo},
    {"hello", RESP_HERE, -1, .run = run_hello},
    {"ping", RESP_HERE, -1, .run = run_ping},
    {"quit", RESP_HERE, -1, .run = run_quit},
    {"save", RESP_LATER, 1, .run = resp_run_save, .arg = true},
    {"select", RESP_HERE, 2, .run = run_select},
};

/* Of one: name, arity, flags (none), first key, last key, step. */
static void put_command(resp_out *out, const resp_command *d) {
    bool several = d->kind == RESP_PARTS || d->kind == RESP_EACH;
    bool keyed = several || d->kind == RESP_KEY;
    resp_put_text(out, "*6\r\n");
    resp_put_bulk(out, resp_text_of(d->name));
    resp_put_number(out, ':', d->arity);
    resp_put_text(out, "*0\r\n");
    resp_put_number(out, ':', keyed);
    resp_put_number(out, ':', several ? -1 : keyed);
    resp_put_number(out, ':', d->step > 1 ? d->step : keyed);
}

static int run_list(resp_call *c) {
    const resp_service *service = c->server->service;
    if (c->argc > 1) { /* redis-cli asks for DOCS; there is nothing more to tell */
        return resp_put_map(c->out, c->resp3, 0);
    }
    resp_put_number(c->out, '*', (long long)(service->commands_len + RESP_COMMON));
    for (size_t i = 0; i < service->commands_len + RESP_COMMON; i++) {
        put_command(c->out,
                    i < RESP_COMMON ? &resp_common[i] : &service->commands[i - RESP_COMMON]);
    }
    return 0;
}
