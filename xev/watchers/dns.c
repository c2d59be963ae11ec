/* Names of hosts. What is known without the resolver is answered from the loop, the rest is
 * resolved on the thread pool. */
#include "xev/dns.h"

#include <assert.h>
#include <string.h>

#include "xev/core/core.h"
#include "xev/os/dns.h"

/* Whether service is the number of a port, which is then in *port; NULL is port 0. Too large a
 * number gives 65536. The system's resolver would take it modulo 65536, so it must not get it. */
static bool numeric_port(const char *service, uint32_t *port) {
    *port = 0;
    if (service == NULL) {
        return true;
    }
    size_t n = 0;
    for (; service[n] >= '0' && service[n] <= '9'; n++) {
        *port = *port * 10 + (uint32_t)(service[n] - '0');
        *port = *port <= 65535 ? *port : 65536;
    }
    return n > 0 && service[n] == '\0';
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

/* Whether host is "invalid" or a name under it (RFC 6761: no such name exists), with or without the
 * root's dot at its end. */
static bool is_invalid(const char *host) {
    static const char top[] = "invalid";
    const size_t top_len = sizeof top - 1;
    size_t len = strlen(host);
    len -= len > 0 && host[len - 1] == '.';
    if (len < top_len || (len > top_len && host[len - top_len - 1] != '.')) {
        return false;
    }
    for (size_t i = 0; i < top_len; i++) {
        if (lower(host[len - top_len + i]) != top[i]) {
            return false;
        }
    }
    return true;
}

/* Called at submission, on the loop's thread. */
static int answer_literal(void *req) {
    xev_dns_req *r = req;
    uint32_t port;
    (void)numeric_port(r->service, &port);
    xev_addr addr;
    int rc = xev_addr_parse(&addr, r->host, port);
    if (rc < 0) {
        assert(is_invalid(r->host));
        return XEV_ENONAME;
    }
    if (r->family != XEV_AF_UNSPEC && r->family != xev_addr_family(&addr)) {
        return XEV_ENONAME;
    }
    r->addrs[0] = addr;
    r->found = 1;
    return 1;
}

static int run_resolve(void *req) {
    xev_dns_req *r = req;
    int rc =
        xev__os_resolve(r->host, r->service, r->family, r->addrs, (uint32_t)r->room, &r->found);
    assert(rc < 0 || (rc > 0 && (uint32_t)rc <= r->room && (uint32_t)rc <= r->found));
    return rc;
}

static int run_name(void *req) {
    const xev_dns_req *r = req;
    return xev__os_name(r->addr, r->name, r->room);
}

static bool is_known_at_once(const xev_dns_req *r) {
    uint32_t port;
    xev_addr addr;
    return numeric_port(r->service, &port) &&
           (xev_addr_parse(&addr, r->host, port) == 0 || is_invalid(r->host));
}

static bool dns_begin(const char *call, xev_loop *loop, xev_dns_req *r, size_t room, void *userdata,
                      xev_cb cb) {
    if (r == NULL) {
        xev__misuse(call, "request is null", r);
    }
    if (!xev__begin(call, loop, &r->c, XEV__OP_REQUEST, userdata, cb)) {
        return false;
    }
    r->link = (struct xev__request_link){0};
    r->c.fd = XEV_INVALID_FD;
    r->found = 0;
    r->room = room;
    return true;
}

/* 0 or a code. Also decides where the question is answered. */
static int check_question(xev_completion *c) {
    xev_dns_req *r = (xev_dns_req *)(void *)c;
    uint32_t port;
    assert(c->op == XEV__OP_REQUEST && r->host != NULL && r->room > 0);
    bool bad_service = r->service != NULL && r->service[0] == '\0';
    bad_service |= numeric_port(r->service, &port) && port > 65535;
    if (r->host[0] == '\0' || bad_service) {
        return XEV_EINVAL;
    }
    bool now = is_known_at_once(r);
    xev__work_init(c, now ? XEV_LANE_COUNT : XEV_LANE_DNS, now ? answer_literal : run_resolve);
    return 0;
}

void xev_dns_resolve(xev_loop *loop, xev_dns_req *req, const char *host, const char *service,
                     enum xev_family family, xev_addr *addrs, size_t max, void *userdata,
                     xev_cb cb) {
    if (host == NULL || (addrs == NULL && max > 0)) {
        xev__misuse("xev_dns_resolve", "host or room for addresses is null", req);
    }
    if (!dns_begin(XEV__CALL("xev_dns_resolve"), loop, req, max, userdata, cb)) {
        return;
    }
    if (max == 0 || max > 65535) {
        xev__request_refuse(loop, &req->c, XEV_EINVAL);
        return;
    }
    if (family != XEV_AF_UNSPEC && family != XEV_AF_INET && family != XEV_AF_INET6) {
        xev__request_refuse(loop, &req->c, XEV_EAFNOSUPPORT);
        return;
    }
    req->host = host;
    req->service = service;
    req->family = family;
    req->addrs = addrs;
    req->link.check = check_question;
    xev__work_start(loop, &req->c);
}

void xev_dns_name(xev_loop *loop, xev_dns_req *req, const xev_addr *addr, char *name,
                  size_t len_bytes, void *userdata, xev_cb cb) {
    if (addr == NULL || (name == NULL && len_bytes > 0)) {
        xev__misuse("xev_dns_name", "address or room for the name is null", req);
    }
    if (!dns_begin(XEV__CALL("xev_dns_name"), loop, req, len_bytes, userdata, cb)) {
        return;
    }
    enum xev_family family = xev_addr_family(addr);
    if (family == XEV_AF_UNSPEC || len_bytes == 0 || len_bytes > INT32_MAX) {
        xev__request_refuse(loop, &req->c, XEV_EINVAL);
        return;
    }
    if (family == XEV_AF_UNIX) { /* some systems answer with the name of this host */
        xev__request_refuse(loop, &req->c, XEV_EAFNOSUPPORT);
        return;
    }
    req->addr = addr;
    req->name = name;
    xev__work_init(&req->c, XEV_LANE_DNS, run_name);
    xev__work_start(loop, &req->c);
}
