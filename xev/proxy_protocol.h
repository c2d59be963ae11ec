/* The PROXY protocol, versions 1 (text) and 2 (binary): a proxy says in front of a stream who its
 * client is. No input or output, no memory of its own. Source: HAProxy's proxy-protocol.txt.
 *
 * In a data handler of a connection that a proxy has made (and nobody else can make: who is let in
 * by address must not be able to claim one):
 *
 *     int n = xev_proxy_read(&header, data, len_bytes);
 *     if (n <= 0) return n;    (0: it is not whole yet)
 *
 * Misuse (a null pointer, but for data of 0 bytes) ends the program, as in completion.h. Any
 * thread.
 */
#ifndef XEV_PROXY_PROTOCOL_H
#define XEV_PROXY_PROTOCOL_H

#include "xev/addr.h"

/* Who has connected to whom. Zeroed (XEV_AF_UNSPEC): the proxy does not say; the connection is its
 * own. Both are of one family: TCP's addresses with ports, or Unix sockets', of which an unnamed
 * one has no bytes of name. */
typedef struct xev_proxy_header {
    xev_addr source, destination;
} xev_proxy_header;

/* The longest header that is read, and the most that is written. */
#define XEV_PROXY_READ_MAX 4096
#define XEV_PROXY_WRITE_MAX 232

XEV_BEGIN_DECLS

/* Read the header of either version at the beginning of len_bytes at data. Returns its length in
 * bytes, all of it included that version 2 may have behind the addresses; 0: it is not whole yet
 * (of version 1 most is checked when the line is whole, or 107 bytes long); XEV_EPROTO: it is none,
 * or breaks a rule; XEV_EMSGSIZE: longer than XEV_PROXY_READ_MAX. *header is all zero where the
 * result is not above 0. Addresses of datagrams, and of families not known here, are as if not
 * said. What stands behind the addresses (checksums too) is not looked at. */
XEV_NODISCARD int xev_proxy_read(xev_proxy_header *header, const void *data, size_t len_bytes);

/* Write a header of version 1 or 2 to out, which has XEV_PROXY_WRITE_MAX bytes. Addresses of two
 * families, and those of Unix sockets in version 1, are written as not known. Returns its length,
 * or XEV_EINVAL (version is not 1 or 2). */
XEV_NODISCARD int xev_proxy_write(const xev_proxy_header *header, uint32_t version, void *out);

XEV_END_DECLS

#endif
