'use strict';
// A reverse proxy that opens one connection to its upstream for each request.
const http = require('http');

if (process.argv.length !== 4) {
  console.error('usage: node proxy.js PORT http://UPSTREAM:PORT');
  process.exit(2);
}
const [port, upstream] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: false });

http.createServer((request, response) => {
  const options = { method: request.method, headers: request.headers, agent };
  const forwarded = http.request(new URL(request.url, upstream), options, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  forwarded.on('error', () => {
    if (!response.headersSent) response.writeHead(502);
    response.end();
  });
  request.pipe(forwarded);
}).listen(Number(port), '127.0.0.1', 4096);
