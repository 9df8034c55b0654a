"""Reading, writing, listing, making and removing the files of a sandbox: what is answered when all is well, with what
status it is refused, and that neither memory nor other clients feel how large a file or how slow a client is."""
# ctest: timeout=600
import base64
import concurrent.futures
import hashlib
import os
import pathlib
import shutil
import socket
import tempfile
import threading
import time

import pytest

from guests import chunk, guest, reset, sha, top
from harness import binary, eventually
from host import read_head

pytestmark = pytest.mark.bridge(driver="external")
MIB = 1 << 20


def noise(n, seed=1):
    """Bytes that do not repeat, quickly."""
    block = hashlib.sha512(str(seed).encode()).digest() * 1024
    return b"".join(i.to_bytes(8, "big") + block[8:] for i in range(n // len(block) + 1))[:n]


# the plain ways

@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, MIB, 3 * MIB + 5])
def test_what_is_written_is_read(guest, top, size):
    """Every size around the limits of frames, buffers and windows; the empty file was unreadable in the original."""
    data = noise(size)
    reply = guest.put(top / "f", data)
    assert (reply.status, reply.body) == (204, b"")
    assert (top / "f").read_bytes() == data
    reply = guest.get(top / "f")
    assert reply.status == 200 and reply.headers["Content-Type"] == "application/octet-stream"
    assert reply.body == data
    if size:
        assert reply.headers["Content-Length"] == str(size)


def test_chunked_upload(guest, top):
    """A body of unknown length, as from a stream of the SDK."""
    parts = [noise(70000, i) for i in range(20)] + [b"x"]
    sock = guest.open("PUT", guest.url("", top / "f"), {"Transfer-Encoding": "chunked"})
    for part in parts:
        sock.sendall(chunk(part))
    assert not (top / "f").exists()
    sock.sendall(chunk(b""))
    head, _ = read_head(sock)
    assert head.startswith(b"HTTP/1.1 204")
    sock.close()
    assert (top / "f").read_bytes() == b"".join(parts)


def test_a_part_is_not_taken_for_the_whole(guest, top):
    """As `curl -C 3 -T FILE` sends it: the file became that part."""
    (top / "f").write_bytes(b"012345")
    reply = guest.put(top / "f", b"345", headers={"Content-Range": "bytes 3-5/6"})
    assert reply.status == 400 and "Content-Range" in reply.error()
    assert (top / "f").read_bytes() == b"012345"


def test_expect_continue(guest, top):
    """curl waits for 100 before it sends a large body."""
    sock = guest.open("PUT", guest.url("", top / "f"), {"Content-Length": 5, "Expect": "100-continue"})
    head, _ = read_head(sock)
    assert head.startswith(b"HTTP/1.1 100")
    sock.sendall(b"12345")
    head, _ = read_head(sock)
    assert head.startswith(b"HTTP/1.1 204")
    sock.close()
    assert (top / "f").read_bytes() == b"12345"


def test_new_files_belong_to_the_directory_s_owner(guest, top):
    """Root-owned uploads cannot be edited by the sandbox's user; parents that are made neither."""
    home = top / "home"
    home.mkdir()
    os.chown(home, 1234, 1235)
    assert guest.put(home / "a/b/c", b"x").status == 204
    assert guest.mkdir(home / "d/e").status == 204
    for path in "a", "a/b", "a/b/c", "d", "d/e":
        st = (home / path).stat()
        assert (st.st_uid, st.st_gid) == (1234, 1235), path
    assert (home / "a/b/c").stat().st_mode & 0o777 == 0o644
    assert (home / "a").stat().st_mode & 0o777 == 0o755


def test_existing_files_keep_mode_and_owner(guest, top):
    """A script that is uploaded again stays one; a link stays a link, what it leads to is written."""
    (top / "f").write_bytes(b"old")
    (top / "f").chmod(0o751)
    os.chown(top / "f", 55, 66)
    (top / "link").symlink_to("f")
    assert guest.put(top / "link", b"new").status == 204
    st = (top / "f").stat()
    assert (top / "f").read_bytes() == b"new" and (top / "link").is_symlink()
    assert (st.st_mode & 0o7777, st.st_uid, st.st_gid) == (0o751, 55, 66)


