/* Checks that misuse of a call ends the program. The misuse is made in a child process. */
#ifndef TESTS_DEATH_H
#define TESTS_DEATH_H

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/system.h"
#include "tests/test.h"

/* A child process that must end by SIGABRT, with one line on stderr: "xev: <call>: ...". */
struct death {
    int out;
    pid_t pid;
};

/* Fork. True in the child, which makes the misuse and then calls death_missed. */
static inline bool death_begins(struct death *d) {
    int out[2];
    CHECK_EQ(pipe(out), 0);
    d->pid = test_fork(out[1]);
    CHECK_GE(d->pid, 0);
    if (d->pid == 0) {
        return true;
    }
    close(out[1]);
    d->out = out[0];
    return false;
}

_Noreturn static inline void death_missed(void) { _exit(0); }

enum { DEATH_TEXT_BYTES = 512 };

/* It has ended by SIGABRT, and this is all that it said. what: names the misuse in a report. */
static inline void death_take_text(const struct death *d, const char *what,
                                   char text[DEATH_TEXT_BYTES]) {
    size_t len = 0;
    memset(text, 0, DEATH_TEXT_BYTES);
    for (ssize_t n; (n = read(d->out, text + len, DEATH_TEXT_BYTES - 1 - len)) > 0;) {
        len += (size_t)n;
    }
    close(d->out);
    char *emulators = strstr(text, "\nqemu: uncaught target signal");
    if (emulators != NULL) {
        emulators[1] = '\0'; /* QEMU's own word on the end of a process */
    }
    int status = 0;
    CHECK_EQ(waitpid(d->pid, &status, 0), d->pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) {
        CHECK_FAIL("%s did not end the program (status %x): %s", what, (unsigned)status, text);
    }
}

/* text: where the line is put. */
static inline void death_check_text(const struct death *d, const char *call, const char *what,
                                    char text[DEATH_TEXT_BYTES]) {
    char wanted[96];
    memset(text, 0, DEATH_TEXT_BYTES);
    if (test_repeats()) {
        close(d->out);
        return;
    }
    death_take_text(d, what, text);
    snprintf(wanted, sizeof wanted, "xev: %s: ", call);
    if (strncmp(text, wanted, strlen(wanted)) != 0 ||
        strchr(text, '\n') != text + strlen(text) - 1) {
        CHECK_FAIL("%s (%s) did not end the program by one line \"%s\": %s", call, what, wanted,
                   text);
    }
}

/* The line must contain words. */
static inline void death_check_words(const struct death *d, const char *call, const char *what,
                                     const char *words) {
    char text[DEATH_TEXT_BYTES];
    death_check_text(d, call, what, text);
    if (!test_repeats() && strstr(text, words) == NULL) {
        CHECK_FAIL("%s (%s) does not say \"%s\": %s", call, what, words, text);
    }
}

static inline void death_check(const struct death *d, const char *call, const char *what) {
    char text[DEATH_TEXT_BYTES];
    death_check_text(d, call, what, text);
}

static inline void check_dies(void (*fn)(void), const char *call) {
    struct death d;
    if (death_begins(&d)) {
        fn();
        death_missed();
    }
    death_check(&d, call, "misuse");
}

/* A row of a table of misuse: function(values...) must end the program because of argument. The
 * child calls prepare() before. */
#define DIES_AFTER(prepare, function, argument, ...)                                               \
    do {                                                                                           \
        struct death death;                                                                        \
        if (death_begins(&death)) {                                                                \
            prepare;                                                                               \
            function(__VA_ARGS__);                                                                 \
            death_missed();                                                                        \
        }                                                                                          \
        death_check(&death, #function, #argument);                                                 \
    } while (0)

#endif
