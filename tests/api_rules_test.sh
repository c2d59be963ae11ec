#!/bin/sh
# api_test.sh finds what it should, in a tree made up here.
set -u
api=$(cd "$(dirname "$0")" && pwd)/api_test.sh
tree=$(mktemp -d "${TEST_TMPDIR:-/tmp}/api.XXXXXX") || exit 1
trap 'rm -rf "$tree"' EXIT
failed=0

# expect NAME STATUS TEXT: what api_test.sh says of the tree.
expect() {
    output=$("$api" "$tree" 2>&1)
    status=$?
    case $output in
    *"$3"*) [ "$status" -eq "$2" ] && return ;;
    esac
    echo "$1: wanted exit status $2 and \"$3\", got $status and: $output"
    failed=1
}

# bad FILE TEXT COMPLAINT: with this in a file of the tree there must be a complaint.
bad() {
    cp "$tree/$1" "$tree/saved"
    printf '%b' "$2" >>"$tree/$1"
    expect "$2" 1 "$3"
    mv "$tree/saved" "$tree/$1"
}

# good FILE TEXT: with this there must be none.
good() {
    cp "$tree/$1" "$tree/saved"
    printf '%b' "$2" >>"$tree/$1"
    expect "$2" 0 "functions are tested"
    mv "$tree/saved" "$tree/$1"
}

mkdir -p "$tree/xev" "$tree/mpsc" "$tree/tests"
cd "$tree" || exit 1
expect "empty tree" 1 "no public headers"
cat >tests/BUILD <<'END'
PUBLIC_HEADERS = {
    "mpsc/q.h": "//mpsc",
    "xev/a.h": "//xev",
    "xev/xev.h": "//xev",
}

[
    conformance_test(
        name = name,
        srcs = [name + ".c"],
        deps = [":a_scene"],
    )
    for name in [
        "a_test",
        "misuse_test",
    ]
]

cc_test(
    name = "one_backend_test",
    srcs = ["one_backend_test.c"],
)
END
printf '#include "xev/a.h"\n' >xev/xev.h
printf 'extern "C" {\n/* Pushes. */\nvoid xev_q_push(struct q *q);\n}\n' >mpsc/q.h
cat >xev/a.h <<'END'
/* void xev_a_of_a_comment(void); */
#define XEV_A(x) \
    void xev_a_of_a_macro(x)
XEV_BEGIN_DECLS
typedef int (*xev_cb)(struct loop *loop);
struct a {
    void (*xev_a_field)(int);
};
/* Receives. */
XEV_NODISCARD int xev_a_recv(struct loop *loop, xev_completion *c, const void *buf,
                             size_t len_bytes, void *userdata,
                             xev_cb cb);
static inline bool xev_a_is(bool on) { return xev_a_of_a_body(on); }
void xev__a_private(void);
XEV_END_DECLS
END
cat >tests/a_scene.h <<'END'
static inline void unused(void) {
    xev_a_more();
}
static inline void inner(void) {
    xev_a_scene();
}
static inline void helper(void) {
    inner();
}
END
cat >tests/a_test.c <<'END'
TEST(a) {
    if (xev_a_is (true)) { helper(); }
    xev_a_recv(1);
}
END
cat >tests/misuse_test.c <<'END'
TEST(misuse) {
    SUBMITS(xev_a_recv, L, C, bytes, 1, NULL, CB);
    DIES(xev_a_recv, buf, L, C, NULL, 1, NULL, CB);
    REFUSES(xev_a_recv, len_bytes, XEV_EINVAL,
            bytes);
}
END
echo 'TEST(b) { xev_a_once(); xev_q_push(1); }' >tests/one_backend_test.c
expect "good tree" 0 "3 public functions are tested"

bad xev/a.h 'void xev_a_more(void);\n' "xev/a.h: xev_a_more: no test calls it"
bad xev/a.h 'void xev_a_once(void);\n' "xev_a_once: no test calls it on each backend"
bad xev/a.h 'static inline int\nxev_a_inline(\n    void) { return 0; }\n' "xev_a_inline: no test"
bad xev/a.h 'XEV_PRINTF(1, 2) void *xev_a_pointer(void);\n' "xev_a_pointer: no test"
bad xev/a.h 'void xev_a_scen(void);\n' "xev_a_scen: no test" # a part of a name
bad mpsc/q.h 'void xev_q_pop(struct q *q);\n' "mpsc/q.h: xev_q_pop: no test calls it"
bad xev/a.h '\nvoid\nxev_a_scene(void);\n' "xev_a_scene: no comment says what it does"
bad xev/a.h '\nvoid xev_a_scene(void); /* later */\n' "xev_a_scene: no comment"
bad xev/xev.h '#include "xev/b.h"\n' "xev/b.h: in xev.h, not in PUBLIC_HEADERS"
good xev/a.h 'void xev_a_scene(void);\n'
good xev/a.h '/* void\n * xev_a_more(void);\n */\n// void xev_a_more(void);\n'