def test_relative_paths_begin_at_home(guest, top):
    """In the home of the agent's user, as far up as one likes."""
    (top / "f").write_bytes(b"here")
    assert guest.get(os.path.relpath(top / "f", os.path.expanduser("~"))).body == b"here"
    assert guest.get("no/such/file/at/home").status == 404


@pytest.mark.parametrize("name", [
    b"plain", b"with blank", b"plus+and&and=and;and#and?and%41", b"%", b"\xc3\xa4\xe2\x82\xac", b"\xff\xfe",
    b"\x01\x7f", b"'\"\\", b"a" * 255, b"..dots..", b",", b"$(x)`y`"])
def test_names_of_any_bytes(guest, top, name):
    """A Latin-1 name broke the whole listing in the original."""
    path = bytes(top) + b"/" + name
    assert guest.put(path, name).status == 204
    assert os.listdir(bytes(top)) == [name]
    assert guest.get(path).body == name
    entry, = guest.list(bytes(top))
    assert entry["name"] == name.decode(errors="replace") or "\N{REPLACEMENT CHARACTER}" in entry["name"]
    if name == b"\xff\xfe":
        assert entry["nameB64"] == "//4="
    else:
        assert "nameB64" not in entry and entry["path"].endswith("/" + name.decode())
    assert guest.delete(path).status == 204
    assert os.listdir(bytes(top)) == []


def test_names_in_base64(guest, top):
    """For line ends, which an HTTP parser may take for its own."""
    name = base64.b64encode(bytes(top) + b"/new\r\nline").decode()
    assert guest.bridge.put(guest.url("", pathB64=name), b"x").status == 204
    assert os.listdir(top) == ["new\r\nline"]
    assert guest.bridge.get(guest.url("", pathB64=name)).body == b"x"
    for wrong in "", "AA==", "x", "a b=", "%%%%":
        assert guest.bridge.get(guest.url("", pathB64=wrong)).status == 400
    told = guest.bridge.get(guest.url("/stat", pathB64=name))  # was 502
    assert told.status == 200 and told.json()["size"] == 1 and told.json()["path"].endswith("new\r\nline")
    directory = base64.b64encode(bytes(top) + b"/in\n\xff").decode()
    assert guest.bridge.post(guest.url("/mkdir", pathB64=directory)).status == 204
    below = base64.b64encode(bytes(top) + b"/in\n\xff/f").decode()
    assert guest.bridge.put(guest.url("", pathB64=below), b"").status == 204
    entry, = guest.bridge.get(guest.url("/list", pathB64=directory)).json()  # was that of the root
    assert (entry["name"], entry["pathB64"]) == ("f", below)


def test_remove(guest, top):
    """Recursive; a missing one is success; links are removed, not what they lead to."""
    (top / "d/e").mkdir(parents=True)
    (top / "d/e/f").write_bytes(b"x")
    (top / "keep").mkdir()
    (top / "d/link").symlink_to(top / "keep")
    assert guest.delete(top / "d").status == 204
    assert not (top / "d").exists() and (top / "keep").exists()
    assert guest.delete(top / "d").status == 204
    assert guest.delete(top / "missing/below").status == 204


@pytest.mark.parametrize("path", ["/", "//", "/.", "/tmp/..", "/proc"])
def test_the_root_is_not_removed(guest, path):
    """However it is called; nor is what is mounted."""
    reply = guest.delete(path)
    assert reply.status in (400, 409), reply
    assert os.path.exists("/tmp") and os.path.exists("/proc/self")


def test_mkdir(guest, top):
    assert guest.mkdir(top / "a/b").status == 204
    assert guest.mkdir(top / "a/b").status == 204
    assert (top / "a/b").is_dir()
    (top / "f").write_bytes(b"")
    assert guest.mkdir(top / "f").status == 409
    assert guest.mkdir(top / "f/g").status in (400, 409)


# listing

