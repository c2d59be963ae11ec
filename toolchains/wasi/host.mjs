// The host's side of a program that runs in a worker: answers its calls for sockets, and waits for
// them in its stead. The worker posts a call and sleeps until its answer is there.
import { MessageChannel } from 'node:worker_threads';
import { errno } from './streams.mjs';

export const FIRST_SOCKET = 1024; // the numbers below are those of node:wasi's files

// As Host's #forAll.
const forStreams = {
  recv(stream, { max }) {
    if (stream.failed !== 0) return { error: stream.failed };
    if (stream.fill > 0) return { error: 0, data: stream.take(max) };
    return stream.ended ? { error: 0, data: new Uint8Array(0) } : undefined;
  },
  send(stream, { data }) {
    if (stream.failed !== 0) return { error: stream.failed };
    const { room } = stream;
    if (room < 0) return { error: errno.PIPE };
    if (room === 0 && data.length > 0) return undefined;
    const part = Buffer.from(data.subarray(0, room));
    stream.write(part);
    return { error: 0, length: part.length };
  },
  shutdown(stream) {
    stream.shut();
    return { error: 0 };
  },
};

export class Host {
  #descriptors = new Map();
  #flag = new Int32Array(new SharedArrayBuffer(4));
  #waiting = null; // the call that waits for a stream to change
  #timer = null;
  changed = () => { if (this.#waiting !== null) this.#waiting(); };

  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    this.guest = { port: port2, flag: this.#flag.buffer };
    port1.on('message', (call) => this.#take(call));
  }

  // The number of the socket: the lowest that is free, as elsewhere.
  add(socket) {
    let fd = FIRST_SOCKET;
    while (this.#descriptors.has(fd)) fd++;
    this.#descriptors.set(fd, socket);
    return fd;
  }

  set(fd, stream) { this.#descriptors.set(fd, stream); }

  end() {
    clearTimeout(this.#timer);
    this.#waiting = null;
    for (const socket of this.#descriptors.values()) socket.close();
    this.port.close();
  }

  #answer(answer) {
    clearTimeout(this.#timer);
    this.#waiting = null;
    this.port.postMessage(answer);
    Atomics.add(this.#flag, 0, 1);
    Atomics.notify(this.#flag, 0);
  }

  // Answer with what attempt() returns, as soon as that is not undefined.
  #answerWhen(attempt) {
    const again = () => {
      this.#waiting = null; // what attempt does may change a stream
      const answer = attempt();
      if (answer === undefined) this.#waiting = again;
      else this.#answer(answer);
    };
    again();
  }

  #take(call) {
    if (call.name === 'poll') {
      this.#poll(call.subscriptions, call.until);
      return;
    }
    const socket = this.#descriptors.get(call.fd);
    if (socket === undefined) {
      this.#answer({ error: errno.BADF });
      return;
    }
    const listens = socket.accept !== undefined;
    if (call.name in forStreams && listens) {
      this.#answer({ error: errno.NOTCONN });
    } else if (call.name === 'accept' && !listens) {
      this.#answer({ error: errno.INVAL });
    } else {
      const carryOut = forStreams[call.name] ?? this.#forAll[call.name];
      this.#answerWhen(() => {
        const answer = carryOut(socket, call);
        return answer === undefined && call.nonblocking ? { error: errno.AGAIN } : answer;
      });
    }
  }

  // Each answers, or with undefined: not yet.
  #forAll = {
    accept: (listener) =>
      (listener.waiting.length > 0 ? { error: 0, fd: this.add(listener.accept()) } : undefined),
    know: () => ({ error: 0 }),
    close: (socket, { fd }) => {
      this.#descriptors.delete(fd);
      socket.close();
      return { error: 0 };
    },
  };

  // What holds of a subscription, as the fields of an event; null: it does not hold.
  #holds({ fd, write }) {
    const socket = this.#descriptors.get(fd);
    if (socket === undefined) return { error: errno.BADF, bytes: 0, hangup: false };
    if (socket.accept !== undefined) {
      return !write && socket.waiting.length > 0 ? { error: 0, bytes: 1, hangup: false } : null;
    }
    if (socket.failed !== 0) return { error: 0, bytes: 0, hangup: true };
    if (write) {
      const room = socket.room;
      return room !== 0 ? { error: 0, bytes: Math.max(room, 0), hangup: room < 0 } : null;
    }
    return socket.fill > 0 || socket.ended
      ? { error: 0, bytes: socket.fill, hangup: socket.ended } : null;
  }

  // until: of process.hrtime.bigint(), or null. Answers with the events of descriptors only.
  #poll(subscriptions, until) {
    const attempt = () => {
      const events = [];
      for (const subscription of subscriptions) {
        const event = this.#holds(subscription);
        if (event !== null) events.push({ index: subscription.index, ...event });
      }
      const late = until !== null && process.hrtime.bigint() >= until;
      return events.length > 0 || late ? { events } : undefined;
    };
    this.#answerWhen(attempt);
    if (until !== null && this.#waiting !== null) {
      const arm = () => {
        const ms = Number(until - process.hrtime.bigint()) / 1e6;
        this.#timer = setTimeout(() => {
          this.changed();
          if (this.#waiting !== null) arm();
        }, Math.min(Math.max(1, Math.ceil(ms)), 0x7fffffff));
      };
      arm();
    }
  }
}
