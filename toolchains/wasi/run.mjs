// run.mjs [--dir GUEST=HOST]... [--listen HOST:PORT]... [--pairs] PROGRAM [ARG]...
//
// Runs a program of WASI preview 1 under Node 20, with what node:wasi lacks: sockets. Those of
// --listen and --pairs are open descriptors of the program, from 1024 on, in this order. With
// --listen a line "listening on PORT" goes to stderr for each. --pairs is a listener for tests: of
// the connections that it accepts the first and the second lead to each other, and so on.
//
// As `bazel test --run_under` (there is TEST_TMPDIR) it has --pairs, and an empty folder as "." and
// as "/tmp". A program that names cases for --list is run once for each, with --case; see
// tests/test_main.c. The last line is then the sum, as tests/test_check.c prints it.
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { FIRST_SOCKET, Host } from './host.mjs';
import { Connection, Listener, PairListener } from './streams.mjs';

const CHECK_FAILED = 97; // tests/runner.h
const CASE_LIMIT_MS = 150_000;

function usage() {
  console.error('usage: run.mjs [--dir GUEST=HOST]... [--listen HOST:PORT]... [--pairs] '
    + 'PROGRAM [ARG]...');
  process.exit(2);
}

function parse(words) {
  const options = { dirs: {}, listen: [], pairs: false };
  while (words.length > 0 && words[0].startsWith('--')) {
    const word = words.shift();
    if (word === '--pairs') {
      options.pairs = true;
    } else if (word === '--dir' && words[0]?.includes('=')) {
      const [, guest, host] = words.shift().match(/^([^=]*)=(.*)$/);
      options.dirs[guest] = host;
    } else if (word === '--listen' && /^.+:\d+$/.test(words[0] ?? '')) {
      const [, host, port] = words.shift().match(/^(.+):(\d+)$/);
      options.listen.push({ host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) });
    } else {
      usage();
    }
  }
  if (words.length === 0) usage();
  return { ...options, program: words[0], args: words.slice(1) };
}

// The exit status of one run.
async function run(module, { program, args, dirs, listen, pairs, input, stdout, limitMs }) {
  const host = new Host();
  if (input) host.set(0, new Connection(process.stdin, host.changed));
  for (const { host: name, port } of listen) {
    const listener = new Listener(host.changed);
    console.error(`listening on ${await listener.listen(name, port)}`);
    host.add(listener);
  }
  if (pairs) host.add(new PairListener(host.changed));
  const worker = new Worker(new URL('./guest.mjs', import.meta.url), {
    workerData: {
      module, args: [program, ...args], env: process.env, preopens: dirs, stdout: stdout ?? 1,
      firstSocket: FIRST_SOCKET, hasInput: input, ...host.guest,
    },
    transferList: [host.guest.port],
  });
  let late;
  const status = await new Promise((resolve) => {
    worker.on('error', (error) => { console.error(error); resolve(98); });
    worker.on('exit', resolve);
    if (limitMs !== undefined) {
      late = setTimeout(() => {
        console.error(`wasi: not ended within ${limitMs} ms`);
        worker.terminate();
      }, limitMs);
    }
  });
  clearTimeout(late);
  host.end();
  return status;
}

const folders = (scratch) => ({ '.': scratch, '/tmp': scratch });

// A run of a test, with an empty folder.
async function runTest(module, options, args, stdout) {
  const scratch = mkdtempSync(join(process.env.TEST_TMPDIR, 'wasi-'));
  const status = await run(module, {
    ...options, args, stdout, dirs: folders(scratch), pairs: true, limitMs: CASE_LIMIT_MS,
  });
  rmSync(scratch, { recursive: true, force: true });
  return status;
}

// The names that --list prints. None: the program does not know it.
async function listCases(module, options) {
  const path = join(process.env.TEST_TMPDIR, 'cases');
  const file = openSync(path, 'w');
  const status = await runTest(module, options, ['--list'], file);
  closeSync(file);
  const names = readFileSync(path, 'utf8').split('\n').filter((line) => line !== '');
  return { status, names };
}

async function runCases(module, options) {
  const { status, names } = await listCases(module, options);
  if (status !== 0 || names.length === 0) return status;
  const failed = [];
  let errors = 0;
  for (const name of names) {
    const result = await runTest(module, options, ['--case', name]);
    if (result === 0) continue;
    failed.push(name);
    if (result !== CHECK_FAILED) {
      errors++;
      console.log(`${basename(options.program)}: ${name} ended with status ${result}`);
    }
  }
  const passed = names.length - failed.length;
  console.log(`${Math.floor((passed * 100) / names.length)}%: Checks: ${names.length}, `
    + `Failures: ${failed.length - errors}, Errors: ${errors}`);
  for (const name of failed) console.log(`FAILED ${name}`);
  return failed.length > 0 ? 1 : 0;
}

const options = parse(process.argv.slice(2));
const module = new WebAssembly.Module(readFileSync(options.program));
const isTest = process.env.TEST_TMPDIR !== undefined && options.listen.length === 0;
process.exit(isTest
  ? await runCases(module, { ...options, input: false })
  : await run(module, { ...options, input: true }));
