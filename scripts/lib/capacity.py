"""A proxy before DynamoDB that asks what each call consumes, and adds it up.

usage: capacity.py PORT UPSTREAM

Calls pass through; DynamoDB's get ReturnConsumedCapacity. GET /capacity says what was consumed since the last GET, as JSON: "write" and "read" units
and "calls" by operation. Reading the changes feed is left out, since every node does that all the time, whatever the load, and so is the writing of
revocation lists, of which a CA has at most one new a second.
"""
import collections
import http.client
import http.server
import json
import sys
import threading
import urllib.parse

TARGET = "DynamoDB_20120810."
WRITES = {"TransactWriteItems", "PutItem", "UpdateItem", "DeleteItem"}
lock = threading.Lock()
consumed: collections.Counter[str] = collections.Counter()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        with lock:
            units, calls = ({key[1]: value for key, value in consumed.items() if key[0] == kind} for kind in ("units", "calls"))
            consumed.clear()
        self.answer(200, json.dumps({"write": units.get("write", 0), "read": units.get("read", 0), "calls": calls}).encode(), {"content-type": "application/json"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        target = self.headers.get("x-amz-target", "")
        metered = target.startswith(TARGET) and target.removeprefix(TARGET) in WRITES | {"BatchGetItem", "GetItem", "Query"}
        if metered:
            body = json.dumps(json.loads(body) | {"ReturnConsumedCapacity": "TOTAL"}).encode()
        upstream = http.client.HTTPConnection(urllib.parse.urlsplit(sys.argv[2]).netloc, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("content-length", "host", "accept-encoding")}
        upstream.request("POST", self.path, body, headers | {"host": self.headers["host"]})
        answer = upstream.getresponse()
        text = answer.read()
        upstream.close()
        if metered and answer.status == 200 and not writes_list(json.loads(body)):
            add(target.removeprefix(TARGET), json.loads(text))
        self.answer(answer.status, text, {name: value for name, value in answer.getheaders() if name.lower() in ("content-type", "x-amzn-requestid", "x-amz-crc32")})

    def answer(self, status: int, text: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_) -> None:
        pass


def writes_list(request: dict) -> bool:
    puts = [put for item in request.get("TransactItems", []) for put in item.values()] + [request]
    return any(put.get("Item", {}).get("pk", {}).get("S", "").startswith("crl#") for put in puts)


def add(operation: str, answer: dict) -> None:
    capacities = answer.get("ConsumedCapacity", [])
    capacities = [it for it in (capacities if isinstance(capacities, list) else [capacities]) if operation != "Query" or not it["TableName"].endswith("-changes")]
    with lock:
        for capacity in capacities:
            consumed["units", "write" if operation in WRITES else "read"] += capacity["CapacityUnits"]
        if capacities:
            consumed["calls", operation] += 1


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