def test_list(guest, top):
    """What is there, sorted, each with its particulars; of a link its own."""
    (top / "b").write_bytes(b"12345")
    (top / "b").chmod(0o4711)
    os.utime(top / "b", ns=(0, 1_600_000_000_123_000_000))
    (top / "a").mkdir()
    (top / "c").symlink_to("b")
    os.mkfifo(top / ".fifo")
    entries = guest.list(top)
    assert [entry["name"] for entry in entries] == [".fifo", "a", "b", "c"]
    assert [entry["type"] for entry in entries] == ["fifo", "dir", "file", "link"]
    assert [entry["isDir"] for entry in entries] == [False, True, False, False]
    assert entries[2] == {"name": "b", "isDir": False, "size": 5, "path": f"{top}/b", "type": "file", "mode": "4711",
                          "uid": 0, "gid": 0, "mtime": "2020-09-13T12:26:40.123Z"}
    assert entries[3]["target"] == "b" and entries[3]["size"] == 1
    assert guest.list(top / "a") == []


def test_list_of_the_root(guest):
    reply = guest.bridge.get(guest.url("/list"))
    names = {entry["name"]: entry for entry in reply.json()}
    assert names["etc"]["path"] == "/etc" and names["etc"]["isDir"]
    assert {entry["name"] for entry in guest.list("")} >= {"etc", "usr"}


def test_odd_figures(guest):
    """A file of the year 2200, or of more bytes than numbers of JSON count one by one, made its directory unlistable."""
    top = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        for name, year in ("old", 1900), ("new", 2200), ("newer", 3000):
            (top / name).write_bytes(b"x")
            os.utime(top / name, ns=(0, ((year - 1970) * 31556952 + 10 ** 6) * 10 ** 9))
        with open(top / "large", "wb") as f:
            f.truncate((1 << 62) + 5)
        told = {entry["name"]: entry for entry in guest.list(top)}
        assert told["new"]["mtime"].startswith("2200-") and told["newer"]["mtime"].startswith("2262-")
        assert told["large"]["size"] == 1 << 62
        assert guest.get(top / "large", "/stat").json()["size"] == 1 << 62
        for name in "old", "new", "newer":
            assert guest.get(top / name).body == b"x" and guest.get(top / name, "/stat").status == 200
        sock = guest.open("GET", guest.url("", top / "large"), {"Range": "bytes=-5"})
        head, _ = read_head(sock)
        assert head.startswith(b"HTTP/1.1 200") and b"content-length" not in head.lower()
        reset(sock)
    finally:
        shutil.rmtree(top)


def test_list_of_what_is_none(guest, top):
    (top / "f").write_bytes(b"")
    assert guest.get(top / "missing", "/list").status == 404
    assert guest.get(top / "f", "/list").status in (400, 409)


def test_list_of_many(guest, top):
    """All pages of a large directory, whole and in order; far more than a frame holds."""
    names = [f"{'x' * (i % 50)}{i}" for i in range(20000)]
    for name in names:
        (top / name).touch()
    entries = guest.list(top)
    assert [entry["name"] for entry in entries] == sorted(names)


