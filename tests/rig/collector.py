"""An OpenTelemetry collector of the least kind: takes spans over HTTP, checks each byte that it is sent against
OTLP's JSON mapping, and keeps them. It can be told to refuse, or to be silent for a while.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import threading

HEX = {"traceId": re.compile(r"[0-9a-f]{32}"), "spanId": re.compile(r"[0-9a-f]{16}"),
       "parentSpanId": re.compile(r"[0-9a-f]{16}")}
SPAN = {"traceId", "spanId", "parentSpanId", "traceState", "flags", "name", "kind", "startTimeUnixNano",
        "endTimeUnixNano", "attributes", "events", "status"}
NEEDED = {"traceId", "spanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano"}


def check(condition: bool, what: object) -> None:
    if not condition:
        raise AssertionError(f"not OTLP: {what}")


def value_of(v: dict) -> object:
    """The value of an AnyValue: exactly one member, 64-bit integers as text."""
    check(len(v) == 1, v)
    if "stringValue" in v:
        check(isinstance(v["stringValue"], str), v)
        return v["stringValue"]
    if "intValue" in v:
        check(re.fullmatch(r"-?[0-9]+", v["intValue"]), v)
        return int(v["intValue"])
    check("arrayValue" in v and v["arrayValue"].keys() == {"values"}, v)
    return [value_of(each) for each in v["arrayValue"]["values"]]


def attributes_of(attributes: list) -> dict:
    for a in attributes:
        check(a.keys() == {"key", "value"} and a["key"], a)
    out = {a["key"]: value_of(a["value"]) for a in attributes}
    check(len(out) == len(attributes), f"an attribute twice: {attributes}")
    return out


def check_time(text: str) -> None:
    check(isinstance(text, str) and re.fullmatch(r"[0-9]{19}", text), text)


def read_span(s: dict, resource: dict) -> dict:
    """The span with its attributes as a dict, its resource's, and integer times."""
    check(s.keys() <= SPAN and NEEDED <= s.keys(), s)
    for key, form in HEX.items():
        check(key not in s or form.fullmatch(s[key]), s)
    check(set(s["traceId"]) != {"0"} and set(s["spanId"]) != {"0"}, s)
    check(s["kind"] in (1, 2, 3, 4, 5) and isinstance(s["kind"], int), s)
    check(isinstance(s.get("flags", 0), int), s)
    for key in ("startTimeUnixNano", "endTimeUnixNano"):
        check_time(s[key])
    check(int(s["endTimeUnixNano"]) >= int(s["startTimeUnixNano"]), s)
    for e in s.get("events", []):
        check(e.keys() == {"timeUnixNano", "name"}, e)
        check_time(e["timeUnixNano"])
    status = s.get("status", {"code": 0})
    check(status["code"] in (0, 1, 2) and status.keys() <= {"code", "message"}, s)
    return {**s, "attributes": attributes_of(s["attributes"]), "resource": resource,
            "start": int(s["startTimeUnixNano"]), "end": int(s["endTimeUnixNano"])}


def read_request(body: bytes) -> list[dict]:
    request, spans = json.loads(body), []
    check(request.keys() == {"resourceSpans"}, request.keys())
    for r in request["resourceSpans"]:
        check(r.keys() == {"resource", "schemaUrl", "scopeSpans"}, r.keys())
        check(r["resource"].keys() == {"attributes"}, r["resource"])
        resource = attributes_of(r["resource"]["attributes"])
        for scope in r["scopeSpans"]:
            check(scope.keys() == {"scope", "spans"} and scope["scope"]["name"], scope.keys())
            spans += [read_span(s, resource) for s in scope["spans"]]
    check(bool(spans), "a request without spans")
    return spans


class Collector:
    """Use it as a context manager. code: what it answers; nothing while `answers` is clear."""

    def __init__(self) -> None:
        self.code, self.answers = 200, threading.Event()
        self.answers.set()
        self.lock = threading.Lock()
        self.spans: list[dict] = []
        self.bodies: list[bytes] = []
        self.wrong: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.take(self.path, self.headers["content-type"], body)
                outer.answers.wait()
                with contextlib.suppress(OSError):  # who waited has gone
                    self.send_response(outer.code)
                    self.send_header("content-length", "2")
                    self.end_headers()
                    self.wfile.write(b"{}")

            def log_message(self, *_) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> "Collector":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.answers.set()
        self.server.shutdown()
        self.server.server_close()

    def take(self, path: str, content_type: str, body: bytes) -> None:
        with self.lock:
            self.bodies.append(body)
            try:
                check(path == "/v1/traces" and content_type == "application/json", (path, content_type))
                spans = read_request(body)
                if self.code == 200:
                    self.spans += spans
            except Exception as e:  # noqa: BLE001 - the test says what was wrong
                self.wrong.append(repr(e))

    def of_job(self, job_id: str) -> list[dict]:
        """Its spans, each once; one that was sent again must be the same span."""
        found: dict[str, dict] = {}
        with self.lock:
            for s in self.spans:
                if s["attributes"].get("millrace.job.id") == job_id:
                    before = found.setdefault(s["spanId"], s)
                    check((before["name"], before.get("parentSpanId")) == (s["name"], s.get("parentSpanId")),
                          (before, s))
        return list(found.values())
