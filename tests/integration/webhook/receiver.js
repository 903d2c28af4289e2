// A receiver of callbacks that verifies each call with the reference library of Standard Webhooks and
// answers as the path asks. Every call is one JSON line on stdout.
//
//   node receiver.js PORT SECRET [CERT KEY]      with a certificate it speaks TLS
//
// HOSTS in the environment: addresses to listen at, by commas, in place of 127.0.0.1.
//
// /ok 200; /fail/N the first N calls of an id get 500; /later the first gets 429 and Retry-After 1; /gone 410;
// /redirect 302 to /trap; /cut the first answer breaks off; /slow answers after 3 s, /slow/N does so N times;
// /silent never; /drip 200 and a body without end, byte by byte; /flood 200 and a large body; /head headers
// without end.
"use strict";
const fs = require("fs");
const { Webhook } = require("standardwebhooks");

const [port, secret, cert, key] = process.argv.slice(2);
const webhook = new Webhook(secret);
const calls = new Map();
const slow = new Map();

/* Until the other side has had enough. */
function pour(res, ms, bytes) {
  const timer = setInterval(() => res.write(bytes), ms);
  res.on("close", () => clearInterval(timer));
}

function isSlow(path, most) {
  const before = slow.get(path) || 0;
  slow.set(path, before + 1);
  return !most || before < Number(most);
}

function answer(path, n, res) {
  const [, what, arg] = path.split("/");
  const first = n === 1;
  if (what === "fail" && n <= Number(arg)) res.writeHead(500).end("no");
  else if (what === "later" && first) res.writeHead(429, { "Retry-After": "1" }).end();
  else if (what === "gone") res.writeHead(410).end();
  else if (what === "redirect") res.writeHead(302, { Location: "/trap" }).end();
  else if (what === "slow" && isSlow(path, arg)) setTimeout(() => res.writeHead(200).end("late"), 3000);
  else if (what === "silent") return;
  else if (what === "drip") pour(res.writeHead(200), 50, "x");
  else if (what === "flood") res.writeHead(200).end(Buffer.alloc(20 << 20, "x"));
  else if (what === "head") {
    res.socket.write("HTTP/1.1 200 OK\r\n");
    pour(res.socket, 1, `X-More: ${"x".repeat(60000)}\r\n`);
  } else if (what === "cut" && first) {
    res.writeHead(200, { "Content-Length": "100" });
    res.write("half");
    setTimeout(() => res.destroy(), 20);
  } else res.writeHead(200).end("thanks");
}

function onRequest(req, res) {
  const parts = [];
  req.on("data", (bytes) => parts.push(bytes));
  req.on("end", () => {
    const body = Buffer.concat(parts).toString("utf8");
    const id = req.headers["webhook-id"];
    const n = (calls.get(id + req.url) || 0) + 1;
    calls.set(id + req.url, n);
    let error = "";
    try {
      webhook.verify(body, req.headers);
    } catch (e) {
      error = String(e);
    }
    process.stdout.write(JSON.stringify({ time_ms: Date.now(), method: req.method, path: req.url, id, n, error,
      trace: [req.headers["traceparent"], req.headers["tracestate"]],
      type: req.headers["content-type"], signatures: (req.headers["webhook-signature"] || "").split(" ").length,
      body: req.headers["content-length"] < 20000 ? JSON.parse(body) : {} }) + "\n");
    answer(req.url, n, res);
  });
}

for (const host of (process.env.HOSTS || "127.0.0.1").split(",")) {
  const server = cert
    ? require("https").createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, onRequest)
    : require("http").createServer(onRequest);
  server.listen(Number(port), host);
}
