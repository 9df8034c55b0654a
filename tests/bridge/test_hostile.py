"""Requests made from the bridge's own description, right ones and bent ones, under the sanitizers: every one is
answered, in time, with a status that is not the bridge's fault and with a sentence; and the bridge lives on."""
import json
import os
import random
import re
import socket
import urllib.parse

import pytest

from host import Timeout, read_head

SEED = int(os.environ.get("HOSTILE_SEED", random.randrange(1 << 32)))
REQUESTS = int(os.environ.get("HOSTILE_REQUESTS", 6000))
# What ends the sandbox that the others need. What is left may do no harm outside of it: no text here is a path
# or a command that would.
LEFT_OUT = {"killSandbox", "hibernateSandbox", "rebootSandbox", "powerCycleSandbox", "setTimeout", "setLimits",
            "createSandbox", "restoreCheckpoint", "createFromCheckpoint", "addGuest", "removeGuest"}
TEXTS = ["", "a", "/tmp/hostile", "/tmp/hostile/b/c", "tmp/x", "/bin/true", "true", "exit 3", "\u00e4\u4e2d\U0001f600",
         "x" * 300, "y" * 5000, "z" * 70000, "a\nb", "a\x01b", "\x7f", "%00", "0", "-1", "null", "[]", "{}", "*", "[a-",
         "(((((((((", "\\", "\"", "2026-11-20T00:00:00Z", "sb-00000000", "TERM", "base", "1-", "bytes=0-"]
NUMBERS = [0, 1, 2, 7, -1, -2, 0.5, 1e300, 80, 4096, 2**31, 2**32, 2**53, 2**63, 2**64, -2**63, 10**30]


