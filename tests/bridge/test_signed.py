"""Signed URLs: who has one needs nothing else, and can do with it just what it is for."""
import hashlib
import hmac
import re
import time
import urllib.parse

import pytest

from guests import Guest, guest
from harness import eventually

pytestmark = pytest.mark.bridge(driver="external")


def make(guest, op, path, **fields):
    reply = guest.post(f"/{op}-url", {"path": str(path), **fields})
    assert reply.status == 200, reply
    return reply.json()


def follow(guest, url, method="GET", body=None, **changes):
    """Asks for a signed URL, with its parameters changed (None: left out), and no credentials."""
    parts = urllib.parse.urlsplit(url)
    assert parts.netloc == f"127.0.0.1:{guest.bridge.port}" and parts.scheme == "http"
    query = dict(urllib.parse.parse_qsl(parts.query))
    query = {name: value for name, value in {**query, **changes}.items() if value is not None}
    return guest.bridge.request(method, parts.path.removeprefix("/api") + "?" + urllib.parse.urlencode(query), body,
                                key=None)


def test_download(guest, tmp_path):
    """What the file is when it is asked for, again and again; no key is needed."""
    path = tmp_path / "a b+c&d.txt"
    path.write_bytes(b"first")
    signed = make(guest, "download", path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", signed["expiresAt"])
    assert f"/api/sandboxes/{guest.name}/files/download?path=" in signed["url"]
    reply = follow(guest, signed["url"])
    assert (reply.status, reply.body) == (200, b"first")
    assert 'filename="a b+c&d.txt"' in reply.headers["Content-Disposition"]
    path.write_bytes(b"second")
    assert follow(guest, signed["url"]).body == b"second"
    path.unlink()
    assert follow(guest, signed["url"]).status == 404


def test_upload(guest, tmp_path):
    signed = make(guest, "upload", tmp_path / "f")
    for data in b"one", b"", b"x" * 3000000:
        assert follow(guest, signed["url"], "PUT", data).status == 204
        assert (tmp_path / "f").read_bytes() == data


def test_the_signature_is_hmac_of_five_lines(guest, tmp_path):
    """Whoever has the secret can check it as the original does: here only its form, and that each part counts."""
    url = make(guest, "download", tmp_path / "f")["url"]
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    assert re.fullmatch(r"[0-9a-f]{64}", query["signature"]) and query["path"] == str(tmp_path / "f")
    assert len(hmac.new(b"", b"", hashlib.sha256).hexdigest()) == 64


def test_how_long_it_lives(guest, tmp_path):
    """An hour; what is not over 0 too; never more than a day."""
    for asked, given in (None, 3600), (0, 3600), (-5, 3600), (60, 60), (86400, 86400), (10 ** 12, 86400):
        fields = {} if asked is None else {"expiresIn": asked}
        url = make(guest, "download", tmp_path / "f", **fields)["url"]
        expires = int(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))["expires"])
        assert abs(expires - time.time() - given) < 5, (asked, expires)


def test_refusals(guest, tmp_path):
    """Each part that is changed makes it void; nothing is done then."""
    (tmp_path / "f").write_bytes(b"old")
    down = make(guest, "download", tmp_path / "f")["url"]
    up = make(guest, "upload", tmp_path / "f")["url"]
    short = make(guest, "download", tmp_path / "f", expiresIn=1)["url"]
    good = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(down).query))["signature"]
    other = ("0" if good[0] != "0" else "1") + good[1:]
    cases = [
        (follow(guest, down, path=None), 400, ""),
        (follow(guest, down, expires=None), 400, ""),
        (follow(guest, down, signature=None), 400, ""),
        (follow(guest, down, expires="soon"), 400, "expires"),
        (follow(guest, down, expires="1"), 403, "expired"),
        (follow(guest, down, expires=str(int(time.time()) + 5000)), 403, "invalid signature"),
        (follow(guest, down, path=str(tmp_path / "g")), 403, "invalid signature"),
        (follow(guest, down, signature=other), 403, "invalid signature"),
        (follow(guest, down, signature=good[:-2]), 403, "invalid signature"),
        (follow(guest, down, signature=good + "00"), 403, "invalid signature"),
        (follow(guest, down, signature="xyz"), 403, "invalid signature encoding"),
        (follow(guest, down, signature=good[:-1]), 403, "invalid signature encoding"),
        (follow(guest, down.replace("/download", "/upload"), "PUT", b"new"), 403, "invalid signature"),
        (follow(guest, up.replace("/upload", "/download")), 403, "invalid signature"),
        (follow(guest, down.replace(guest.name, "sb-other")), 404, ""),
        (guest.post("/download-url", {}), 400, "path is required"),
        (guest.post("/upload-url", {"path": ""}), 400, "path is required"),
        (guest.post("/upload-url", {"path": 7}), 400, ""),
        (guest.post("/upload-url", [1]), 400, ""),
        (guest.bridge.post(guest.base + "/download-url", {"path": "/f"}, key=None), 401, ""),
    ]
    for i, (reply, status, words) in enumerate(cases):
        assert reply.status == status and words in reply.error(), (i, reply)
    assert (tmp_path / "f").read_bytes() == b"old"
    reply = eventually(lambda: (found := follow(guest, short)).status != 200 and found, "its second to be over")
    assert reply.status == 403 and "expired" in reply.error()


def test_upper_case(guest, tmp_path):
    """Hex is hex."""
    (tmp_path / "f").write_bytes(b"x")
    url = make(guest, "download", tmp_path / "f")["url"]
    good = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))["signature"]
    assert follow(guest, url, signature=good.upper()).body == b"x"


def test_behind_a_proxy(guest, tmp_path):
    """The URL is of the host and the scheme that the client used."""
    reply = guest.post("/download-url", {"path": "/f"}, headers={"Host": "box.example:81", "X-Forwarded-Proto": "https"})
    assert reply.json()["url"].startswith(f"https://box.example:81/api/sandboxes/{guest.name}/files/download?path=%2Ff&")


def test_another_sandbox(bridge, guest, start_agent, tmp_path):
    """A URL is of one sandbox."""
    other = Guest(bridge, bridge.adopt(start_agent()))
    (tmp_path / "f").write_bytes(b"x")
    url = make(guest, "download", tmp_path / "f")["url"]
    assert follow(other, url.replace(guest.name, other.name)).status == 403


def test_it_survives_a_restart(guest, tmp_path):
    """The secret lies in the store."""
    (tmp_path / "f").write_bytes(b"x")
    url = make(guest, "download", tmp_path / "f")["url"]
    guest.bridge.restart()
    assert follow(guest, url).body == b"x"


def test_neither_in_the_log(start_bridge, agent, tmp_path):
    """The signature is a credential: the access log has no query."""
    bridge = start_bridge("--access-log", driver="external")
    guest = Guest(bridge, bridge.adopt(agent))
    (tmp_path / "secret-name").write_bytes(b"x")
    url = make(guest, "download", tmp_path / "secret-name")["url"]
    assert follow(guest, url).status == 200
    assert "files/download" in bridge.log()
    assert "signature" not in bridge.log() and "secret-name" not in bridge.log()
