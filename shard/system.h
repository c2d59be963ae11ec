/* Internal: what the runtime needs of the operating system besides POSIX threads. */
#ifndef XEV_SHARD_SYSTEM_H
#define XEV_SHARD_SYSTEM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the system has threads. Where it has none there is one shard, and the thread in
 * xev_runtime_run is its own. */
extern const bool xev__shards_have_threads;

/* The n-th CPU of the process's affinity (wrapping around). How many: threadpool/cpus.h. */
int xev__cpu_nth(uint32_t n);

/* Call the calling thread "xev-shard-ID", for debuggers, top, and messages. */
void xev__name_thread(uint32_t id);

/* Bind the calling thread to a CPU. 0 or a code: -EINVAL, there is none of that number, or the
 * process may not use it; -EPERM, -ENOSYS, ... the system does not bind threads; -ENOMEM. */
int xev__cpu_pin(int cpu);

/* The calling thread's number for the system; and what a thread of this process is at, for a human:
 * "running", or "in system call 1 (0x2, 0x7ffd5c10, 0x9)" with its first arguments; "" if that
 * cannot be had. */
uint64_t xev__thread_number(void);
void xev__thread_activity(uint64_t number, char *text, size_t len_bytes);

/* Each forked child calls fn before fork returns there. 0 or an errno, as pthread_atfork. */
int xev__in_forked_child(void (*fn)(void));

/* Send a signal to a thread that was not joined. False: it is none, or the thread has ended. */
bool xev__thread_signal(pthread_t thread, int number);

/* Once before xev__stack is used. Any thread. */
void xev__stack_prepare(void);

/* The calling thread's stack, innermost frame first: addresses in the calls, room of them at most.
 * Their number; 0 where that cannot be had. In the handler of a signal it begins with the code that
 * was interrupted. */
uint32_t xev__stack(uintptr_t *frames, uint32_t room);

/* The signals that a runtime may catch. */
enum { XEV__SIGINT, XEV__SIGTERM, XEV__SIGHUP, XEV__SIGPIPE, XEV__CAUGHT_SIGNALS };
int xev__signal_number(int which);

/* A set of those: bit 1 << which. Unblock them in the calling thread, and say which of them were
 * blocked; block them. */
uint32_t xev__signals_unblock(uint32_t set);
void xev__signals_block(uint32_t set);

/* What threads and signal handlers signal and one thread waits for. Not a descriptor alone: a write
 * can fail and its signal be lost, and a wait can be refused. */
struct xev__event {
    uint32_t signalled;      /* atomic: a signal has not been taken */
    int read_end, write_end; /* of a pipe, where the system needs one to wake the waiter */
};
void xev__event_init(struct xev__event *e);
void xev__event_deinit(struct xev__event *e);
void xev__event_signal(struct xev__event *e);
/* Wait for a signal and take it, timeout_ms at most (-1: no limit). Returns early where a signal
 * was handled. What was written before the signal is visible. */
void xev__event_wait(struct xev__event *e, int timeout_ms);

void xev__sleep_ms(uint32_t ms);
/* As pthread_cond_init, for a condition that is waited for with a limit. 0 or a code. */
int xev__cond_init(pthread_cond_t *cond);
/* As pthread_cond_wait, for ms at most. */
void xev__cond_wait_ms(pthread_cond_t *cond, pthread_mutex_t *lock, uint32_t ms);

/* Whether several sockets may listen on one port, and the system spreads connections over them. */
bool xev__listeners_share(void);
/* Whether fd is a stream socket that listens: 0, or XEV_EBADF, XEV_ENOTSOCK, XEV_EPROTOTYPE (no
 * stream socket), XEV_EINVAL (it does not listen). *is_tcp: it is a TCP socket. */
int xev__listener_check(int fd, bool *is_tcp);
/* A listening socket. No connection begins at it any more, and accept goes on. TCP: requests for a
 * connection are ignored, and their senders repeat them; handshakes that have begun go on. Unix:
 * they are refused. 0 or a code, by which the socket is as before. */
int xev__listener_gate(int fd, bool is_tcp);
/* How many connections wait for an accept, or a code. Of a Unix socket: 1 where some wait, or may
 * wait because it is gated. */
int xev__listener_waiting(int fd, bool is_tcp);
/* Listen no more, from the end of this call on. What still waits is reset. fd stays open. */
void xev__listener_end(int fd);

#endif
