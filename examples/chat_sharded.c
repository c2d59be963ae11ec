/* A line chat on every core: rooms whose members may be connected to any shard.
 *
 *     nick NAME, join ROOM, say TEXT, who, leave, quit
 *
 * One shard owns a room, by a hash of its name, and only the owner has the list of members. So a
 * nick is taken once in a room, and all members read the same lines in the same order. (Were each
 * shard to keep the members that it serves there would be neither.) What a client says is an ask to
 * the owner, which sends one message to each shard with members: their handles and the line. The
 * next command of a client waits for the answer to the one before, so nobody says more than is
 * delivered. A client that does not read what it is sent is cut off at --queued-kib.
 */

#include "examples/chat_rooms.h"
#include "examples/line.h"
#include "examples/random.h"
#include "examples/server.h"
#include "xev/ask.h"

enum what { JOIN, LEAVE, SAY, WHO };

/* What is sent to a room's owner, before the text that is said; and from there to the shards of its
 * members, before their handles and a line. A connection's user part is one, room "" in none. */
struct head {
    xev_conn_handle handle;
    enum what what;
    uint32_t handles;
    name_text nick, room;
};

static struct server server = {.program = "chat_sharded", .host = "127.0.0.1", .port = 7000};

static void on_request(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes);

static xev_shard *owner_of(const char *room) {
    return xev_shard_of_key(&server.handle, room, strlen(room));
}

static void on_no_answer(xev_shard *self, int result, const void *answer, size_t len_bytes,
                         void *userdata) {
    (void)self, (void)result, (void)answer, (void)len_bytes, (void)userdata;
}

static void send_leave(const struct head *from, xev_conn_handle handle) {
    struct head r = *from;
    r.handle = handle;
    r.what = LEAVE;
    int rc = xev_shard_ask(owner_of(r.room), &(xev_vec){&r, sizeof r}, 1, 0, on_request, NULL,
                           on_no_answer);
    (void)rc; /* without memory for it: the next delivery finds nobody there, and says so */
}

/* ---- where members are connected ---- */

static void on_delivery(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes) {
    const struct head *h = argument;
    const xev_conn_handle *handles = (const void *)(h + 1);
    const char *line = (const char *)(handles + h->handles);
    size_t line_len = len_bytes - (size_t)(line - (const char *)argument);
    xev_conn_service *conns = xev_service_conns(server.service, self);
    for (uint32_t i = 0; i < h->handles && conns != NULL; i++) {
        xev_conn *conn;
        if (xev_conn_find(conns, handles[i], &conn) == 0) {
            (void)xev_conn_write(conn, line, line_len); /* cuts off who has too much queued */
        } else {
            send_leave(h, handles[i]);
        }
    }
    xev_ask_answer(ask, 0, NULL, 0);
}

/* ---- rooms, where they are owned ---- */

/* To all members: the nick, and the text behind it. */
static int tell_room(const struct room *room, const char *nick, const char *text, size_t len) {
    int rc = 0;
    for (uint32_t i = 0; i < room->len;) {
        uint32_t shard = xev_conn_handle_id(room->members[i].handle);
        xev_conn_handle handles[MEMBERS_MAX];
        struct head h = {.what = SAY};
        memcpy(h.room, room->name, NAME_BYTES);
        for (; i < room->len && xev_conn_handle_id(room->members[i].handle) == shard; i++) {
            handles[h.handles++] = room->members[i].handle;
        }
        const xev_vec vec[] = {{&h, sizeof h},
                               {handles, h.handles * sizeof handles[0]},
                               {(void *)(uintptr_t)nick, strlen(nick)},
                               {(void *)(uintptr_t)text, len}};
        int told = xev_shard_ask(xev_runtime_shard(&server.handle, shard), vec, 4, 0, on_delivery,
                                 NULL, on_no_answer);
        rc = told < 0 ? told : rc;
    }
    return rc;
}

static void on_request(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes) {
    const struct head *r = argument;
    uint64_t hash = xev_key_hash(r->room, strlen(r->room), server.runtime.key_seed);
    struct rooms *rooms = xev_service_part(server.service, xev_shard_id(self));
    struct room **at = rooms_find(rooms, hash, r->room);
    struct member *m = room_member(*at, r->handle);
    name_text left;
    char names[MEMBERS_MAX * NAME_BYTES + 1];
    int rc = 0;
    if (r->what == JOIN && (rc = room_join(at, r->room, r->handle, r->nick)) == 0) {
        (void)tell_room(*at, r->nick, " joined\n", 8);
    } else if (r->what == SAY && m != NULL) {
        rc = tell_room(*at, m->nick, (const char *)(r + 1), len_bytes - sizeof *r);
    } else if (r->what == LEAVE && m != NULL) {
        if (room_leave(at, m, left)) {
            (void)tell_room(*at, left, " left\n", 6);
        }
    }
    xev_ask_answer(ask, rc, names, r->what == WHO && m != NULL ? room_names(*at, names) : 0);
}

/* ---- clients ---- */

