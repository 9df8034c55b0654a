"""A guest that the tests look into: its files are this machine's, so what the bridge says can be compared with them."""
import hashlib
import json
import socket
import struct
import urllib.parse

import pytest


class Guest:
    """A sandbox of `bridge`, and short words for its files' routes. Paths: str, bytes or pathlib."""

    def __init__(self, bridge, name):
        self.bridge, self.name = bridge, name
        self.base = f"/sandboxes/{name}/files"

    def url(self, route="", path=None, **query):
        """The path of a request, with the bytes of the names as they are."""
        if path is not None:
            query["path"] = path if isinstance(path, (str, bytes)) else str(path)
        return self.base + route + ("?" + urllib.parse.urlencode(query) if query else "")

    def get(self, path, route="", headers=None, **query):
        return self.bridge.get(self.url(route, path, **query), headers=headers)

    def put(self, path, body=b"", route="", headers=None, **query):
        return self.bridge.put(self.url(route, path, **query), body, headers=headers)

    def delete(self, path):
        return self.bridge.delete(self.url("", path))

    def mkdir(self, path):
        return self.bridge.post(self.url("/mkdir", path))

    def list(self, path):
        reply = self.get(path, "/list")
        assert reply.status == 200, reply
        return reply.json()

    def post(self, route, body, headers=None):
        return self.bridge.post(self.base + route, body, headers=headers)

    def open(self, method, url, headers=None, body=b"", version="1.1"):
        """Sends a request by hand; gives the socket, nothing of the answer is read."""
        sock = self.bridge.raw(timeout=60)
        lines = [f"{method} {self.bridge.path(url)} HTTP/{version}", "Host: test", f"X-API-Key: {self.bridge.key}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        sock.sendall("\r\n".join(lines + ["", ""]).encode() + body)
        return sock


@pytest.fixture
def guest(bridge, agent):
    return Guest(bridge, bridge.adopt(agent))


@pytest.fixture
def top(tmp_path):
    return tmp_path


def reset(sock):
    """Hangs up so that the other side gets an error, not an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def sha(data):
    return hashlib.sha256(data).hexdigest()


class Events:
    """Server-sent events of an answer that goes on."""

    def __init__(self, sock):
        self.file = sock.makefile("rb")
        self.sock = sock
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.file.readline()
            assert line, f"hung up within the head: {head}"
            head += line
        self.head = head
        self.status = int(head.split()[1])
        self.rest = b""

    def chunk(self):
        """The next chunk; b"" at the end."""
        size = int(self.file.readline() or b"0", 16)
        data = self.file.read(size)
        assert self.file.readline() == b"\r\n"
        return data

    def next(self):
        """(event, data, id) of the next event, comments as ("", comment, None); None at the end."""
        while b"\n\n" not in self.rest:
            more = self.chunk()
            if not more:
                return None
            self.rest += more
        block, _, self.rest = self.rest.partition(b"\n\n")
        if block.startswith(b":"):
            return "", block[1:].strip().decode(), None
        fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
        return fields.get("event"), json.loads(fields["data"]), fields.get("id")

    def close(self):
        self.file.close()
        self.sock.close()
