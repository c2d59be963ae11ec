// A WASI program, in a worker. Files, arguments and the rest are node:wasi's; what that lacks or does
// wrongly is here: sockets, the standard input without blocking, and poll_oneoff. (Of Node 20:
// poll_oneoff fails as a whole where one descriptor is a file, and a clock's absolute time never
// comes.)
import { WASI } from 'node:wasi';
import { receiveMessageOnPort, workerData } from 'node:worker_threads';

const {
  module, args, env, preopens, stdout, port, flag: buffer, firstSocket, hasInput,
} = workerData;
const SUBSCRIPTION_BYTES = 48;
const EVENT_BYTES = 32;
const CLOCK = 0;
const FD_WRITE = 2;
const NONBLOCK = 4;
const BADF = 8;
const INVAL = 28;
const NOTSOCK = 57;
const SOCKET_STREAM = 6;
const ALL_RIGHTS = 0xffffffffn;

const flag = new Int32Array(buffer);
const wasi = new WASI({ version: 'preview1', args, env, preopens, stdout, returnOnExit: true });
const imports = wasi.getImportObject();
const calls = imports.wasi_snapshot_preview1;
const files = { ...calls };
const nonblocking = new Set();
const isOurs = (fd) => fd >= firstSocket || (fd === 0 && hasInput);
let instance;

const view = () => new DataView(instance.exports.memory.buffer);
const memory = () => new Uint8Array(instance.exports.memory.buffer);

function ask(call) {
  const before = Atomics.load(flag, 0); // the host counts its answers there
  port.postMessage(call);
  Atomics.wait(flag, 0, before);
  for (;;) {
    const answer = receiveMessageOnPort(port);
    if (answer !== undefined) return answer.message;
    Atomics.wait(flag, 0, before + 1, 1); // counted, and not there yet
  }
}

function pieces(at, count) {
  const v = view();
  return Array.from({ length: count }, (_, i) =>
    ({ at: v.getUint32(at + 8 * i, true), length: v.getUint32(at + 8 * i + 4, true) }));
}

function recv(fd, at, count, lengthAt) {
  const into = pieces(at, count);
  const max = into.reduce((sum, piece) => sum + piece.length, 0);
  const { error, data } = ask({ name: 'recv', fd, max, nonblocking: nonblocking.has(fd) });
  if (error !== 0) return error;
  let done = 0;
  for (const piece of into) {
    const part = data.subarray(done, done + piece.length);
    memory().set(part, piece.at);
    done += part.length;
  }
  view().setUint32(lengthAt, done, true);
  return 0;
}

function send(fd, at, count, lengthAt) {
  const parts = pieces(at, count).map((piece) => memory().slice(piece.at, piece.at + piece.length));
  const data = parts.length === 1 ? parts[0] : new Uint8Array(Buffer.concat(parts));
  const { error, length } = ask({ name: 'send', fd, data, nonblocking: nonblocking.has(fd) });
  if (error === 0) view().setUint32(lengthAt, length, true);
  return error;
}

// The error of a call for sockets on what is none.
function noSocket(fd) {
  const room = instance.exports.memory.buffer.byteLength - 64; // nothing stands at its end
  const saved = memory().slice(room, room + 24);
  const error = files.fd_fdstat_get(fd, room);
  memory().set(saved, room);
  return error === 0 ? NOTSOCK : BADF;
}

function setFlags(fd, flags) {
  if ((flags & NONBLOCK) !== 0) nonblocking.add(fd);
  else nonblocking.delete(fd);
}

calls.sock_accept = (fd, flags, fdAt) => {
  if (!isOurs(fd)) return noSocket(fd);
  const { error, fd: accepted } = ask({ name: 'accept', fd, nonblocking: nonblocking.has(fd) });
  if (error === 0) {
    setFlags(accepted, flags);
    view().setUint32(fdAt, accepted, true);
  }
  return error;
};
calls.sock_recv = (fd, at, count, flags, lengthAt, flagsAt) => {
  if (!isOurs(fd)) return noSocket(fd);
  view().setUint16(flagsAt, 0, true);
  return recv(fd, at, count, lengthAt);
};
calls.sock_send = (fd, at, count, flags, lengthAt) =>
  (isOurs(fd) ? send(fd, at, count, lengthAt) : noSocket(fd));
calls.sock_shutdown = (fd, how) => {
  if (!isOurs(fd)) return noSocket(fd);
  return (how & 2) !== 0 ? ask({ name: 'shutdown', fd }).error : 0;
};
calls.fd_read = (fd, at, count, lengthAt) =>
  (isOurs(fd) ? recv(fd, at, count, lengthAt) : files.fd_read(fd, at, count, lengthAt));