@pytest.mark.seconds(240)
def test_list_of_too_many(guest, top):
    """Its limit: 100 000 entries, one more is 413 with a sentence."""
    first = top / "0"
    first.touch()
    made = 1
    for directory in range(100):  # links are quicker to make than files
        for i in range(1000):
            os.link(first, top / f"n{directory}-{i}")
            made += 1
            if made == 30000 * (made // 30000) and made % 30000 == 0:
                first = top / f"f{made}"
                first.touch()
                made += 1
            if made == 100000:
                break
        if made == 100000:
            break
    assert len(os.listdir(top)) == 100000
    assert len(guest.list(top)) == 100000
    (top / "one-more").touch()
    reply = guest.get(top, "/list")
    assert reply.status == 413 and "too many" in reply.error()


# statuses

def test_statuses(guest, top):
    """Each with its own: in the original every error was 500."""
    (top / "dir").mkdir()
    (top / "f").write_bytes(b"x")
    os.symlink("loop", top / "loop")
    bridge = guest.bridge
    for reply, wanted in [
            (guest.get(top / "missing"), {404}),
            (guest.get(top / "missing/below"), {404}),
            (guest.get(top / "dir"), {400, 409}),
            (guest.get(top / "f/below"), {400, 404, 409}),
            (guest.get(top / "loop"), {400, 409}),
            (bridge.get(guest.url()), {400}),
            (bridge.get(guest.url("", "")), {400}),
            (bridge.get(guest.base + "?path=%00"), {400}),
            (bridge.get(guest.base + "?path=a%00b"), {400}),
            (bridge.get(guest.base + "/list?path=a%00b"), {400}),  # was the root
            (bridge.get(guest.base + "/list?path=a%00b&pathB64=Lw=="), {400}),
            (bridge.get(guest.base + "/list?pathB64=x"), {400}),
            (guest.get("/" + "x" * 4095, "/list"), {400}),
            (bridge.put(guest.url(), b""), {400}),
            (bridge.delete(guest.url()), {400}),
            (bridge.post(guest.url("/mkdir")), {400}),
            (guest.get("/" + "x" * 4095), {400}),
            (guest.get("/" + "x" * 300), {400}),
            (guest.put(top / "dir", b"x"), {400, 409}),
            (guest.put(top / "f/below", b"x"), {400, 409}),
            (guest.put("/proc/version", b"x"), {403, 404}),
            (bridge.get("/sandboxes/sb-missing/files?path=/"), {404})]:
        assert reply.status in wanted and reply.error(), (wanted, reply)


@pytest.mark.agentd(default_user="nobody")
def test_the_agent_s_own_rights(guest, top):
    """Files are reached with the agent's rights, whoever commands run as."""
    (top / "secret").write_bytes(b"x")
    (top / "secret").chmod(0o600)
    assert guest.get(top / "secret").body == b"x"


def test_read_only(guest, top):
    """EROFS and its like are 403."""
    reply = guest.put("/sys/kernel/nothing", b"x")
    assert reply.status == 403, reply


def test_special_files_are_refused(guest, top):
    """A FIFO hung its reader for ever, a device streamed without end."""
    os.mkfifo(top / "fifo")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(top / "socket"))
    for path in top / "fifo", top / "socket", "/dev/zero", "/dev/null":
        began = time.monotonic()
        assert guest.get(path).status in (400, 409), path
        assert guest.put(path, b"x").status in (400, 409), path
        assert time.monotonic() - began < 5
    server.close()


def test_files_that_say_they_are_empty(guest):
    """/proc: read to their end."""
    reply = guest.get("/proc/version")
    assert reply.status == 200 and reply.body == open("/proc/version", "rb").read()
    assert "Content-Length" not in reply.headers
    assert guest.get("/proc/1/mem").status in (502, 400, 403)  # EIO before the first byte still has a status


def test_no_room(guest, top):
    """507 at once when it is known, and then nothing is left; what was there stays."""
    os.makedirs(top / "small")
    assert os.system(f"mount -t tmpfs -o size=1m tmpfs {top}/small") == 0
    try:
        (top / "small/f").write_bytes(b"old")
        assert guest.put(top / "small/f", noise(2 * MIB)).status == 507
        sock = guest.open("PUT", guest.url("", top / "small/g"), {"Transfer-Encoding": "chunked"})
        with pytest.raises((ConnectionError, AnsweredEarly)):
            for _ in range(2000):
                sock.sendall(chunk(noise(65536)))
                answered(sock)
        assert (top / "small/f").read_bytes() == b"old"
        assert os.listdir(top / "small") == ["f"]
        sock.close()
    finally:
        os.system(f"umount -l {top}/small")


class AnsweredEarly(Exception):
    pass


def answered(sock):
    """Whether an answer is there; checks that it is 507."""
    sock.setblocking(False)
    try:
        data = sock.recv(65536)
        assert data.startswith(b"HTTP/1.1 507"), data
        raise AnsweredEarly
    except BlockingIOError:
        pass
    finally:
        sock.setblocking(True)


def test_a_refused_upload_is_answered_at_once(guest, top):
    """1 GiB is announced and nothing of it sent: the error does not wait for it."""
    sock = guest.open("PUT", guest.url("", top), {"Content-Length": 1 << 30})
    head, _ = read_head(sock)
    assert head.split()[1] in (b"400", b"409")
    assert b"connection: close" in head.lower()
    sock.close()


