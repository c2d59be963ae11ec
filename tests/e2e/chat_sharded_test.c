/* examples/chat_sharded: commands, rooms over shards, bad lines, slow readers, the drain. */
#include "tests/e2e/server.h"

#define LINE 8192

/* The next line, without its end; "" at the end of the stream. */
static const char *next_line(int fd) {
    static char line[LINE];
    for (size_t want = 1;;) { /* until one is whole */
        (void)recv(fd, line, want, MSG_PEEK | MSG_WAITALL);
        ssize_t n = recv(fd, line, sizeof line, MSG_PEEK | MSG_DONTWAIT);
        const char *end = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;
        if (end != NULL) {
            n = end - line;
            take(fd, line, (size_t)n + 1);
            line[n] = '\0';
            return line;
        }
        if (n < (ssize_t)want) {
            return "";
        }
        want = (size_t)n + 1;
    }
}

static void expect(int fd, const char *wanted) { CHECK_STR_EQ(next_line(fd), wanted); }

static void say(int fd, const char *line) {
    char text[600]; /* in one piece: the second would wait for the acknowledgement of the first */
    int len = snprintf(text, sizeof text, "%s\n", line);
    put(fd, text, (size_t)len);
}

static void command(int fd, const char *line, const char *answer) {
    say(fd, line);
    expect(fd, answer);
}

/* A client with that nick, in the room. It has read that it joined. */
static int member(const struct server *s, const char *nick, const char *room) {
    char text[64];
    int fd = client(s);
    snprintf(text, sizeof text, "nick %s", nick);
    command(fd, text, "ok");
    snprintf(text, sizeof text, "join %s", room);
    command(fd, text, "ok");
    snprintf(text, sizeof text, "%s joined", nick);
    expect(fd, text);
    return fd;
}

static void chat_stop(struct server *s) {
    server_signal(s, SIGTERM);
    server_wait_end(s);
    check_exit(s, 0);
    CHECK_STR_EQ(s->err_text, "");
}

TEST(a_conversation) {
    struct server s;
    server_start(&s, 3);
    int anna = member(&s, "anna", "tea"), bob = member(&s, "bob", "tea");
    expect(anna, "bob joined");
    command(anna, "say hello there", "ok");
    expect(anna, "anna: hello there");
    expect(bob, "anna: hello there");
    command(bob, "who",
            strcmp(next_line((say(anna, "who"), anna)), "anna bob") == 0 ? "anna bob" : "bob anna");
    int carl = member(&s, "carl", "coffee");
    command(carl, "who", "carl");
    command(carl, "say alone", "ok");
    expect(carl, "carl: alone");
    command(bob, "leave", "ok");
    expect(anna, "bob left");
    command(bob, "who", "error: you are in no room");
    command(bob, "nick robert", "ok");
    command(bob, "join coffee", "ok");
    expect(bob, "robert joined");
    expect(carl, "robert joined");
    command(bob, "quit", "bye");
    check_end(bob);
    close_fd(bob);
    expect(carl, "robert left");
    reset_close(carl);
    carl = member(&s, "anna", "coffee"); /* a nick is taken in one room only */
    close_fd(carl);
    close_fd(anna);
    chat_stop(&s);
}

TEST(commands_that_are_wrong) {
    static const char *const lines[][2] = {
        {"", "error: commands are nick, join, say, who, leave, quit"},
        {"hello", "error: commands are nick, join, say, who, leave, quit"},
        {"NICK anna", "error: commands are nick, join, say, who, leave, quit"},
        {"join tea", "error: give your nick first"},
        {"say hello", "error: you are in no room"},
        {"who", "error: you are in no room"},
        {"leave", "error: you are in no room"},
        {"nick", "error: a name is 1 to 24 letters, digits, - and _"},
        {"nick ann a", "error: a name is 1 to 24 letters, digits, - and _"},
        {"nick anna:", "error: a name is 1 to 24 letters, digits, - and _"},
        {"nick \xc3\xa4nna", "error: a name is 1 to 24 letters, digits, - and _"},
        {"nick aaaaaaaaaaaaaaaaaaaaaaaaa", "error: a name is 1 to 24 letters, digits, - and _"},
        {"nick aaaaaaaaaaaaaaaaaaaaaaaa", "ok"},
        {"nick  anna", "ok"},
        {"join ../tea", "error: a name is 1 to 24 letters, digits, - and _"},
        {"join tea\r", "ok"},
    };
    struct server s;
    server_start(&s, 2);
    int fd = client(&s);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        command(fd, lines[i][0], lines[i][1]);
    }
    expect(fd, "anna joined");
    command(fd, "nick bob", "error: leave the room first");
    command(fd, "join coffee", "error: leave the room first");
    int other = client(&s);
    command(other, "nick anna", "ok");
    command(other, "join tea", "error: that nick is taken there");
    command(other, "who", "error: you are in no room");
    command(other, "nick bob", "ok");
    command(other, "join tea", "ok");
    close_fd(other);
    close_fd(fd);
    chat_stop(&s);
}

