/* macOS and the BSDs: the place of code, by the dynamic linker; numbers of threads. */
#include <assert.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "xev/os/thread.h"

void xev__os_code_place(const void *code, char *text, size_t len_bytes) {
    assert(text != NULL && len_bytes > 0);
    Dl_info info;
    if (dladdr((void *)(uintptr_t)code, &info) == 0 || info.dli_fname == NULL) {
        snprintf(text, len_bytes, "%p", code);
        return;
    }
    const char *slash = strrchr(info.dli_fname, '/');
    snprintf(text, len_bytes, "%s+%#jx", slash != NULL ? slash + 1 : info.dli_fname,
             (uintmax_t)((uintptr_t)code - (uintptr_t)info.dli_fbase));
}

bool xev__os_code_name(const void *code, char *text, size_t len_bytes) {
    assert(text != NULL && len_bytes > 0);
    Dl_info info;
    if (dladdr((void *)(uintptr_t)code, &info) == 0 || info.dli_sname == NULL) {
        return false; /* a static function's name is in the file alone */
    }
    snprintf(text, len_bytes, "%s", info.dli_sname);
    return true;
}

/* The threads that have asked for their number and have not ended. The numbers are our own. */
struct thread {
    struct thread *next;
    uint64_t number;
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct thread *threads;
static pthread_key_t key;

static void thread_ends(void *arg) {
    (void)pthread_mutex_lock(&lock);
    for (struct thread **at = &threads; *at != NULL; at = &(*at)->next) {
        if (*at == arg) {
            *at = (*at)->next;
            break;
        }
    }
    (void)pthread_mutex_unlock(&lock);
}

static void make_key(void) { (void)pthread_key_create(&key, thread_ends); }

uint64_t xev__os_thread_number(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static _Thread_local struct thread self;
    if (self.number == 0) {
        (void)pthread_once(&once, make_key);
        self.number = xev__os_thread_id();
        (void)pthread_setspecific(key, &self);
        (void)pthread_mutex_lock(&lock);
        self.next = threads;
        threads = &self;
        (void)pthread_mutex_unlock(&lock);
    }
    return self.number;
}

bool xev__os_thread_has_ended(uint64_t number) {
    bool ended = true;
    (void)pthread_mutex_lock(&lock);
    for (const struct thread *t = threads; t != NULL; t = t->next) {
        ended = ended && t->number != number;
    }
    (void)pthread_mutex_unlock(&lock);
    return ended;
}

void xev__os_thread_text(uint64_t number, char *text, size_t len_bytes) {
    assert(text != NULL && len_bytes > 0);
    snprintf(text, len_bytes, "thread (%" PRIu64 ")", number);
}
