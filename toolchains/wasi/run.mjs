// run.mjs [--dir GUEST=HOST]... [--listen HOST:PORT]... [--pairs] PROGRAM [ARG]...
//
// Runs a program of WASI preview 1 under Node 20, with what node:wasi lacks: sockets. Those of
// --listen and --pairs are open descriptors of the program, from 1024 on, in this order. With
// --listen a line "listening on PORT" goes to stderr for each. --pairs is a listener for tests: of
// the connections that it accepts the first and the second lead to each other, and so on.
//
// As `bazel test --run_under` (there is TEST_TMPDIR) it has --pairs, and an empty folder as "." and
// as "/tmp". A program that names cases for --list is run once for each, with --case; see
// tests/test_main.c. The last line is then the sum, as tests/test_check.c prints it. A case may end
// because it needs what WASI lacks: a call of POSIX, or one of xev that says XEV_ENOTSUP. Then it has to be in tests/wasi/left_out.txt, as
// "TEST CASE REASON"; one that is there and runs, or gives another reason, is a failure.
import {
  closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { FIRST_SOCKET, Host } from './host.mjs';
import { Connection, Listener, PairListener } from './streams.mjs';

const CHECK_FAILED = 97; // tests/runner.h
const LEFT_OUT = 98; // tests/wasi/posix.c
const NOT_SUPPORTED = /: -58 against /; // a check of a result that is XEV_ENOTSUP
const CASE_LIMIT_MS = 150_000;

function usage() {
  console.error('usage: run.mjs [--dir GUEST=HOST]... [--listen HOST:PORT]... [--pairs] '
    + 'PROGRAM [ARG]...');
  process.exit(2);
}

// What the call throws ends the run with a line, and no stack.
function orFail(what, call) {
  const fail = (error) => {
    console.error(`run.mjs: ${what}: ${error.message}`);
    process.exit(1);
  };
  try {
    const result = call();
    return result instanceof Promise ? result.catch(fail) : result;
  } catch (error) {
    return fail(error);
  }
}

function parse(words) {
  const options = { dirs: {}, listen: [], pairs: false };
  while (words.length > 0 && words[0].startsWith('--')) {
    const word = words.shift();
    if (word === '--pairs') {
      options.pairs = true;
    } else if (word === '--dir' && words[0]?.includes('=')) {
      const [, guest, host] = words.shift().match(/^([^=]*)=(.*)$/);
      orFail(`--dir ${guest}=${host}`, () => readdirSync(host));
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
async function run(module, options) {
  const {
    program, args, dirs, env = process.env, listen, pairs, input, stdout, limitMs,
  } = options;
  const host = new Host();
  if (input) host.set(0, new Connection(process.stdin, host.changed));
  for (const { host: name, port } of listen) {
    const listener = new Listener(host.changed);
    const bound = await orFail(`--listen ${name}:${port}`, () => listener.listen(name, port));
    console.error(`listening on ${bound}`);
    host.add(listener);
  }
  if (pairs) host.add(new PairListener(host.changed));
  const worker = new Worker(new URL('./guest.mjs', import.meta.url), {
    workerData: {
      module, args: [program, ...args], env, preopens: dirs, stdout: stdout ?? 1,
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

// A run of a test, with an empty folder: its status, and what it prints.
async function runTest(module, options, args) {
  const scratch = mkdtempSync(join(process.env.TEST_TMPDIR, 'wasi-'));
  const path = join(process.env.TEST_TMPDIR, 'output');
  const file = openSync(path, 'w');
  const status = await run(module, {
    ...options,
    args,
    stdout: file,
    dirs: { '.': scratch, '/tmp': scratch },
    env: { ...process.env, TEST_TMPDIR: '/tmp' },
    pairs: true,
    limitMs: CASE_LIMIT_MS,
  });
  closeSync(file);
  rmSync(scratch, { recursive: true, force: true });
  return { status, output: readFileSync(path, 'utf8') };
}

// By case of this test, the reason why it is left out.
function leftOut(test) {
  const path = join(process.env.TEST_SRCDIR, process.env.TEST_WORKSPACE, 'tests/wasi/left_out.txt');
  const found = new Map();
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const [, name, test_case, reason] = line.match(/^([^# ]+) ([^ ]+) (.+)$/) ?? [];
    if (name === test) found.set(test_case, reason);
  }
  return found;
}

// What a case needs that WASI lacks: a call of POSIX, or one of xev that says so. Or, where that is
// told, another reason why it fails.
function reasonOf(status, output, told) {
  if (status === LEFT_OUT) return output.match(/^left out: (.*)$/m)?.[1];
  if (status === CHECK_FAILED && NOT_SUPPORTED.test(output)) return 'XEV_ENOTSUP';
  return status !== 0 && told?.startsWith('fails: ') ? told : undefined;
}

// What became of a case: 'passed', 'left out', 'failure' or 'error'. Prints why.
async function runCase(module, options, name, reasons) {
  const wanted = reasons.get(name);
  if (wanted?.startsWith('waits: ')) return 'left out'; // it would not end
  const { status, output } = await runTest(module, options, ['--case', name]);
  const reason = reasonOf(status, output, wanted);
  if (reason !== wanted) {
    process.stdout.write(output);
    console.log(`${name}: ${reason === undefined ? `ended with status ${status}` : `needs ${reason}`}, `
      + `and left_out.txt says ${wanted ?? 'nothing'}`);
    return 'failure';
  }
  if (reason !== undefined) return 'left out';
  process.stdout.write(output);
  if (status === 0) return 'passed';
  if (status === CHECK_FAILED) return 'failure';
  console.log(`${name}: ended with status ${status}`);
  return 'error';
}

async function runCases(module, options) {
  const { status, output } = await runTest(module, options, ['--list']);
  const names = output.split('\n').filter((line) => line !== '');
  if (status !== 0 || names.length === 0) {
    process.stdout.write(output);
    return status; // it knows of no cases
  }
  const reasons = leftOut(basename(options.program).replace(/_wasi_poll$/, ''));
  const became = [];
  for (const name of names) became.push([name, await runCase(module, options, name, reasons)]);
  const count = (what) => became.filter(([, result]) => result === what).length;
  const ran = names.length - count('left out');
  if (count('left out') > 0) console.log(`left out: ${count('left out')}`);
  console.log(`${ran > 0 ? Math.floor((count('passed') * 100) / ran) : 100}%: Checks: ${ran}, `
    + `Failures: ${count('failure')}, Errors: ${count('error')}`);
  const failed = became.filter(([, result]) => result === 'failure' || result === 'error');
  for (const [name] of failed) console.log(`FAILED ${name}`);
  return failed.length > 0 ? 1 : 0;
}

const options = parse(process.argv.slice(2));
const module = orFail(options.program,
  () => new WebAssembly.Module(readFileSync(options.program)));
const isTest = process.env.TEST_TMPDIR !== undefined && options.listen.length === 0;
process.exit(isTest
  ? await runCases(module, { ...options, input: false })
  : await run(module, { ...options, input: true }));
