/* WASI: one thread, and no fork. */
#include <stdio.h>

#include "xev/os/thread.h"

uint32_t xev__os_forks;

uint64_t xev__os_thread_id(void) { return 1; }
uint64_t xev__os_thread_number(void) { return 1; }

bool xev__os_thread_has_ended(uint64_t number) { return number != 1; }

void xev__os_thread_text(uint64_t number, char *text, size_t len_bytes) {
    (void)number;
    snprintf(text, len_bytes, "the only one");
}

int xev__os_watch_forks(void) { return 0; }

int xev__os_in_forked_child(void (*fn)(void)) {
    (void)fn;
    return 0;
}

/* The number of a function in the module's table: there are no addresses of code. */
void xev__os_code_place(const void *code, char *text, size_t len_bytes) {
    snprintf(text, len_bytes, "function %u", (unsigned)(uintptr_t)code);
}

bool xev__os_code_name(const void *code, char *text, size_t len_bytes) {
    (void)code;
    (void)text;
    (void)len_bytes;
    return false;
}

void xev__os_block_write_signals(void) {}