echo 'void xev_a_more(void);' >>xev/a.h
bad tests/a_test.c '/* xev_a_more(); */\n' "xev_a_more: no test"
bad tests/a_test.c '/* a "\n xev_a_more(); */ // xev_a_more()\n' "xev_a_more: no test"
bad tests/a_test.c 'TEST(c) { f("xev_a_more()", "\\"xev_a_more()"); }\n' "xev_a_more: no test"
bad tests/a_test.c 'TEST(c) { xev_a_more_of_it(); my_xev_a_more(); }\n' "xev_a_more: no test"
good tests/a_test.c 'TEST(c) { f("/*"); xev_a_more(); }\n'
good tests/a_test.c 'TEST(c) { unused(); }\n'
good tests/a_test.c '#define F(x) \\\n    xev_a_more(x)\n'
sed -i '$d' xev/a.h

echo 'int xev_a_is(struct a *a, int n, bool on);' >>xev/a.h
bad tests/misuse_test.c 'DIES(xev_a_is, a, NULL, 1);\n' "xev_a_is: no row for its argument n"
bad tests/misuse_test.c 'DIES(xev_a_is, n, NULL, 1);\n' "xev_a_is: no row for its argument a"
bad tests/misuse_test.c '/* DIES(xev_a_is, n, 1); */ DIES(xev_a_is, a, 1);\n' "its argument n"
bad tests/a_test.c 'DIES(xev_a_is, a, NULL, 1);\nDIES(xev_a_is, n, NULL, 1);\n' "its argument a"
good tests/misuse_test.c 'DIES(xev_a_is, a, NULL, 1); TAKES(xev_a_is,\n     n, NULL, 1);\n'
sed -i '$d' xev/a.h

# Order of arguments. `takes ARGUMENTS COMPLAINT`: of a function with these.
takes() { bad xev/a.h "void xev_a_more($1);\n" "xev_a_more: $2"; }
takes 'xev_completion *c, xev_loop *loop' "the loop stands behind a completion"
takes 'int fd, int n, xev_loop *loop' "the loop is argument 3"
takes 'xev_loop *loop, int n, xev_a_req *req' "req stands behind n"
takes 'xev_loop *loop, xev_cb cb, void *userdata' "the callback cb is not the last"
takes 'xev_loop *loop, xev_cb cb, void *userdata' "userdata does not stand before the callback"
takes 'xev_loop *loop, void *arg, int n, xev_a_fn fn' "arg does not stand before the callback"
takes 'xev_loop *loop, void *arg, xev_work_fn fn, xev_cb cb' "fn does not stand before its userdata"
sed -i '$d' tests/misuse_test.c
for argument in fd target n fn; do
    echo "    DIES(xev_a_scene, $argument, 1);" >>tests/misuse_test.c
done
echo '    SUBMITS(xev_a_scene, L, C);' >>tests/misuse_test.c
echo '}' >>tests/misuse_test.c
good xev/a.h 'void xev_a_scene(int fd, xev_loop *loop, xev_completion *target, xev_completion *c,
                  int n, xev_work_fn fn, void *userdata, xev_cb cb);\n'
good xev/a.h 'void xev_a_scene(int fd, int n, xev_message_fn fn, void *arg);\n'
good xev/a.h 'void xev_a_scene(int fd, void *userdata, xev_a_cb cb);\n'
bad xev/a.h 'typedef void (*xev_a_fn)(void *userdata,\n    int fd);\n' "xev_a_fn: userdata is not the last"
bad xev/a.h 'struct b { int (*stop)(int n, void *arg, int m); };\n' "stop: userdata is not the last"
good xev/a.h 'typedef void (*xev_a_fn)(int fd, void *userdata);\n'

# Units of time.
takes 'uint64_t timeout_ns' "timeout_ns is in ns"
bad xev/a.h 'void xev_a_more_ns(uint64_t timeout_ms);\n' "timeout_ms is not in ns"
bad xev/a.h 'void xev_a_more(uint64_t timeout);\n' "timeout: a time"
bad xev/a.h 'void xev_a_more(int n, uint32_t idle_s, int m);\n' "idle_s: a time"
bad xev/a.h 'struct b {\n    uint64_t since_ms, wait_us;\n};\n' "wait_us: a time"
bad xev/a.h 'struct b {\n    uint64_t n,\n        deadline;\n};\n' "deadline: a time"
good xev/a.h 'static inline int xev__linger(void) { return 1; }\nstruct b { uint64_t since_ms, *due_ns;\n    const char *until;\n};\n'
good xev/a.h '/* uint64_t deadline; */ struct b {\n    uint64_t deadlines_s2;\n};\n'
exit "$failed"