class Maker:
    """Values for a schema: mostly what it says, often enough something else."""

    def __init__(self, rng, api):
        self.rng, self.api = rng, api

    def any(self, depth=0):
        kind = self.rng.randrange(8 if depth < 4 else 6)
        return (self.rng.choice(TEXTS), self.rng.choice(NUMBERS), True, False, None, self.rng.choice(TEXTS),
                [self.any(depth + 1) for _ in range(self.rng.randrange(4))] if kind == 6 else None,
                {self.rng.choice(TEXTS): self.any(depth + 1) for _ in range(self.rng.randrange(4))}
                if kind == 7 else None)[kind]

    def value(self, schema, depth=0):
        if "$ref" in schema:
            schema = self.api["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        if self.rng.random() < 0.12 or depth > 6:
            return self.any()
        if "enum" in schema:
            return self.rng.choice(schema["enum"])
        for name in ("oneOf", "anyOf", "allOf"):
            if name in schema:
                return self.value(self.rng.choice(schema[name]), depth + 1)
        kind = schema.get("type", "object" if "properties" in schema else None)
        kind = self.rng.choice(kind) if isinstance(kind, list) else kind
        if kind == "object":
            found = {name: self.value(inner, depth + 1) for name, inner in schema.get("properties", {}).items()
                     if self.rng.random() < 0.6 or name in schema.get("required", ())}
            if isinstance(schema.get("additionalProperties"), dict):
                found.update({self.rng.choice(TEXTS): self.value(schema["additionalProperties"], depth + 1)
                              for _ in range(self.rng.randrange(3))})
            return found
        if kind == "array":
            return [self.value(schema.get("items", {}), depth + 1) for _ in range(self.rng.randrange(4))]
        if kind in ("integer", "number"):
            return self.rng.choice(NUMBERS)
        if kind == "boolean":
            return self.rng.random() < 0.5
        return self.rng.choice(TEXTS) if kind == "string" else self.any()

    def body(self, op):
        content = op.get("requestBody", {}).get("content", {})
        luck = self.rng.random()
        if "application/json" in content:
            data = json.dumps(self.value(content["application/json"].get("schema", {}))).encode()
        else:
            data = self.rng.randbytes(self.rng.choice([0, 0, 1, 100, 70000])) if content else b""
        if luck < 0.04:
            data = data[:self.rng.randrange(len(data) + 1)]
        elif luck < 0.08 and data:
            at = self.rng.randrange(len(data))
            data = data[:at] + self.rng.randbytes(1) + data[at + 1:]
        elif luck < 0.09:
            data = b"[" * 300 + b"]" * 300
        elif luck < 0.10:
            data = b'{"cmd":"true","cmd":5,"' + b"k" * 100000 + b'":1}'
        return data


def fill(rng, path, params, known):
    def one(match):
        if rng.random() < 0.8 and match.group(1) in known:
            return rng.choice(known[match.group(1)])
        return urllib.parse.quote(rng.choice(TEXTS)[:2000], safe="") or "-"
    path = re.sub(r"\{(\w+)\}", one, path)
    query = [(p["name"], rng.choice(TEXTS + [str(n) for n in NUMBERS])[:4000]) for p in params
             if p["in"] == "query" and rng.random() < 0.7]
    if not re.search(r"[?]", path) and query:
        path += "?" + urllib.parse.urlencode(query)
    return path[:12000]


def ask(bridge, method, path, body, headers):
    """The status and the body as far as it came; streams are left when their head is there."""
    with bridge.raw(20) as sock:
        lines = [f"{method} /api{path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"] + headers
        try:
            sock.sendall("\r\n".join(lines + ["", ""]).encode("latin-1") + body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has its answer already
        try:
            head, rest = read_head(sock)
        except socket.timeout:
            raise Timeout(f"no answer to {method} {path} {body[:300]!r}") from None
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        while length and len(rest) < int(length.group(1)):
            more = sock.recv(65536)
            if not more:
                break
            rest += more
        return int(head.split(b" ", 2)[1]), rest


@pytest.mark.seconds(240)
def test_requests_from_the_description(bridge):
    rng = random.Random(SEED)
    print(f"HOSTILE_SEED={SEED}")
    api = bridge.get("/openapi.json").json()
    maker = Maker(rng, api)
    sandbox = bridge.create()
    sessions = [bridge.post(f"/sandboxes/{sandbox}/exec", {"cmd": "cat"}).json()["sessionID"] for _ in range(3)]
    sessions.append(bridge.post(f"/sandboxes/{sandbox}/pty", {}).json()["sessionID"])
    known = {"id": [sandbox], "sid": sessions, "execId": sessions}
    ops = [(method.upper(), path, op) for path, item in api["paths"].items() for method, op in item.items()
           if op["operationId"] not in LEFT_OUT]
    later = [o for o in ops if "later" in o[2].get("tags", ())]
    ops = [o for o in ops if o not in later]
    seen = {}
    for i in range(REQUESTS):
        method, path, op = rng.choice(later if rng.random() < 0.03 else ops)
        target = fill(rng, path, op.get("parameters", []), known)
        headers = [f"X-API-Key: {bridge.key}"] if rng.random() < 0.95 else []
        if rng.random() < 0.1:
            headers.append(rng.choice(["Range: bytes=5-2", "Range: bytes=0-,9-", "X-OSB-Async-Wake: 1", "Accept: */*",
                                       "If-None-Match: *", "Content-Type: text/plain", "X-Request-Id: " + "r" * 500,
                                       "Last-Event-ID: x", "Authorization: Bearer a.b.c", "Connection: close"]))
        body = maker.body(op)
        status, answer = ask(bridge, method, target, body, headers)
        about = f"HOSTILE_SEED={SEED} #{i} {method} {target[:500]} {body[:500]!r} -> {status} {answer[:300]!r}"
        assert 200 <= status < 600 and status not in (500, 504), about
        if status >= 400:
            assert json.loads(answer)["error"], about
        seen.setdefault(op["operationId"], set()).add(status)
    assert bridge.get("/health").status == 200
    assert bridge.run(sandbox, "echo alive")["stdout"] == "alive\n", "the sandbox has not survived it"
    assert len(seen) > len(ops) * 0.9
    assert sum(any(s < 300 for s in statuses) for statuses in seen.values()) > len(ops) / 3, \
        "hardly anything was right: this guards nothing"
