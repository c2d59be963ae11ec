/* An allocator for a loop that counts, and that fails when inject says so. */
#ifndef TESTS_MEMORY_SCENE_H
#define TESTS_MEMORY_SCENE_H

#include <stdlib.h>

#include "tests/inject.h"
#include "tests/test.h"
#include "xev/loop.h"

static atomic_llong counted_bytes;
static atomic_uint counted_calls;

static inline void *counted_allocate(size_t bytes, size_t alignment, void *userdata) {
    (void)userdata;
    if (inject_now()) {
        return NULL;
    }
    void *p = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    CHECK(p != NULL);
    atomic_fetch_add(&counted_bytes, (long long)bytes);
    atomic_fetch_add(&counted_calls, 1);
    return p;
}

static inline void counted_release(void *memory, size_t bytes, void *userdata) {
    (void)userdata;
    atomic_fetch_sub(&counted_bytes, (long long)bytes);
    free(memory);
}

static const xev_allocator counted_allocator = {counted_allocate, counted_release, NULL};

static inline int64_t held_bytes(void) { return atomic_load(&counted_bytes); }
static inline unsigned allocations(void) { return atomic_load(&counted_calls); }

#endif
