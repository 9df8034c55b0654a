"""Requests made up from /openapi.json: each route with values that fit its description, nearly fit it, or are nonsense.

Whatever comes, the bridge (under ASan) answers each with a status it documents or a plain refusal, never 500, and a
sandbox that nobody touched goes on working. FUZZ_SEED and FUZZ_SECONDS make a run anew, or a longer one.
"""
import http.client
import json
import os
import random
import string
import time
import urllib.parse

import pytest

from host import HandshakeRefused, eventually

SECONDS = int(os.environ.get("FUZZ_SECONDS", "20"))
SEED = int(os.environ.get("FUZZ_SEED", "0")) or random.SystemRandom().randrange(1 << 32)

STRANGE = ["", " ", "\0", "..", "../../etc", "/", "//", "%", "a" * 300, "ä€𐍈", "\ud800", "null", "0", "-1", "{}", "'; true", "$(id)", "\r\nX: y",
           "/proc/self/mem", "/dev/zero", "/no/such", "x000000000000", "sb-00000000"]
NUMBERS = [0, -1, 1, 2, 80, 2**31 - 1, 2**31, 2**53, 2**63, -2**63, 2**64, 1.5, 1e300]
LEFT_ALONE = {"/metrics", "/openapi.json"}


class Maker:
    """Values by schema; `wild` is how often one is something else."""

    def __init__(self, rng, components):
        self.rng, self.components = rng, components

    def text(self):
        rng = self.rng
        return rng.choice([rng.choice(STRANGE), "".join(rng.choices(string.printable, k=rng.randrange(20))), "/tmp/f", "echo hi", "/tmp"])

    def anything(self, depth=0):
        rng = self.rng
        kinds = [lambda: None, lambda: rng.random() < 0.5, lambda: rng.choice(NUMBERS), self.text]
        if depth < 3:
            kinds += [lambda: [self.anything(depth + 1) for _ in range(rng.randrange(4))],
                      lambda: {self.text(): self.anything(depth + 1) for _ in range(rng.randrange(4))}]
        return rng.choice(kinds)()

    def value(self, schema, wild=0.15):
        rng = self.rng
        if "$ref" in schema:
            schema = self.components[schema["$ref"].rpartition("/")[2]]
        if rng.random() < wild:
            return self.anything()
        for word in ("oneOf", "anyOf"):
            if word in schema:
                return self.value(rng.choice(schema[word]), wild)
        if "enum" in schema:
            return rng.choice(schema["enum"])
        kind = schema.get("type", "string")
        kind = rng.choice(kind) if isinstance(kind, list) else kind
        if kind in ("integer", "number"):
            return rng.choice([schema.get("minimum", 0), schema.get("maximum", 100), schema.get("default", 1), rng.choice(NUMBERS), 1, 2])
        if kind == "boolean":
            return rng.random() < 0.5
        if kind == "array":
            return [self.value(schema.get("items", {}), wild) for _ in range(rng.randrange(4))]
        if kind == "object":
            needed = schema.get("required", [])
            made = {name: self.value(member, wild) for name, member in schema.get("properties", {}).items()
                    if rng.random() < (0.95 if name in needed else 0.4)}
            if "additionalProperties" in schema and isinstance(schema["additionalProperties"], dict):
                made |= {self.text(): self.value(schema["additionalProperties"], wild) for _ in range(rng.randrange(3))}
            return made
        return schema.get("default") or self.text()


