"""What is about the bridge itself: health, figures, the description of the API and its being true."""
import json
import re

import pytest

from host import bridge_command

pytestmark = pytest.mark.bridge(driver="external")


def routes():
    """(method, pattern, operation, flags) as the program has them."""
    code, out, _ = bridge_command("routes")
    assert code == 0
    return [(m, p, n, set(f.split(",")) - {"-"}) for m, p, n, f in (line.split() for line in out.splitlines())]


@pytest.mark.parametrize("path, status", [("/health", "ok"), ("/healthz", "alive"), ("/readyz", "ready")])
def test_health(bridge, path, status):
    """Without credentials, with and without /api, also by HEAD."""
    for prefix in ("", "/api"):
        bridge.prefix = prefix
        reply = bridge.get(path, key=None)
        assert reply.status == 200 and reply.json() == {"status": status}
        reply = bridge.request("HEAD", path, key=None)
        assert reply.status == 200 and reply.body == b""


def test_whoami(bridge):
    assert bridge.get("/whoami").json()["credential"] == "key"
    assert bridge.get("/whoami", key=None).status == 401


def test_workers(bridge):
    workers = bridge.get("/workers").json()
    assert [w["id"] for w in workers] and workers[0]["driver"] == "external"


def test_sessions(bridge, agent):
    """Sandboxes, by status; removed ones are stopped."""
    sandbox = bridge.adopt(agent)
    assert [(s["sandboxID"], s["status"]) for s in bridge.get("/sessions").json()] == [(sandbox, "running")]
    assert bridge.get("/sessions", query={"status": "stopped"}).json() == []
    assert bridge.delete(f"/sandboxes/{sandbox}").status == 204
    assert [s["status"] for s in bridge.get("/sessions").json()] == ["stopped"]


# ---- figures

def figures(bridge, **how):
    reply = bridge.get("/metrics", **how)
    assert reply.status == 200 and reply.headers["Content-Type"].startswith("text/plain")
    text = reply.body.decode()
    values = dict(re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.M))
    return text, values


def test_metrics(bridge, agent):
    """In Prometheus' form, every sample with its TYPE; requests are counted by route and class."""
    bridge.adopt(agent)
    for _ in range(3):
        bridge.get("/health")
    bridge.get("/nowhere")
    bridge.get("/workers", key="wrong")
    text, values = figures(bridge, key=None)
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+=\"[^\"]*\"(,[a-z]+=\"[^\"]*\")*\})? \S+", line)
    typed = set(re.findall(r"^# TYPE (\S+)", text, re.M))
    for name in values:
        assert re.sub(r"\{.*|_(bucket|sum|count)(?=\{|$)", "", name) in typed, name
    assert values['bridge_requests_total{route="getHealth",class="2xx"}'] == "3"
    assert values['bridge_requests_total{route="listWorkers",class="4xx"}'] == "1"
    assert values['bridge_requests_total{route="none",class="4xx"}'] == "1"
    assert values['bridge_sandboxes{state="running"}'] == "1"
    assert int(values["bridge_request_seconds_count"]) >= 6
    assert values['bridge_request_seconds_bucket{le="+Inf"}'] == values["bridge_request_seconds_count"]
    assert float(values["process_resident_memory_bytes"]) > 1e6


def test_metrics_through_a_proxy(bridge):
    """What came to a proxy on this machine is not from this machine."""
    forwarded = {"X-Forwarded-Proto": "https"}
    assert bridge.get("/metrics", key=None, headers=forwarded).status == 403
    assert bridge.get("/metrics", headers=forwarded).status == 200


def test_websockets_are_counted(bridge, agent):
    """Those that are open, and none when they are gone."""
    from host import eventually
    sandbox = bridge.adopt(agent)
    session = bridge.post(f"/sandboxes/{sandbox}/exec", {"cmd": "cat"}).json()["sessionID"]
    socks = [bridge.websocket(f"/sandboxes/{sandbox}/exec/{session}") for _ in range(2)]
    assert figures(bridge)[1]["bridge_websockets"] == "2"
    for sock in socks:
        sock.cut()
    eventually(lambda: figures(bridge)[1]["bridge_websockets"] == "0", "the WebSockets to be gone")


# ---- the description