# size and speed

def drain(sock, rest, each=1 << 18):
    """The hash and length of what is left to read."""
    digest, n = hashlib.sha256(rest), len(rest)
    while data := sock.recv(each):
        digest.update(data)
        n += len(data)
    return digest.hexdigest(), n


@pytest.mark.seconds(280)
def test_a_gibibyte_both_ways(guest, top):
    """Hash equal, and the bridge's memory does not grow by more than its windows."""
    size, block = 1 << 30, noise(4 * MIB)
    digest = hashlib.sha256()
    guest.put(top / "warm", noise(8 * MIB))
    assert guest.get(top / "warm").status == 200
    before, most = guest.bridge.memory_kib(), 0
    sock = guest.open("PUT", guest.url("", top / "f"), {"Content-Length": size})
    for i in range(size // len(block)):
        data = i.to_bytes(8, "big") + block[8:]
        digest.update(data)
        sock.sendall(data)
        most = max(most, guest.bridge.memory_kib())
    head, _ = read_head(sock)
    assert head.startswith(b"HTTP/1.1 204")
    sock.close()
    sock = guest.open("GET", guest.url("", top / "f"), {"Connection": "close"})
    head, rest = read_head(sock)
    assert f"content-length: {size}".encode() in head.lower()
    assert drain(sock, rest) == (digest.hexdigest(), size)
    most = max(most, guest.bridge.memory_kib())
    sock.close()
    assert most - before < 8 * 1024, f"from {before} to {most} KiB"
    if b"__asan_init" not in open(binary("bridge"), "rb").read():
        assert guest.bridge.memory_kib() <= 32 * 1024


def test_sparse_file(guest, top):
    """Holes are zeros."""
    with open(top / "f", "wb") as f:
        f.seek(50 * MIB)
        f.write(b"end")
    reply = guest.get(top / "f")
    assert len(reply.body) == 50 * MIB + 3 and reply.body.endswith(b"\0end") and not reply.body[:-3].strip(b"\0")


def test_a_reader_that_stands_still(guest, top):
    """It costs its window, holds nobody up, and gets the rest when it reads on."""
    data = noise(64 * MIB)
    (top / "f").write_bytes(data)
    sock = guest.open("GET", guest.url("", top / "f"), {"Connection": "close"})
    head, rest = read_head(sock)
    before = guest.bridge.memory_kib()
    for i in range(20):
        assert guest.put(top / f"other{i}", b"x" * 100000).status == 204
    assert guest.bridge.memory_kib() - before < 8 * 1024
    assert drain(sock, rest) == (sha(data), len(data))
    sock.close()


def test_a_writer_that_stands_still(guest, top):
    """Nothing is seen of its file until it is whole."""
    sock = guest.open("PUT", guest.url("", top / "f"), {"Content-Length": 2 * MIB}, noise(MIB))
    assert guest.put(top / "other", b"x").status == 204
    assert not (top / "f").exists()
    sock.sendall(b"y" * MIB)
    head, _ = read_head(sock)
    assert head.startswith(b"HTTP/1.1 204") and (top / "f").stat().st_size == 2 * MIB
    sock.close()


@pytest.mark.parametrize("how", [socket.socket.close, reset])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_upload_that_breaks_off(guest, top, how, framing):
    """Leaves no trace: neither half a file, nor a directory made for it, nor the old file's end."""
    (top / "old").write_bytes(b"old")
    for path in top / "old", top / "new/dir/f":
        if framing == "length":
            sock = guest.open("PUT", guest.url("", path), {"Content-Length": 8 * MIB}, noise(3 * MIB))
        else:
            sock = guest.open("PUT", guest.url("", path), {"Transfer-Encoding": "chunked"}, chunk(noise(3 * MIB)))
        eventually(lambda: path.parent.exists(), "the upload to have begun")
        how(sock)
    eventually(lambda: os.listdir(top) == ["old"], "the directories to be gone")
    assert (top / "old").read_bytes() == b"old"
    assert guest.put(top / "new", b"x").status == 204


def test_a_download_that_breaks_off(guest, top):
    """The channel in the guest ends with its client: hundreds of them leave room for the next."""
    (top / "f").write_bytes(noise(16 * MIB))
    for _ in range(250):  # the agent has 192 channels
        sock = guest.open("GET", guest.url("", top / "f"))
        read_head(sock)
        reset(sock)
    assert guest.get(top / "f").status == 200


def test_more_than_the_agent_does_at_once(guest, top):
    """Over 192 transfers that stand still: the next is told to come again, the others end well."""
    (top / "f").write_bytes(noise(16 * MIB))
    socks, refused = [], 0
    for _ in range(200):
        sock = guest.open("GET", guest.url("", top / "f"), {"Connection": "close"})
        head, rest = read_head(sock)
        if b" 503 " in head.split(b"\r\n")[0]:
            assert b"retry-after" in head.lower()
            refused += 1
            sock.close()
        else:
            socks.append((sock, rest))
    assert refused == 8
    assert drain(*socks[0])[1] == 16 * MIB
    assert guest.get(top / "f").status == 200
    for sock, _ in socks:
        reset(sock)


def test_a_file_that_shrinks(guest, top):
    """What was announced cannot be given: the connection is cut, so that nobody takes half for the whole."""
    (top / "f").write_bytes(noise(64 * MIB))
    sock = guest.open("GET", guest.url("", top / "f"))
    head, rest = read_head(sock)
    assert head.startswith(b"HTTP/1.1 200")
    os.truncate(top / "f", 32 * MIB)
    with pytest.raises(ConnectionError):
        _, n = drain(sock, rest)
        assert n < 64 * MIB
        raise ConnectionResetError
    sock.close()


def test_the_agent_dies_while_it_reads(guest, agent, top):
    """After the first bytes: cut. Before them: 502."""
    (top / "f").write_bytes(noise(64 * MIB))
    sock = guest.open("GET", guest.url("", top / "f"))
    head, rest = read_head(sock)
    agent.kill()
    try:
        _, n = drain(sock, rest)
        assert n < 64 * MIB
    except ConnectionError:
        pass
    sock.close()


def test_the_agent_dies_while_it_writes(guest, agent, top):
    """502, and at once."""
    sock = guest.open("PUT", guest.url("", top / "f"), {"Content-Length": 8 * MIB}, noise(MIB))
    agent.kill()
    head, _ = read_head(sock)
    assert head.split()[1] == b"502"
    sock.close()


def test_the_bridge_is_killed_while_it_writes(guest, top):
    """An upload through it leaves nothing; afterwards all goes on."""
    (top / "f").write_bytes(b"old")
    sock = guest.open("PUT", guest.url("", top / "new/f"), {"Content-Length": 8 * MIB}, noise(MIB))
    eventually((top / "new").exists, "the upload to have begun")
    guest.bridge.kill()
    sock.close()
    eventually(lambda: os.listdir(top) == ["f"], "the directory to be gone")
    guest.bridge.start()
    assert guest.get(top / "f").body == b"old"


@pytest.mark.seconds(120)
def test_fifty_at_once(guest, top):
    """Up and down, all whole."""
    def one(i):
        data = noise(2 * MIB + i, i)
        assert guest.put(top / f"f{i}", data).status == 204
        return guest.get(top / f"f{i}").body == data
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        assert all(pool.map(one, range(50)))


def test_two_writers(guest, top):
    """The file is one of theirs, whole."""
    ways = [bytes([i]) * 3 * MIB for i in range(4)]
    threads = [threading.Thread(target=guest.put, args=(top / "f", data)) for data in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (top / "f").read_bytes() in ways and os.listdir(top) == ["f"]


def test_requests_on_one_connection(guest, top):
    """Keep-alive: one after the other, errors too."""
    connection = guest.bridge.connection()
    for i in range(20):
        data = noise(i * 10000, i)
        ask = lambda method, url, body=None: guest.bridge.request(method, url, body, connection=connection)
        assert ask("PUT", guest.url("", top / "f"), data).status == 204
        assert ask("GET", guest.url("", top / "missing")).status == 404
        assert ask("GET", guest.url("", top / "f")).body == data
    connection.close()