def as_json(value):
    """As text; half a surrogate pair goes as it is, which is no UTF-8."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def mangled(rng, body):
    """One in ten is no JSON any more."""
    if body and rng.random() < 0.1:
        at = rng.randrange(len(body))
        return rng.choice([body[:at], body[:at] + bytes([rng.randrange(256)]) + body[at + 1:], body * 2, b"[" * 5000])
    return body


@pytest.mark.seconds(SECONDS + 100)
@pytest.mark.bridge(driver="external")
def test_routes_and_bodies(bridge, start_agent):
    """No request makes it fall over, answer 500, or hurt a sandbox it was not for."""
    rng = random.Random(SEED)
    spared, victim = (bridge.adopt(start_agent()) for _ in range(2))
    api = bridge.get("/openapi.json").json()
    maker = Maker(rng, api["components"]["schemas"])
    routes = [(path, method, what) for path, ways in sorted(api["paths"].items()) if path not in LEFT_ALONE
              for method, what in ways.items() if method in ("get", "put", "post", "delete", "patch")]
    keep = bridge.post(f"/sandboxes/{spared}/exec", {"cmd": "cat"}).json()["sessionID"]
    counts, until = {}, time.monotonic() + SECONDS
    while time.monotonic() < until:
        path, method, what = rng.choice(routes)
        if path.startswith("/admin"):
            continue
        ids = {"id": victim} if rng.random() < 0.9 else {"id": maker.text()}
        for part in path.split("/"):
            if part.startswith("{"):
                name = part[1:-1]
                path = path.replace(part, urllib.parse.quote(ids.get(name) or maker.text() or "x", safe="", errors="surrogatepass"))
        query = {one["name"]: maker.value(one.get("schema", {})) for one in what.get("parameters", [])
                 if one["in"] == "query" and rng.random() < 0.8}
        query = urllib.parse.urlencode({name: str(value) for name, value in query.items()}, errors="surrogatepass")
        content = next(iter(what.get("requestBody", {}).get("content", {}).items()), (None, {}))
        body = None
        if content[0] == "application/json":
            body = mangled(rng, as_json(maker.value(content[1].get("schema", {}))))
        elif content[0] or rng.random() < 0.05:
            body = rng.randbytes(rng.randrange(2000))
        status = ask(bridge, method.upper(), f"{path}?{query}" if query else path, body, "101" in what.get("responses", {}))
        counts[status] = counts.get(status, 0) + 1
        assert status != 500, f"seed {SEED}: {method} {path}?{query} {body!r}"
        assert bridge.proc.poll() is None, f"seed {SEED}: it ended at {method} {path}?{query} {body!r}"
        if bridge.get(f"/sandboxes/{victim}").json().get("status") != "running":
            victim = bridge.adopt(start_agent())
    assert sum(counts.values()) > 10 * SECONDS and len(counts) > 4, counts
    assert bridge.run(spared, "echo well")["stdout"] == "well\n"
    listed = {one["sessionID"]: one for one in bridge.get(f"/sandboxes/{spared}/exec").json()}
    assert listed[keep]["running"]


def ask(bridge, method, path, body, socket):
    """The status; 0 when a stream was left in the middle, or the connection was cut."""
    if socket:
        try:
            bridge.websocket(path.partition("?")[0], timeout=10).cut()
            return 101
        except HandshakeRefused as refused:
            return refused.status
        except (OSError, http.client.HTTPException):
            return 0
    connection = bridge.connection(10)
    try:
        connection.request(method, "/api" + path, body, {"X-API-Key": bridge.key})
        answer = connection.getresponse()
        answer.read(100000)
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


@pytest.mark.bridge(driver="external")
def test_nobody_is_told_without_a_key(bridge, agent):
    """Every route that is not public refuses, whatever else is asked for."""
    sandbox = bridge.adopt(agent)
    api = bridge.get("/openapi.json").json()
    for path, ways in api["paths"].items():
        for method, what in ways.items():
            if method not in ("get", "put", "post", "delete", "patch") or what.get("security") == []:
                continue
            for name in ("id", "sid", "execId"):
                path = path.replace("{%s}" % name, sandbox if name == "id" else "x000000000000")
            reply = bridge.request(method.upper(), path.replace("{", "").replace("}", ""), key=None)
            # 426: said of the path, before anybody asks who it is.
            assert reply.status in (401, 403, 426), (method, path, reply)
    eventually(lambda: bridge.get("/health").status == 200, "it to be well")