def test_routes_are_described(bridge):
    """Every route is in openapi.json under its name, and nothing else is; its parameters, body and credentials
    are as the route has them."""
    reply = bridge.get("/openapi.json", key=None)
    assert reply.status == 200 and reply.headers["Content-Type"].startswith("application/json")
    api = json.loads(reply.body, object_pairs_hook=no_twins)
    assert api["openapi"] == "3.1.0"
    described = {(method.upper(), path): op for path, ops in api["paths"].items() for method, op in ops.items()}
    told = {(m, re.sub(r":(\w+)", r"{\1}", p)): (n, f) for m, p, n, f in routes()}
    assert set(told) - set(described) == set(), "routes without a description"
    assert set(described) - set(told) == set(), "described, and not there"
    for route, (name, flags) in told.items():
        op = described[route]
        assert op["operationId"] == name, route
        assert op.get("summary") and op["responses"], route
        assert sorted(p["name"] for p in op.get("parameters", []) if p["in"] == "path") == \
            sorted(re.findall(r"\{(\w+)\}", route[1])), route
        assert (op.get("security") == []) == bool(flags & {"public", "signed"}), f"{route}: security"
        if "later" in op.get("tags", []):
            assert "501" in op["responses"], route
        elif flags & {"json", "stream"} and "requestBody" not in op:
            assert route[0] != "PUT", f"{route}: no body is described"
    names = [n for n, _ in told.values()]
    assert len(names) == len(set(names)), "two routes of one name"


def no_twins(pairs):
    """A JSON object; twice the same name is a mistake that json would hide."""
    names = [name for name, _ in pairs]
    assert len(names) == len(set(names)), f"twice: {[n for n in names if names.count(n) > 1]}"
    return dict(pairs)


def test_no_route_twice():
    """Two tables with the same route: one of them would never be asked."""
    seen = [(m, re.sub(r":\w+", ":", p)) for m, p, _, _ in routes()]
    assert sorted(seen) == sorted(set(seen))


def test_nobody_is_told_without_a_key(bridge, agent):
    """Every route that is not public refuses, whatever else is asked for."""
    sandbox = bridge.adopt(agent)
    for path, ways in bridge.get("/openapi.json").json()["paths"].items():
        path = path.replace("{id}", sandbox).replace("{sid}", "x000000000000").replace("{", "").replace("}", "")
        for method, what in ways.items():
            if method in ("get", "put", "post", "delete", "patch") and what.get("security") != []:
                reply = bridge.request(method.upper(), path, key=None)
                # 426: said of the path, before anybody asks who it is.
                assert reply.status in (401, 403, 426), (method, path, reply)


def test_references_lead_somewhere(bridge):
    """Every $ref is there."""
    api = bridge.get("/openapi.json").json()

    def visit(node):
        if isinstance(node, dict):
            if "$ref" in node:
                target = api
                for part in node["$ref"].removeprefix("#/").split("/"):
                    target = target[part]
            for value in node.values():
                visit(value)
        elif isinstance(node, list):
            for value in node:
                visit(value)
    visit(api)


def test_not_built_yet(bridge, agent):
    """501 and a sentence, never a 404 or an answer that is not true."""
    sandbox = bridge.adopt(agent)
    api = bridge.get("/openapi.json").json()
    later = [(method, path) for path, ops in api["paths"].items() for method, op in ops.items()
             if "later" in op.get("tags", [])]
    assert len(later) > 20
    connection = bridge.connection()
    for method, path in later:
        path = re.sub(r"\{(\w+)\}", lambda m: sandbox if m.group(1) == "id" else "x", path)
        reply = bridge.request(method.upper(), path, {} if method in ("post", "put") else None, connection=connection)
        assert reply.status == 501 and "not built" in reply.error(), (method, path, reply)
        assert bridge.request(method.upper(), path, key=None).status == 401, (method, path)
    connection.close()
    reply = bridge.get("/sandboxes/sb-00000000/preview")
    assert reply.status == 404


def test_page(bridge):
    """The console, and all it asks for; with a policy that lets it load nothing from elsewhere."""
    reply = bridge.get("/", key=None)
    assert reply.status == 200 and reply.headers["Content-Type"].startswith("text/html")
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "*" not in policy
    for path in set(re.findall(r'(?:src|href)="(/console/[^"]+)"', reply.body.decode())):
        assert bridge.get(path, key=None).status == 200, path
    assert bridge.get("/console/nothing.js", key=None).status == 404
    assert bridge.get("/console/..%2fpasswd", key=None).status == 404
