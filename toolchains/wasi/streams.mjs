// The sockets that a program can have: connections and listeners of TCP, its standard input, and
// pairs that lead to each other without any network. All live in the main thread.
//
// A stream has: take(max) -> Uint8Array, fill (bytes to be read), ended, failed (an errno or 0),
// room (bytes that can be written), write(bytes), shut(), close(). It calls changed() when one of
// these may have changed.
import net from 'node:net';

const ROOM = 65536; // what a stream takes before its reader has read any of it

export const errno = {
  AGAIN: 6, BADF: 8, CONNRESET: 15, INVAL: 28, NOTCONN: 53, NOTSOCK: 57, PIPE: 64,
};

// Bytes in the order in which they came.
class Bytes {
  #pieces = [];
  length = 0;

  push(piece) {
    this.#pieces.push(piece);
    this.length += piece.length;
  }

  take(max) {
    const out = [];
    for (let left = Math.min(max, this.length); left > 0;) {
      const piece = this.#pieces[0];
      const part = piece.subarray(0, left);
      if (part.length === piece.length) this.#pieces.shift();
      else this.#pieces[0] = piece.subarray(left);
      out.push(part);
      left -= part.length;
      this.length -= part.length;
    }
    return Buffer.concat(out);
  }
}

// A connection of TCP, or the standard input, which is only read.
export class Connection {
  #socket;
  #in = new Bytes();
  #shut = false;
  ended = false;
  failed = 0;

  constructor(socket, changed) {
    this.#socket = socket;
    socket.on('data', (data) => {
      this.#in.push(data);
      if (this.#in.length >= 4 * ROOM) socket.pause();
      changed();
    });
    socket.on('end', () => { this.ended = true; changed(); });
    socket.on('error', () => { this.failed = errno.CONNRESET; changed(); });
    socket.on('close', () => { this.ended = true; changed(); });
    socket.on('drain', changed);
  }

  get fill() { return this.#in.length; }

  take(max) {
    const bytes = this.#in.take(max);
    if (this.#in.length < ROOM && this.#socket.isPaused()) this.#socket.resume();
    return bytes;
  }

  get room() {
    if (this.#shut || this.#socket.destroyed || this.#socket.writable !== true) return -1;
    return Math.max(0, ROOM - this.#socket.writableLength);
  }

  write(bytes) { this.#socket.write(bytes); }

  shut() {
    this.#shut = true;
    this.#socket.end();
  }

  close() {
    if (this.#in.length > 0) this.#socket.resetAndDestroy?.(); // as a system does with unread data
    else this.#socket.destroySoon?.();
  }
}

// One end of a pair.
class End {
  #in = new Bytes();
  #changed;
  other = null;
  ended = false;
  closed = false;
  failed = 0;

  constructor(changed) { this.#changed = changed; }

  get fill() { return this.#in.length; }

  take(max) {
    const bytes = this.#in.take(max);
    this.#changed();
    return bytes;
  }

  get room() {
    if (this.other.ended || this.other.closed) return -1;
    return Math.max(0, ROOM - this.other.fill);
  }

  write(bytes) {
    this.other.#in.push(bytes);
    this.#changed();
  }

  shut() {
    this.other.ended = true;
    this.#changed();
  }

  close() {
    this.closed = true;
    if (this.#in.length > 0) this.other.failed = errno.CONNRESET;
    this.shut();
  }
}

export function makePair(changed) {
  const [a, b] = [new End(changed), new End(changed)];
  a.other = b;
  b.other = a;
  return [a, b];
}

// A listener of TCP.
export class Listener {
  waiting = [];
  #server;

  constructor(changed) {
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.waiting.push(new Connection(socket, changed));
      changed();
    });
  }

  listen(host, port) {
    return new Promise((resolve, reject) => {
      this.#server.on('error', reject);
      this.#server.listen(port, host, () => resolve(this.#server.address().port));
    });
  }

  accept() { return this.waiting.shift(); }

  close() {
    this.#server.close();
    for (const connection of this.waiting) connection.close();
    this.waiting = [];
  }
}

// Accepts the two ends of a pair in turn, of as many pairs as are asked for.
export class PairListener {
  waiting = [null]; // there is always one
  #changed;
  #second = null;

  constructor(changed) { this.#changed = changed; }

  accept() {
    if (this.#second !== null) {
      const end = this.#second;
      this.#second = null;
      return end;
    }
    const [a, b] = makePair(this.#changed);
    this.#second = b;
    return a;
  }

  close() {}
}
