/* Words counted on the shards that they belong to, and the sum over all shards. */
#include <stdio.h>
#include <string.h>

#include "xev/ask.h"

#define SHARDS 4
#define WORDS_MAX 16 /* of one shard */
#define TIMEOUT_MS 10000

static const char text[] = "the quick brown fox jumps over the lazy dog and the dog barks";

/* What a shard owns: no other thread touches it. */
struct table {
    struct {
        char word[16];
        uint32_t count;
    } rows[WORDS_MAX];
    uint32_t rows_len;
};

struct app {
    xev_runtime runtime;
    xev_completion start;
    struct table tables[SHARDS];
    uint32_t waiting, words, different; /* shard 0's, which asks */
    int failed;                         /* a code */
};

static struct app app;

/* On the shard that the word belongs to. It may also keep the ask and answer later. */
static void count_word(xev_shard *self, xev_ask *ask, const void *word, size_t len_bytes) {
    struct table *t = &app.tables[xev_shard_id(self)];
    uint32_t i = 0;
    while (i < t->rows_len && (strlen(t->rows[i].word) != len_bytes ||
                               memcmp(t->rows[i].word, word, len_bytes) != 0)) {
        i++;
    }
    if (i == WORDS_MAX || len_bytes >= sizeof t->rows[i].word) {
        xev_ask_answer(ask, XEV_ENOBUFS, NULL, 0);
        return;
    }
    if (i == t->rows_len) {
        memcpy(t->rows[i].word, word, len_bytes);
        t->rows_len++;
    }
    t->rows[i].count++;
    xev_ask_answer(ask, 0, &t->rows[i].count, sizeof t->rows[i].count);
}

static void stop_for(int code) {
    app.failed = code;
    xev_runtime_stop(&app.runtime);
}

/* ---- the sums of all shards ---- */

struct sums {
    uint32_t words, different;
};

static void sum_table(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes) {
    const struct table *t = &app.tables[xev_shard_id(self)];
    struct sums sums = {.different = t->rows_len};
    (void)argument;
    (void)len_bytes;
    for (uint32_t i = 0; i < t->rows_len; i++) {
        sums.words += t->rows[i].count;
    }
    xev_ask_answer(ask, 0, &sums, sizeof sums);
}

/* Back on shard 0: no lock needed. */
static void add_sums(xev_shard *self, uint32_t shard, int result, const void *answer,
                     size_t len_bytes, void *userdata) {
    (void)self;
    (void)shard;
    (void)userdata;
    if (result == 0 && len_bytes == sizeof(struct sums)) {
        struct sums sums;
        memcpy(&sums, answer, sizeof sums);
        app.words += sums.words;
        app.different += sums.different;
    }
}

static void on_sums(xev_shard *self, int result, void *userdata) {
    (void)self;
    (void)userdata;
    if (result == 0) {
        printf("%u words, %u different ones\n", app.words, app.different);
    }
    stop_for(result);
}

static const xev_map sum_tables = {sum_table, add_sums};

/* ---- one ask for each word ---- */

static void on_count(xev_shard *self, int result, const void *answer, size_t len_bytes,
                     void *userdata) {
    (void)self;
    (void)answer;
    (void)len_bytes;
    (void)userdata;
    if (result < 0 && app.failed == 0) {
        app.failed = result; /* XEV_ETIMEDOUT, say */
    }
    if (--app.waiting > 0) {
        return;
    }
    int rc = app.failed;
    if (rc == 0) {
        rc = xev_shard_map_reduce(&app.runtime, NULL, 0, TIMEOUT_MS, &sum_tables, NULL, on_sums);
    }
    if (rc < 0) {
        stop_for(rc);
    }
}

static xev_cb_action on_start(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    (void)userdata;
    for (const char *word = text; result == 0 && *word != '\0';) {
        size_t len = strcspn(word, " ");
        const xev_vec vec = {(void *)(uintptr_t)word, len}; /* copied by the call */
        xev_shard *owner = xev_shard_of_key(&app.runtime, word, len);
        int rc = xev_shard_ask(owner, &vec, 1, TIMEOUT_MS, count_word, NULL, on_count);
        if (rc < 0) {
            app.failed = rc;
            break;
        }
        app.waiting++;
        word += len + strspn(word + len, " ");
    }
    if (app.waiting == 0) {
        stop_for(app.failed); /* or else the last answer does it */
    }
    return XEV_DISARM;
}

static int on_init(xev_shard *self, void *userdata) {
    (void)userdata;
    if (xev_shard_id(self) == 0) {
        /* From the loop, so that all shards are there when it runs. */
        xev_timer_run(NULL, xev_shard_loop(self), &app.start, 0, NULL, on_start);
    }
    return 0;
}

int main(void) {
    xev_runtime_options options = {.shards = SHARDS, .init = on_init};
    int rc = xev_runtime_run(&app.runtime, &options);
    rc = rc < 0 ? rc : app.failed;
    if (rc < 0) {
        fprintf(stderr, "ask: %s\n", xev_strerror(rc));
    }
    return rc < 0;
}