calls.fd_write = (fd, at, count, lengthAt) =>
  (fd >= firstSocket ? send(fd, at, count, lengthAt) : files.fd_write(fd, at, count, lengthAt));
calls.fd_close = (fd) => {
  nonblocking.delete(fd);
  return fd >= firstSocket ? ask({ name: 'close', fd }).error : files.fd_close(fd);
};
calls.fd_fdstat_set_flags = (fd, flags) => {
  if (!isOurs(fd)) return files.fd_fdstat_set_flags(fd, flags);
  setFlags(fd, flags);
  return 0;
};
calls.fd_fdstat_get = (fd, at) => {
  if (fd < firstSocket) {
    const error = files.fd_fdstat_get(fd, at);
    if (error === 0 && nonblocking.has(fd)) {
      view().setUint16(at + 2, view().getUint16(at + 2, true) | NONBLOCK, true);
    }
    return error;
  }
  const { error } = ask({ name: 'know', fd });
  if (error !== 0) return error;
  const v = view();
  v.setUint8(at, SOCKET_STREAM);
  v.setUint16(at + 2, nonblocking.has(fd) ? NONBLOCK : 0, true);
  v.setBigUint64(at + 8, ALL_RIGHTS, true);
  v.setBigUint64(at + 16, ALL_RIGHTS, true);
  return 0;
};

// The same clock for the program as for poll_oneoff.
calls.clock_time_get = (id, precision, at) => {
  if (id !== 1) return files.clock_time_get(id, precision, at);
  view().setBigUint64(at, process.hrtime.bigint(), true);
  return 0;
};

// When a clock's subscription is due, of process.hrtime.bigint().
function dueTime(v, at) {
  const isRealtime = v.getUint32(at + 16, true) === 0;
  const time = v.getBigUint64(at + 24, true);
  const isAbsolute = (v.getUint16(at + 40, true) & 1) !== 0;
  const now = process.hrtime.bigint();
  if (!isAbsolute) return now + time;
  return isRealtime ? now + time - BigInt(Date.now()) * 1000000n : time;
}

function sleepUntil(time) {
  const nobody = new Int32Array(new SharedArrayBuffer(4));
  for (let left; (left = time - process.hrtime.bigint()) > 0n;) {
    Atomics.wait(nobody, 0, 0, Number(left) / 1e6);
  }
}

// The events of descriptors, of which each is {index, error, bytes, hangup}; waits until there are
// some, or until that time.
function waitFor(ours, ready, until) {
  if (ready.length > 0 || ours.length === 0) {
    if (ready.length === 0) sleepUntil(until);
    if (ours.length === 0) return ready;
    until = process.hrtime.bigint();
  }
  return [...ready, ...ask({ name: 'poll', subscriptions: ours, until }).events];
}

calls.poll_oneoff = (at, eventsAt, count, countAt) => {
  if (count === 0) return INVAL;
  const v = view();
  const all = [];
  const ours = [];
  const ready = [];
  let until = null;
  for (let index = 0; index < count; index++) {
    const sub = at + SUBSCRIPTION_BYTES * index;
    const one = { userdata: v.getBigUint64(sub, true), type: v.getUint8(sub + 8) };
    all.push(one);
    if (one.type === CLOCK) {
      one.due = dueTime(v, sub);
      if (until === null || one.due < until) until = one.due;
      continue;
    }
    const fd = v.getUint32(sub + 16, true);
    if (isOurs(fd)) {
      ours.push({ index, fd, write: one.type === FD_WRITE });
    } else {
      const error = files.fd_fdstat_get(fd, eventsAt); // the room there is enough
      ready.push({ index, error, bytes: 1, hangup: false });
    }
  }
  const events = waitFor(ours, ready, until);
  const now = process.hrtime.bigint();
  all.forEach(({ type, due }, index) => {
    if (type === CLOCK && due <= now) events.push({ index, error: 0, bytes: 0, hangup: false });
  });
  const out = view();
  events.forEach(({ index, error, bytes, hangup }, i) => {
    const event = eventsAt + EVENT_BYTES * i;
    memory().fill(0, event, event + EVENT_BYTES);
    out.setBigUint64(event, all[index].userdata, true);
    out.setUint16(event + 8, error, true);
    out.setUint8(event + 10, all[index].type);
    out.setBigUint64(event + 16, BigInt(bytes), true);
    out.setUint16(event + 24, hangup ? 1 : 0, true);
  });
  out.setUint32(countAt, events.length, true);
  return 0;
};

instance = new WebAssembly.Instance(module, imports);
let status;
try {
  status = wasi.start(instance);
} catch (error) {
  console.error(`wasi: ${error.message}`); // a trap: abort() is one
  status = 134;
}
process.exit(status);