TEST(lines_in_pieces_and_many_at_once) {
    struct server s;
    server_start(&s, 2);
    static const char all[] = "nick anna\njoin tea\r\nsay one\nsay two\nwho\nleave\nquit\nwho\n";
    static const char *const answers[] = {"ok", "ok",        "anna joined", "ok", "anna: one",
                                          "ok", "anna: two", "anna",        "ok", "bye"};
    for (size_t step = 1; step < sizeof all;
         step = step < 9 ? step + 3 : sizeof all - 1 + (step == sizeof all - 1)) {
        int fd = client(&s);
        for (size_t at = 0; at < sizeof all - 1; at += step) {
            put(fd, all + at, step < sizeof all - 1 - at ? step : sizeof all - 1 - at);
        }
        for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
            expect(fd, answers[i]);
        }
        check_end(fd);
        close_fd(fd);
    }
    chat_stop(&s);
}

TEST(lines_that_are_no_text_end_the_connection) {
    static char longest[600];
    struct server s;
    server_start(&s, 2);
    int fd = client(&s);
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "say ", 4);
    longest[511] = '\n';
    put(fd, longest, 512); /* as long as a line may be */
    expect(fd, "error: you are in no room");
    longest[511] = 'a';
    put(fd, longest, 512);
    expect(fd, "error: the line is too long, or not text");
    check_end(fd);
    close_fd(fd);
    static const char *const bad[] = {"say \x1b[2J\n", "say a\rb\n", "say \t\n", "\x7f\n"};
    for (size_t i = 0; i < 4; i++) {
        fd = client(&s);
        put(fd, bad[i], strlen(bad[i]));
        expect(fd, "error: the line is too long, or not text");
        check_end(fd);
        close_fd(fd);
    }
    fd = client(&s);
    put(fd, "say \0\n", 6);
    expect(fd, "error: the line is too long, or not text");
    close_fd(fd);
    chat_stop(&s);
}

/* All members read the same lines in the same order, on whichever shard they are. */
TEST(members_read_the_same_in_the_same_order) {
    enum { MEMBERS = 12, SAYS = 20 };
    struct server s;
    static char heard[MEMBERS][MEMBERS * SAYS][24];
    int fd[MEMBERS], count[MEMBERS] = {0};
    char text[64];
    server_start(&s, 4);
    for (int i = 0; i < MEMBERS; i++) {
        snprintf(text, sizeof text, "m%d", i);
        fd[i] = member(&s, text, "all");
        snprintf(text, sizeof text, "m%d joined", i);
        for (int k = 0; k < i; k++) {
            expect(fd[k], text);
        }
    }
    for (int n = 0; n < SAYS; n++) { /* all at once, and nobody has read yet */
        for (int i = 0; i < MEMBERS; i++) {
            snprintf(text, sizeof text, "say %d", n);
            say(fd[i], text);
        }
    }
    for (int i = 0; i < MEMBERS; i++) {
        while (count[i] < MEMBERS * SAYS) {
            const char *line = next_line(fd[i]);
            CHECK_LT(strlen(line), 24);
            if (strcmp(line, "ok") != 0) {
                strcpy(heard[i][count[i]++], line);
            }
        }
        CHECK_MEM_EQ(heard[i], heard[0], sizeof heard[0]);
    }
    for (int i = 0; i < MEMBERS; i++) {
        close_fd(fd[i]);
    }
    chat_stop(&s);
}

TEST(a_room_takes_so_many) {
    enum { MOST = 200 };
    struct server s;
    int fd[MOST + 1];
    char text[64];
    server_start(&s, 2);
    for (int i = 0; i <= MOST; i++) {
        fd[i] = client(&s);
        snprintf(text, sizeof text, "nick aaaaaaaaaaaaaaaaaaaaa%d", i);
        command(fd[i], text, "ok");
        command(fd[i], "join all", i < MOST ? "ok" : "error: no space left on device");
    }
    say(fd[0], "who");
    const char *line = "";
    while (strncmp(line, "aaaaa", 5) != 0 || strstr(line, " joined") != NULL) {
        line = next_line(fd[0]);
    }
    int names = 1;
    for (const char *p = line; *p != '\0'; p++) {
        names += *p == ' ';
    }
    CHECK_EQ(names, MOST);
    for (int i = 0; i <= MOST; i++) {
        close_fd(fd[i]);
    }
    chat_stop(&s);
}

