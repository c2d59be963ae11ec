// echo_test.mjs RUN PROGRAM: the server PROGRAM, run by RUN, echoes what COUNT clients send at the
// same time, byte for byte, each in pieces of its own sizes; and it ends in order when told.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import net from 'node:net';

const [, , run, program] = process.argv;
const COUNT = 32;
const BYTES = 300_000;

// The n-th byte of a client's data.
const byteOf = (client, n) => (client * 37 + n * 11 + (n >> 8) * 7) & 0xff;

function client(port, number) {
  return new Promise((resolve, reject) => {
    const data = Buffer.from(Array.from({ length: BYTES }, (_, n) => byteOf(number, n)));
    const got = [];
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => {
      for (let at = 0, piece = 2; at < BYTES; at += piece, piece = (piece * 5 + number) % 9973 + 2) {
        socket.write(data.subarray(at, at + piece));
      }
      socket.end();
    });
    socket.on('data', (piece) => got.push(piece));
    socket.on('error', reject);
    socket.on('end', () => {
      const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');
      const all = Buffer.concat(got);
      if (hash(all) === hash(data)) resolve();
      else reject(new Error(`client ${number}: ${all.length} bytes, not those that were sent`));
    });
  });
}

function stop(port) {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1' }, () => socket.end(Buffer.from([4])));
    socket.on('error', reject);
    socket.on('close', resolve);
    socket.resume();
  });
}

// What a wrong command line ends with: a line that names it.
const wrong = [
  [['--listen', '127.0.0.1:99999', program], 'run.mjs: --listen 127.0.0.1:99999: '],
  [['--dir', '/in=/no/such/folder', program], 'run.mjs: --dir /in=/no/such/folder: ENOENT: '],
  [['/no/such/program'], 'run.mjs: /no/such/program: ENOENT: '],
  [[run], `run.mjs: ${run}: WebAssembly.Module(): `],
];
for (const [args, text] of wrong) {
  const { status, stderr } = spawnSync(process.execPath, ['--no-warnings', run, ...args],
    { encoding: 'utf8' });
  if (status !== 1 || !stderr.startsWith(text) || stderr.trim().includes('\n')) {
    console.log(`${args}: status ${status}, ${stderr}`);
    process.exit(1);
  }
}

const server = spawn(process.execPath, ['--no-warnings', run, '--listen', '127.0.0.1:0', program],
  { stdio: ['ignore', 'pipe', 'pipe'] });
server.stdout.pipe(process.stdout);
const ended = new Promise((resolve) => { server.on('exit', resolve); });
const port = await new Promise((resolve, reject) => {
  let text = '';
  server.stderr.on('data', (piece) => {
    text += piece;
    const [, found] = text.match(/listening on ([0-9]+)/) ?? [];
    if (found !== undefined) resolve(Number(found));
  });
  server.stderr.on('end', () => reject(new Error(`the server did not listen: ${text}`)));
});
server.stderr.pipe(process.stderr);
try {
  await Promise.all(Array.from({ length: COUNT }, (_, number) => client(port, number)));
  await stop(port);
} catch (error) {
  console.log(error.message);
  server.kill();
  process.exit(1);
}
const status = await ended;
console.log(`${COUNT} clients, ${BYTES} bytes each; the server ended with status ${status}`);
process.exit(status === 0 ? 0 : 1);