static void on_answer(xev_shard *self, int result, const void *answer, size_t len_bytes,
                      void *userdata) {
    xev_conn *conn = xev_conn_slot_conn(userdata);
    struct head *user = conn != NULL ? xev_conn_user(conn) : NULL;
    char text[80];
    (void)self;
    if (user != NULL &&
        ((user->what == LEAVE && result == 0) || (user->what == JOIN && result < 0))) {
        user->room[0] = '\0';
    }
    const char *why = result == XEV_EEXIST ? "that nick is taken there" : xev_strerror(result);
    int len = snprintf(text, sizeof text, result == 0 ? "ok\n" : "error: %s\n", why);
    xev_conn_fill(userdata, len_bytes > 0 ? answer : text, len_bytes > 0 ? len_bytes : (size_t)len);
}

/* The answer is what the client reads next, and until then no further command is taken. */
static void ask_owner(xev_conn *conn, enum what what, const char *text) {
    struct head *user = xev_conn_user(conn);
    user->handle = xev_conn_handle_of(conn);
    user->what = what;
    const xev_vec vec[] = {
        {user, sizeof *user}, {": ", 2}, {(void *)(uintptr_t)text, strlen(text)}, {"\n", 1}};
    xev_conn_slot *slot = xev_conn_reserve(conn);
    if (slot == NULL) {
        xev_conn_abort(conn);
        return;
    }
    int rc = xev_shard_ask(owner_of(user->room), vec, 4, 0, on_request, slot, on_answer);
    if (rc < 0) {
        on_answer(NULL, rc, NULL, 0, slot);
    }
}

/* Take the name; or say what is wrong with it. */
static const char *take_name(name_text to, const char *name) {
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t len = strspn(name, good);
    if (len == 0 || len >= NAME_BYTES || name[len] != '\0') {
        return "error: a name is 1 to 24 letters, digits, - and _\n";
    }
    memcpy(to, name, len + 1);
    return NULL;
}

static void run_command(xev_conn *conn, char *line) {
    struct head *user = xev_conn_user(conn);
    const char *answer = NULL, *text = line_cut(line);
    bool nick = strcmp(line, "nick") == 0, join = strcmp(line, "join") == 0;
    bool say = strcmp(line, "say") == 0, who = strcmp(line, "who") == 0;
    if (strcmp(line, "quit") == 0) {
        answer = "bye\n";
    } else if (!nick && !join && !say && !who && strcmp(line, "leave") != 0) {
        answer = "error: commands are nick, join, say, who, leave, quit\n";
    } else if (nick || join) {
        answer = user->room[0] != '\0'           ? "error: leave the room first\n"
                 : join && user->nick[0] == '\0' ? "error: give your nick first\n"
                                                 : take_name(nick ? user->nick : user->room, text);
        answer = answer == NULL && nick ? "ok\n" : answer;
    } else if (user->room[0] == '\0') {
        answer = "error: you are in no room\n";
    }
    if (answer == NULL) {
        ask_owner(conn, join ? JOIN : say ? SAY : who ? WHO : LEAVE, text);
        return;
    }
    (void)xev_conn_write(conn, answer, strlen(answer));
    if (answer[0] == 'b') {
        xev_conn_finish(conn);
    }
}

static ptrdiff_t on_data(xev_conn *conn, const void *data, size_t len_bytes) {
    char line[LINE_BYTES];
    ptrdiff_t n = line_take(data, len_bytes, line);
    if (n > 0) {
        run_command(conn, line);
    } else if (n < 0) {
        (void)xev_conn_write(conn, "error: the line is too long, or not text\n", 41);
    }
    return n;
}

static void on_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    const struct head *user = xev_conn_user(conn);
    (void)code;
    if (user->room[0] != '\0' && reason != XEV_CONN_LOOP_ENDED) {
        send_leave(user, xev_conn_handle_of(conn));
    }
}

static const xev_conn_handlers handlers = {.data = on_data, .closed = on_closed};

static void say_goodbye(xev_conn *conn, void *userdata) {
    (void)userdata;
    (void)xev_conn_write(conn, "the server ends\n", 16);
}

static void on_drain(xev_shard *self, void *userdata) {
    xev_conn_service_each(xev_service_conns(server.service, self), userdata, say_goodbye);
}

static void on_deinit(xev_shard *self, void *userdata) {
    (void)userdata;
    rooms_free(xev_service_part(server.service, xev_shard_id(self)));
}

int main(int argc, char **argv) {
    uint32_t queued_kib = 256;
    const struct server_flag flags[] = {
        {"queued-kib", "N", "output that may wait for a client (256)", .min = 64, .max = 1 << 20,
         .number = &queued_kib},
        {.name = NULL},
    };
    server.flags = flags;
    server_parse(&server, argc, argv);
    if (!random_fill(&server.runtime.key_seed, sizeof server.runtime.key_seed)) {
        return 1; /* clients choose the names of rooms */
    }
    server.runtime.drain = on_drain;
    server.runtime.deinit = on_deinit;
    const xev_service_options chat = {
        .shard_bytes = sizeof(struct rooms),
        .conns = {.handlers = &handlers,
                  .user_bytes = sizeof(struct head),
                  .queued_max_bytes = queued_kib * 1024,
                  .high_bytes = 32 * 1024,
                  .slots_max = 1, /* one command at a time */
                  .deadlines = {.idle_ms = 3600000}},
    };
    return server_serve(&server, &chat);
}
