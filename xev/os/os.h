/* Internal: the operating system's calls that are not part of waiting for events. One file per
 * system implements it; codes are XEV_E*. */
#ifndef XEV_OS_OS_H
#define XEV_OS_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xev/addr.h"
#include "xev/fd.h"
#include "xev/platform.h"

/* Monotonic, ns, above 0. */
uint64_t xev__os_now_ns(void);
/* The same, cheaper, and up to some ms later than the real time; never earlier. */
uint64_t xev__os_coarse_now_ns(void);
uint64_t xev__os_thread_id(void); /* above 0, of one thread only in the process's life */
void xev__os_sleep_ms(uint32_t ms);

/* How often this process, or one it was forked from, was forked since the first call of watch, as
 * seen by the child. 0 or XEV_ENOMEM. */
extern uint32_t xev__os_forks;
int xev__os_watch_forks(void);
/* The same, and each forked child calls fn before fork returns there. There is one fn. */
int xev__os_in_forked_child(void (*fn)(void));
/* Where code is, for a human and for addr2line: "server+0x12ab". */
void xev__os_code_place(const void *code, char *text, size_t len_bytes);

/* A descriptor to wake a waiting thread with: signal from any thread, drain by the waiter. */
int xev__os_wake_open(xev_fd *fd);
void xev__os_wake_signal(xev_fd fd);
void xev__os_wake_drain(xev_fd fd);

int xev__os_close(xev_fd fd);
bool xev__os_is_open(xev_fd fd);
int xev__os_set_nonblocking(xev_fd fd, bool on);

/* TCP. */
int xev__os_tcp_socket(enum xev_family family, xev_fd *fd);
int xev__os_bind(xev_fd fd, const xev_addr *addr, bool reuse_port);
int xev__os_listen(xev_fd fd, int backlog);
int xev__os_accept(xev_fd fd);     /* descriptor or code; does not wait on a non-blocking one */
int xev__os_accept_now(xev_fd fd); /* never waits */
/* Whether an accept failed for the connection that was next, and not for the listener: accept(2)
 * says to try again after network errors and after what a firewall forbids. */
bool xev__os_is_of_connection(xev_fd listener, int code);
int xev__os_connect(xev_fd fd, const xev_addr *addr);     /* XEV_EINPROGRESS: under way */
int xev__os_connect_result(xev_fd fd);                    /* XEV_EAGAIN: still under way */
int xev__os_recv(xev_fd fd, void *buf, size_t len_bytes); /* never waits; 0: end of stream */
int xev__os_send(xev_fd fd, const void *buf, size_t len_bytes);
/* The same with count pieces {base, len}. */
int xev__os_recvv(xev_fd fd, const void *vec, uint32_t count);
int xev__os_sendv(xev_fd fd, const void *vec, uint32_t count);
int xev__os_sendmsg(xev_fd fd, const void *msg);
int xev__os_recvmsg(xev_fd fd, void *msg);
int xev__os_pipe(xev_fd *read_end, xev_fd *write_end); /* untouched on failure */
/* On a non-blocking descriptor that is no socket. */
int xev__os_read(xev_fd fd, void *buf, size_t len_bytes);
int xev__os_write(xev_fd fd, const void *buf, size_t len_bytes);
int xev__os_readv(xev_fd fd, const void *vec, uint32_t count); /* count pieces {base, len} */
int xev__os_writev(xev_fd fd, const void *vec, uint32_t count);
/* XEV_POLL_* that hold now, or XEV_EAGAIN; and the platform's word for a mask, and back. */
int xev__os_poll_now(xev_fd fd, uint32_t mask);
uint32_t xev__os_poll_mask(uint32_t mask);
uint32_t xev__os_poll_result(uint32_t revents, uint32_t mask);
/* Whether the kernel can report on a descriptor: files of the disk have nothing to wait for. */
bool xev__os_can_watch(xev_fd fd);
/* A terminal or another device: its driver may block although it was asked not to. */
bool xev__os_is_device(xev_fd fd);
/* From now on, writing to a pipe nobody reads raises no SIGPIPE in this thread. */
void xev__os_block_sigpipe(void);
int xev__os_shutdown_write(xev_fd fd);
/* 0; or it is no socket, or XEV_ENOTCONN: a listener, on which no data will ever come or go. */
int xev__os_check_endpoint(xev_fd fd);
bool xev__os_is_tcp(xev_fd fd);
int xev__os_unread_bytes(xev_fd fd);
int xev__os_set_nodelay(xev_fd fd, bool on);
int xev__os_set_keepalive(xev_fd fd, uint32_t idle_s);
int xev__os_set_buffers(xev_fd fd, uint32_t send_bytes, uint32_t recv_bytes);
/* What close does with what is unsent: on and 0 s: drop it, and reset. */
int xev__os_set_linger(xev_fd fd, bool on, uint32_t timeout_s);
uint32_t xev__os_linger_s(xev_fd fd); /* how long close would wait, 0: not */
/* 0: the peer has taken all that was sent; XEV_EAGAIN: not yet; a code: the connection is gone. */
int xev__os_unacked(xev_fd fd);
int xev__os_local_addr(xev_fd fd, xev_addr *addr);
int xev__os_peer_addr(xev_fd fd, xev_addr *addr);

/* The platform's message header (for os_sendmsg) in msg: count pieces {base, len} at vec. */
void xev__os_msg_init(uint64_t msg[8], const void *vec, size_t count);

/* Whether a code says that descriptors or memory for one are exhausted. */
bool xev__os_exhausted(int code);

#endif
