/* Wrappers between an example and the library (-Wl,--wrap). The call that the environment's FAULT
 * names fails, as it may for reasons that a test cannot cause from outside. */
#include <stdlib.h>
#include <string.h>

#include "xev/shard.h"

static bool is_fault(const char *name) {
    const char *fault = getenv("FAULT");
    return fault != NULL && strcmp(fault, name) == 0;
}

void __real_xev_file_fsync(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata, xev_cb cb);

void __wrap_xev_file_fsync(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata, xev_cb cb);

void __wrap_xev_file_fsync(xev_fd fd, xev_loop *loop, xev_file_req *req, void *userdata,
                           xev_cb cb) {
    __real_xev_file_fsync(is_fault("fsync") ? XEV_INVALID_FD : fd, loop, req, userdata, cb);
}

void __real_xev_file_rename(xev_loop *loop, xev_file_req *req, const char *from, const char *to,
                            void *userdata, xev_cb cb);

void __wrap_xev_file_rename(xev_loop *loop, xev_file_req *req, const char *from, const char *to,
                            void *userdata, xev_cb cb);

void __wrap_xev_file_rename(xev_loop *loop, xev_file_req *req, const char *from, const char *to,
                            void *userdata, xev_cb cb) {
    __real_xev_file_rename(loop, req, from, is_fault("rename") ? "/nowhere/file" : to, userdata,
                           cb);
}

int __real_xev_loop_run(xev_loop *loop, xev_run_mode_t mode);

int __wrap_xev_loop_run(xev_loop *loop, xev_run_mode_t mode);

int __wrap_xev_loop_run(xev_loop *loop, xev_run_mode_t mode) {
    return is_fault("wait") ? XEV_EIO : __real_xev_loop_run(loop, mode);
}

int __real_xev_shard_submit_to(xev_shard *to, xev_request *request, xev_request_fn handler,
                               void *arg, xev_reply_fn reply);

int __wrap_xev_shard_submit_to(xev_shard *to, xev_request *request, xev_request_fn handler,
                               void *arg, xev_reply_fn reply);

int __wrap_xev_shard_submit_to(xev_shard *to, xev_request *request, xev_request_fn handler,
                               void *arg, xev_reply_fn reply) {
    if ((is_fault("shard 0 is full") && xev_shard_id(to) == 0) ||
        (is_fault("shard 2 is full") && xev_shard_id(to) == 2)) {
        return XEV_EAGAIN;
    }
    return __real_xev_shard_submit_to(to, request, handler, arg, reply);
}

void __real_xev_tcp_accept_multi(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata,
                                 xev_cb cb);

void __wrap_xev_tcp_accept_multi(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata,
                                 xev_cb cb);

void __wrap_xev_tcp_accept_multi(xev_tcp tcp, xev_loop *loop, xev_completion *c, void *userdata,
                                 xev_cb cb) {
    if (is_fault("accept")) {
        tcp.fd = XEV_INVALID_FD;
    }
    __real_xev_tcp_accept_multi(tcp, loop, c, userdata, cb);
}

void __real_xev_udp_recv_multi(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *d,
                               void *userdata, xev_cb cb);

void __wrap_xev_udp_recv_multi(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *d,
                               void *userdata, xev_cb cb);

void __wrap_xev_udp_recv_multi(xev_udp udp, xev_loop *loop, xev_completion *c, xev_datagram *d,
                               void *userdata, xev_cb cb) {
    if (is_fault("receive")) {
        udp.fd = XEV_INVALID_FD;
    }
    __real_xev_udp_recv_multi(udp, loop, c, d, userdata, cb);
}

void __real_xev_fd_read(xev_fd fd, xev_loop *loop, xev_completion *c, void *buf, size_t len_bytes,
                        void *userdata, xev_cb cb);

void __wrap_xev_fd_read(xev_fd fd, xev_loop *loop, xev_completion *c, void *buf, size_t len_bytes,
                        void *userdata, xev_cb cb);

void __wrap_xev_fd_read(xev_fd fd, xev_loop *loop, xev_completion *c, void *buf, size_t len_bytes,
                        void *userdata, xev_cb cb) {
    __real_xev_fd_read(is_fault("read") ? XEV_INVALID_FD : fd, loop, c, buf, len_bytes, userdata,
                       cb);
}

int __real_xev_threadpool_init(xev_threadpool *pool, xev_threadpool_config *cfg);

int __wrap_xev_threadpool_init(xev_threadpool *pool, xev_threadpool_config *cfg);

int __wrap_xev_threadpool_init(xev_threadpool *pool, xev_threadpool_config *cfg) {
    int rc = __real_xev_threadpool_init(pool, cfg);
    if (rc == 0 && is_fault("pool")) {
        xev_threadpool_shutdown(pool);
    }
    return rc;
}
