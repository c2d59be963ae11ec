#!/usr/bin/env node
// A Node echo server in Node's own manner, one thread: a yardstick for bench:echo_ratio --peer.
'use strict';
const net = require('net');

const flag = (name, otherwise) => {
    const at = process.argv.indexOf(name);
    return at < 0 ? otherwise : process.argv[at + 1];
};

const server = net.createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.pipe(socket);
});
server.listen(Number(flag('--port', '0')), flag('--host', '127.0.0.1'), 4096, () => {
    const { address, port } = server.address();
    console.log(`listening on ${address}:${port}`);
});
process.on('SIGTERM', () => process.exit(0));