TEST(who_does_not_read_is_cut_off) {
    static const char *const flags[] = {"--queued-kib", "64", NULL};
    static char longest[500];
    struct server s;
    server_start_with(&s, 2, flags, NULL);
    int slow = client_socket(&s);
    small_buffers(slow);
    connect_fd(&s, slow);
    command(slow, "nick slow", "ok");
    command(slow, "join all", "ok");
    int fd = member(&s, "talker", "all");
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "say ", 4);
    longest[sizeof longest - 1] = '\0';
    for (bool gone = false; !gone;) {
        say(fd, longest);
        for (const char *line = ""; !gone && strncmp(line, "talker: ", 8) != 0;) {
            line = next_line(fd);
            CHECK_STR_EQ(line[0] == '\0' ? "gone" : "", "");
            gone = strcmp(line, "slow left") == 0;
        }
    }
    close_fd(fd);
    char buf[4096];
    ssize_t n;
    while ((n = recv(slow, buf, sizeof buf, 0)) > 0) {
    }
    CHECK_EQ(n, -1);
    CHECK_EQ(errno, ECONNRESET);
    close_fd(slow);
    chat_stop(&s);
}

TEST(clients_are_told_of_the_end) {
    struct server s;
    server_start(&s, 2);
    int fd = member(&s, "anna", "tea"), other = client(&s);
    command(other, "leave", "error: you are in no room");
    server_signal(&s, SIGTERM);
    expect(fd, "the server ends");
    check_end(fd);
    expect(other, "the server ends");
    check_end(other);
    close_fd(fd);
    close_fd(other);
    server_wait_end(&s);
    check_exit(&s, 0);
}

/* Clients that come, talk, and go in any way: no room keeps somebody who is gone. */
TEST_TIMEOUT(clients_may_do_as_they_like, 120) {
    enum { CLIENTS = 24, STEPS = 4000 };
    static const char *const lines[] = {"join a\n", "join b\n", "leave\n", "say x\n",
                                        "who\n",    "nick z\n", "quit\n",  "say \x1b\n"};
    struct server s;
    int fd[CLIENTS];
    uint64_t rng = random_seed();
    server_start(&s, 3);
    for (int i = 0; i < CLIENTS; i++) {
        fd[i] = -1;
    }
    for (int step = 0; step < STEPS; step++) {
        uint64_t r = random_next(&rng);
        int i = (int)(r % CLIENTS);
        char buf[2048];
        if (fd[i] < 0) {
            fd[i] = client(&s);
            int len = snprintf(buf, sizeof buf, "nick n%d\n", i);
            put(fd[i], buf, (size_t)len);
        }
        const char *line = lines[r >> 32 & ((r >> 40 & 15) == 0 ? 7 : 3)];
        (void)send(fd[i], line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
        while ((r >> 20 & 3) == 0 && recv(fd[i], buf, sizeof buf, MSG_DONTWAIT) > 0) {
        }
        if ((r >> 24 & 31) == 0) {
            if ((r >> 30 & 1) != 0) {
                reset_close(fd[i]);
            } else {
                close_fd(fd[i]);
            }
            fd[i] = -1;
        }
    }
    for (int i = 0; i < CLIENTS; i++) {
        if (fd[i] >= 0) {
            close_fd(fd[i]);
        }
    }
    for (int n = 0; n < 2; n++) {
        for (int tries = 0, alone = 0; !alone;
             tries++) { /* until the ends of all have come there */
            char text[48], nick[32];
            int probe = client(&s);
            snprintf(nick, sizeof nick, "probe%d", tries);
            snprintf(text, sizeof text, "nick %s", nick);
            command(probe, text, "ok");
            command(probe, n == 0 ? "join a" : "join b", "ok");
            say(probe, "who");
            const char *line = next_line(probe);
            while (strstr(line, " joined") != NULL || strstr(line, " left") != NULL) {
                line = next_line(probe);
            }
            alone = strcmp(line, nick) == 0;
            close_fd(probe);
        }
    }
    chat_stop(&s);
}

TEST(flags_that_are_wrong) {
    struct server s;
    server_exec(&s, (const char *const[]){"--queued-kib", "63", NULL}, NULL);
    server_wait_end(&s);
    check_exit(&s, 2);
    CHECK_STR_EQ(s.err_text,
                 "chat_sharded: --queued-kib takes a number from 64 to 1048576, not '63'\n");
}
