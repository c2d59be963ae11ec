//! An echo server on libxev's TCP watcher, one thread: a completion and a buffer per connection,
//! one read at a time, written back whole.
const std = @import("std");
const xev = @import("xev");
const linux = std.os.linux;

const Conn = struct {
    completion: xev.Completion,
    socket: xev.TCP,
    buffer: [32 * 1024]u8,
    len: usize, // to write
    written: usize,
};

const allocator = std.heap.c_allocator;

fn flag(args: []const [:0]const u8, name: []const u8, otherwise: []const u8) []const u8 {
    for (args, 0..) |arg, i| {
        if (std.mem.eql(u8, arg, name) and i + 1 < args.len) return args[i + 1];
    }
    return otherwise;
}

fn read(conn: *Conn, loop: *xev.Loop) void {
    conn.socket.read(loop, &conn.completion, .{ .slice = &conn.buffer }, Conn, conn, onRead);
}

fn write(conn: *Conn, loop: *xev.Loop) void {
    const rest = conn.buffer[conn.written..conn.len];
    conn.socket.write(loop, &conn.completion, .{ .slice = rest }, Conn, conn, onWrite);
}

fn close(conn: *Conn, loop: *xev.Loop) void {
    conn.socket.close(loop, &conn.completion, Conn, conn, onClose);
}

fn onRead(
    conn: ?*Conn,
    loop: *xev.Loop,
    _: *xev.Completion,
    _: xev.TCP,
    _: xev.ReadBuffer,
    result: xev.ReadError!usize,
) xev.CallbackAction {
    const n = result catch 0;
    if (n == 0) {
        close(conn.?, loop);
    } else {
        conn.?.len = n;
        conn.?.written = 0;
        write(conn.?, loop);
    }
    return .disarm;
}

fn onWrite(
    conn: ?*Conn,
    loop: *xev.Loop,
    _: *xev.Completion,
    _: xev.TCP,
    _: xev.WriteBuffer,
    result: xev.WriteError!usize,
) xev.CallbackAction {
    conn.?.written += result catch {
        close(conn.?, loop);
        return .disarm;
    };
    if (conn.?.written < conn.?.len) write(conn.?, loop) else read(conn.?, loop);
    return .disarm;
}

fn onClose(
    conn: ?*Conn,
    _: *xev.Loop,
    _: *xev.Completion,
    _: xev.TCP,
    _: xev.CloseError!void,
) xev.CallbackAction {
    allocator.destroy(conn.?);
    return .disarm;
}

fn onAccept(
    _: ?*void,
    loop: *xev.Loop,
    _: *xev.Completion,
    result: xev.AcceptError!xev.TCP,
) xev.CallbackAction {
    const socket = result catch return .rearm;
    const conn = allocator.create(Conn) catch @panic("out of memory");
    const on: c_int = 1;
    _ = linux.setsockopt(socket.fd, linux.IPPROTO.TCP, linux.TCP.NODELAY, @ptrCast(&on), @sizeOf(c_int));
    conn.socket = socket;
    read(conn, loop);
    return .rearm;
}

fn onTerminate(_: linux.SIG) callconv(.c) void {
    linux.exit_group(0);
}

pub fn main(init: std.process.Init) !void {
    const args = try init.minimal.args.toSlice(init.arena.allocator());
    const host = flag(args, "--host", "127.0.0.1");
    const port = try std.fmt.parseInt(u16, flag(args, "--port", "0"), 10);
    const address = try std.Io.net.IpAddress.parse(host, port);
    var loop = try xev.Loop.init(.{ .entries = 4096 });
    defer loop.deinit();
    const socket = try xev.TCP.init(address);
    try socket.bind(address);
    try socket.listen(4096);

    var name: linux.sockaddr.in = undefined;
    var name_len: linux.socklen_t = @sizeOf(linux.sockaddr.in);
    _ = linux.getsockname(socket.fd, @ptrCast(&name), &name_len);
    var line: [64]u8 = undefined;
    const text = try std.fmt.bufPrint(&line, "listening on {s}:{d}\n", .{ host, std.mem.bigToNative(u16, name.port) });
    _ = linux.write(1, text.ptr, text.len);
    const action: linux.Sigaction = .{
        .handler = .{ .handler = onTerminate },
        .mask = linux.sigemptyset(),
        .flags = 0,
    };
    _ = linux.sigaction(.TERM, &action, null);

    var accept: xev.Completion = undefined;
    socket.accept(&loop, &accept, void, null, onAccept);
    try loop.run(.until_done);
}
