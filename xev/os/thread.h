/* Internal: the system's calls for threads and forked children. Codes are XEV_E*. */
#ifndef XEV_OS_THREAD_H
#define XEV_OS_THREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The calling thread's number, above 0. No two threads of a process ever have the same. */
uint64_t xev__os_thread_id(void);

/* For messages: the system's own number of the calling thread, which it may use again; whether the
 * thread with that number has ended; its name and number, such as "worker (1234)". */
uint64_t xev__os_thread_number(void);
bool xev__os_thread_has_ended(uint64_t number);
void xev__os_thread_text(uint64_t number, char *text, size_t len_bytes);

/* How often this process, or one it was forked from, was forked since the first call of watch, as
 * seen by the child. 0 or XEV_ENOMEM. */
extern uint32_t xev__os_forks;
int xev__os_watch_forks(void);
/* The same, and each forked child calls fn before fork returns there. There is one fn. */
int xev__os_in_forked_child(void (*fn)(void));
/* The place of code, for a human and for addr2line: "server+0x12ab". */
void xev__os_code_place(const void *code, char *text, size_t len_bytes);

/* The name of the function that the code is in, by the tables of the file that it was loaded from.
 * False: not known, as in a stripped file. */
bool xev__os_code_name(const void *code, char *text, size_t len_bytes);

/* Block SIGPIPE (a write to a pipe without a reader) and SIGXFSZ (a write beyond the limit of a
 * file's size) in the calling thread. */
void xev__os_block_write_signals(void);

#endif
