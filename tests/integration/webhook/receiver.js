// A receiver of callbacks that verifies each call with the reference library of Standard Webhooks and
// answers as the path asks. Every call is one JSON line on stdout.
//
//   node receiver.js PORT SECRET [CERT KEY]      with a certificate it speaks TLS
//
// /ok 200; /fail/N the first N calls of an id get 500; /later the first gets 429 and Retry-After 1; /gone 410;
// /redirect 302 to /trap; /cut the first answer breaks off; /slow answers after 3 s; /silent never.
"use strict";
const fs = require("fs");
const { Webhook } = require("standardwebhooks");

const [port, secret, cert, key] = process.argv.slice(2);
const webhook = new Webhook(secret);
const calls = new Map();

function answer(path, n, res) {
  const [, what, arg] = path.split("/");
  const first = n === 1;
  if (what === "fail" && n <= Number(arg)) res.writeHead(500).end("no");
  else if (what === "later" && first) res.writeHead(429, { "Retry-After": "1" }).end();
  else if (what === "gone") res.writeHead(410).end();
  else if (what === "redirect") res.writeHead(302, { Location: "/trap" }).end();
  else if (what === "slow") setTimeout(() => res.writeHead(200).end("late"), 3000);
  else if (what === "silent") return;
  else if (what === "cut" && first) {
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

const server = cert
  ? require("https").createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, onRequest)
  : require("http").createServer(onRequest);
server.listen(Number(port), "127.0.0.1");
