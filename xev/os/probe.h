/* Internal: static tracepoints (USDT) of the provider "xev", for bpftrace, perf, SystemTap. A leaf.
 *
 * They are there where the library is built with XEV_USDT defined and the system has <sys/sdt.h>
 * (Debian: systemtap-sdt-dev); each is one nop then, and a note in the file that says where its
 * arguments are. Otherwise they are nothing, and evaluate nothing. docs/bpftrace uses them:
 *
 *     turn__begin       loop                      its wait for the kernel is over
 *     turn__end         loop, ns                  it has worked for so long, and waits again
 *     callback__begin   loop, completion, function
 *     callback__end     loop, completion          an address only: it may be freed
 *     accept            shard, result             a descriptor, or a code
 *     conn__opened      connection, descriptor
 *     conn__closed      connection, reason, code  reason: xev_conn_reason
 *     message__sent     from, to, message         numbers of shards; from 2^32-1: another thread
 *     message__delivered  to, message             before its handler
 *     pool__submit      lane, task, tasks         the first one of a batch of so many
 *     pool__start       lane, task
 *     pool__end         lane, task                an address only
 */
#ifndef XEV_OS_PROBE_H
#define XEV_OS_PROBE_H

#if defined(XEV_USDT) && defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#endif
#endif

#if defined(DTRACE_PROBE1)
#if defined(__clang__) /* of the macros there, in every file that uses one */
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#endif
#define XEV__PROBE1(name, a) DTRACE_PROBE1(xev, name, a)
#define XEV__PROBE2(name, a, b) DTRACE_PROBE2(xev, name, a, b)
#define XEV__PROBE3(name, a, b, c) DTRACE_PROBE3(xev, name, a, b, c)
#else
#define XEV__PROBE1(name, a) ((void)sizeof(a))
#define XEV__PROBE2(name, a, b) ((void)sizeof(a), (void)sizeof(b))
#define XEV__PROBE3(name, a, b, c) ((void)sizeof(a), (void)sizeof(b), (void)sizeof(c))
#endif

#endif
