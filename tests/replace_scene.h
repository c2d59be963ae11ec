/* What the tests of xev/replace.h share: steps whose end is waited for. */
#ifndef TESTS_REPLACE_SCENE_H
#define TESTS_REPLACE_SCENE_H

#include "tests/file_scene.h"

struct replacing {
    xev_replace r;
    int calls, result;
};

static inline void on_replaced(xev_replace *replace, int result, void *userdata) {
    struct replacing *p = userdata;
    CHECK(replace == &p->r);
    p->calls++;
    p->result = result;
}

/* Run the loop until the callback of the step that was begun. */
static inline int step(struct scene *s, struct replacing *p) {
    CHECK_EQ(p->calls, 0);
    while (p->calls == 0) {
        run_once(&s->loop);
    }
    CHECK_EQ(p->calls, 1);
    p->calls = 0;
    return p->result;
}

#endif
