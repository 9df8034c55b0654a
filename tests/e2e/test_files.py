"""Requests on files (section 13): what they tell and change, their limits, and what hangs."""
import errno
import hashlib
import os
import socket
import stat
import time

import pytest

from file_channel import FileChannel
from files import Files, b64, files, from_wire, hung_mount, mounted, refused, root_only, top, tree, wire_name
from harness import eventually

pytestmark = [pytest.mark.own_agent, root_only]


# looking

def test_stat_tells_all(files, top):
    path = top / "f"
    path.write_bytes(b"12345")
    path.chmod(0o4751)
    os.utime(path, ns=(1_600_000_000_123_456_789, 1_700_000_000_987_654_321))
    os.chown(path, 11, 22)
    path.chmod(0o4751)
    st = path.stat()
    assert files.stat(path) == {
        "name": "f", "type": "file", "size": 5, "mode": 0o4751, "uid": 11, "gid": 22, "atime_ns": st.st_atime_ns,
        "mtime_ns": 1_700_000_000_987_654_321, "ctime_ns": st.st_ctime_ns, "ino": st.st_ino, "dev": st.st_dev,
        "nlink": 1, "blocks": st.st_blocks}


def test_stat_of_each_type(files, top):
    os.mkfifo(top / "fifo")
    os.symlink("f i le", top / "link")
    os.mknod(top / "char", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(top / "block", 0o600 | stat.S_IFBLK, os.makedev(7, 200))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(top / "socket"))
    for name in ("fifo", "char", "block", "socket"):
        assert files.stat(top / name)["type"] == name
    assert files.stat(top)["type"] == "dir" and files.stat(f"{top}//")["name"] == top.name
    assert files.stat("/")["name"] == "/"
    entry = files.stat(top / "link", follow=False)
    assert (entry["type"], entry["target"]) == ("link", "f i le")
    with refused(errno.ENOENT):
        files.stat(top / "link")


@pytest.mark.parametrize("number, path", [(errno.ENOENT, "none"), (errno.ENOTDIR, "f/x"), (errno.ELOOP, "loop"),
                                          (errno.ENAMETOOLONG, "n" * 256)])
def test_errors_keep_their_errno(files, top, number, path):
    tree(top, {"f": ""})
    os.symlink("loop", top / "loop")
    with refused(number):
        files.stat(top / path)


def test_list_is_sorted_by_bytes(files, top):
    names = [b"b", b"B", b"a", b"\xff\xfe", "ä".encode(), b".hidden", b"with\nline", b'quo"te', b"z" * 255]
    for name in names:
        with open(os.path.join(os.fsencode(top), name), "wb"):
            pass
    got = files.list(top)
    assert [from_wire(entry["name"]) for entry in got["entries"]] == sorted(names) and "next" not in got
    shown = files.list(top, hidden=False)["entries"]
    assert [from_wire(entry["name"]) for entry in shown] == sorted(set(names) - {b".hidden"})
    assert all(entry["type"] == "file" and entry["size"] == 0 for entry in shown)


def test_a_name_of_any_bytes_survives(files, top):
    """Not UTF-8 in, not UTF-8 out."""
    name = os.path.join(os.fsencode(top), b"\xffraw\x80")
    files.mkdir(name)
    assert os.path.isdir(name)
    files.symlink(name + b"/l", target=wire_name(b"to\xfe"))
    assert from_wire(files.readlink(name + b"/l")["target"]) == b"to\xfe"
    assert from_wire(files.stat(name + b"/l", follow=False)["name"]) == b"l"
    files.remove(name, recursive=True)
    assert not os.path.exists(name)


def test_list_in_pages(files, top):
    """A frame holds some hundred entries; 3000 need several, whatever is asked for."""
    names = [f"file-{i:04}" for i in range(3000)]
    tree(top, dict.fromkeys(names, ""))
    assert [entry["name"] for entry in files.whole_list(top)] == names
    assert [entry["name"] for entry in files.whole_list(top, limit=10000)] == names
    page = files.list(top, limit=7, after="file-0099")
    assert [entry["name"] for entry in page["entries"]] == names[100:107] and page["next"] == "file-0106"
    assert files.list(top, after="file-2999") == {"entries": []}
    with refused(code="bad_message"):
        files.list(top, limit=0)


def test_list_of_long_targets(files, top):
    """The largest entries there are: one page may hold just one."""
    for i in range(6):
        os.symlink("\x01" * 4095, top / f"link{i}")
    entries = files.whole_list(top)
    assert [entry["name"] for entry in entries] == [f"link{i}" for i in range(6)]
    assert all(entry["target"] == "\x01" * 4095 for entry in entries)


def test_list_of_what_is_none(files, top):
    tree(top, {"f": ""})
    with refused(errno.ENOTDIR):
        files.list(top / "f")
    with refused(errno.ENOENT):
        files.list(top / "none")
    assert files.list("/proc/self/fd")["entries"]


def test_readlink(files, top):
    os.symlink("x" * 4000, top / "l")
    assert files.readlink(top / "l") == {"target": "x" * 4000}
    with refused(errno.EINVAL):
        files.readlink(top)


def test_statfs(files, top):
    with mounted(top, "tmpfs", "size=1m,nr_inodes=100"):
        got = files.statfs(top)
    assert (got["type"], got["size"], got["files"]) == ("tmpfs", 1 << 20, 100)
    assert got["free"] == got["available"] and got["files_free"] == 99


def test_du_counts_a_file_once(files, top):
    tree(top, {"a": b"x" * 10000, "sub": {"b": b"y" * 5000, "deep": {}}})
    os.link(top / "a", top / "sub/again")
    os.symlink("/", top / "sub/link")
    got = files.du(top)
    assert (got["files"], got["dirs"]) == (4, 3)
    assert got["apparent"] == 15001
    blocks = sum(os.lstat(p).st_blocks for p in (top, top / "a", top / "sub", top / "sub/b", top / "sub/deep",
                                                 top / "sub/link"))
    assert got["bytes"] == blocks * 512
    assert files.du(top / "a")["apparent"] == 10000


def test_du_stays_on_one_file_system(files, top):
    (top / "m").mkdir()
    with mounted(top / "m", "tmpfs"):
        tree(top / "m", {"x": b"1" * 5000})
        assert files.du(top)["apparent"] == 0
        assert files.du(top, same_fs=False)["apparent"] == 5000


def test_sha256(files, top):
    data = os.urandom(3_000_001)
    tree(top, {"f": data, "e": b""})
    assert files.sha256(top / "f") == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    part = files.sha256(top / "f", offset=1000, length=1_500_000)
    assert part == {"sha256": hashlib.sha256(data[1000:1501000]).hexdigest(), "size": 1500000}
    assert files.sha256(top / "e") == {"sha256": hashlib.sha256(b"").hexdigest(), "size": 0}
    assert files.sha256(top / "f", offset=9_000_000)["size"] == 0
    with refused(errno.EISDIR):
        files.sha256(top)


# making and changing

def test_mkdir(files, top):
    assert files.mkdir(top / "a", mode=0o1777) == {"made": 1}
    assert stat.S_IMODE((top / "a").stat().st_mode) == 0o1777
    with refused(errno.EEXIST):
        files.mkdir(top / "a")
    with refused(errno.ENOENT):
        files.mkdir(top / "x/y")
    assert files.mkdir(top / "x/y/z", parents=True, mode=0o700) == {"made": 3}
    assert stat.S_IMODE((top / "x/y").stat().st_mode) == 0o755
    assert stat.S_IMODE((top / "x/y/z").stat().st_mode) == 0o700
    assert files.mkdir(top / "x/y/z", parents=True) == {"made": 0}
    tree(top, {"f": ""})
    with refused(errno.ENOTDIR):
        files.mkdir(top / "f/g", parents=True)
    with refused(errno.EEXIST):
        files.mkdir("/")


def test_rename(files, top):
    tree(top, {"a": "A", "b": "B", "d": {"x": ""}})
    with refused(errno.EEXIST):
        files.rename(top / "a", to=f"{top}/b", replace=False)
    assert files.rename(top / "a", to=f"{top}/b") == {}
    assert (top / "b").read_text() == "A" and not (top / "a").exists()
    assert files.rename(top / "d", to=f"{top}/e", replace=False) == {}
    with refused(errno.ENOENT):
        files.rename(top / "none", to=f"{top}/x")
    with refused(errno.EINVAL):
        files.rename(top / "e", to=f"{top}/e/inside")
    with refused(errno.EBUSY):
        files.rename("/", to=f"{top}/root")
    with refused(code="bad_message"):
        files.rename(top / "e")


def test_chmod(files, top):
    tree(top, {"d": {"f": "", "sub": {"g": ""}}, "out": ""})
    os.symlink("../out", top / "d/link")
    (top / "out").chmod(0o644)
    assert files.chmod(top / "d/f", mode=0o4711) == {}
    assert stat.S_IMODE((top / "d/f").stat().st_mode) == 0o4711
    files.chmod(top / "d", mode=0o500, recursive=True)
    assert {stat.S_IMODE(p.stat().st_mode) for p in (top / "d", top / "d/sub", top / "d/sub/g", top / "d/f")} == {0o500}
    assert stat.S_IMODE((top / "out").stat().st_mode) == 0o644, "a link below is not followed"
    with refused(code="bad_message"):
        files.chmod(top / "d")
    with refused(code="bad_message"):
        files.chmod(top / "d", mode=0o10000)


def test_chown(files, top):
    tree(top, {"d": {"f": ""}, "out": ""})
    os.symlink("../out", top / "d/link")
    files.chown(top / "d", uid=7, gid=8, recursive=True)
    for path in ("d", "d/f", "d/link"):
        assert (os.lstat(top / path).st_uid, os.lstat(top / path).st_gid) == (7, 8)
    assert (top / "out").stat().st_uid == 0
    files.chown(top / "d/link", uid=9)
    assert ((top / "out").stat().st_uid, (top / "out").stat().st_gid) == (9, 0)
    files.chown(top / "d/link", gid=10, follow=False)
    assert (os.lstat(top / "d/link").st_uid, os.lstat(top / "d/link").st_gid) == (7, 10)


def test_utimes(files, top):
    path = top / "f"
    path.write_text("")
    files.utimes(path, atime_ns=1_000_000_000, mtime_ns="1699999999123456789")
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (1_000_000_000, 1_699_999_999_123_456_789)
    files.utimes(path, atime_ns=-1_500_000_000)
    assert path.stat().st_atime_ns == -1_500_000_000
    assert abs(path.stat().st_mtime - time.time()) < 60
    os.symlink("f", top / "l")
    files.utimes(top / "l", mtime_ns=5, atime_ns=5, follow=False)
    assert os.lstat(top / "l").st_mtime_ns == 5 and path.stat().st_mtime_ns != 5
    for wrong in ("", "-", "12x", "9" * 30, 1.5, True):
        with refused(code="bad_message"):
            files.utimes(path, mtime_ns=wrong)


def test_links(files, top):
    tree(top, {"f": "text"})
    files.symlink(top / "s", target="f")
    assert os.readlink(top / "s") == "f"
    with refused(errno.EEXIST):
        files.symlink(top / "s", target="g")
    files.link(top / "f", to=f"{top}/h")
    assert (top / "h").stat().st_nlink == 2
    files.link(top / "s", to=f"{top}/s2")
    assert os.readlink(top / "s2") == "f", "a link to a link, not to what it leads to"
    with refused(errno.EPERM):
        files.link(top, to=f"{top}/dir")


def test_truncate(files, top):
    tree(top, {"f": "12345"})
    files.truncate(top / "f", size=2)
    assert (top / "f").read_bytes() == b"12"
    files.truncate(top / "f", size=1 << 40)
    assert (top / "f").stat().st_size == 1 << 40
    with refused(errno.EISDIR):
        files.truncate(top, size=0)
    with refused(errno.ENOENT):
        files.truncate(top / "none", size=0)
    with refused(code="bad_message"):
        files.truncate(top / "f")


# many at a time

def test_many_there_and_back(files, top):
    contents = {f"{top}/many/{i % 7}/f{i}": os.urandom(i * 5) for i in range(100)}
    got = files.write_many(files=[{"path": path, "b64": b64(data), "mode": 0o640} for path, data in contents.items()])
    assert got == {"files": [{}] * 100}
    assert stat.S_IMODE(os.stat(f"{top}/many/0/f0").st_mode) == 0o640
    got = files.read_many(paths=[*contents])
    assert got == {"files": [{"b64": b64(data)} for data in contents.values()]}


def test_many_with_errors(files, top):
    """Each is told at its place; the others are done."""
    tree(top, {"f": "x", "d": {}, "big": b"x" * 40000})
    os.mkfifo(top / "fifo")
    got = files.read_many(paths=[f"{top}/{name}" for name in ("none", "f", "d", "fifo", "big", "f")])["files"]
    assert [entry.get("b64") or (entry["error"]["code"], entry["error"].get("errno")) for entry in got] == [
        ("failed", errno.ENOENT), b64(b"x"), ("failed", errno.EISDIR), ("special_file", None),
        ("too_large", errno.EFBIG), b64(b"x")]
    got = files.write_many(files=[{"path": f"{top}/{name}", "b64": b64(b"new")}
                                  for name in ("f", "d", "fifo", "f/x", "g")])["files"]
    assert [entry and (entry["error"]["code"], entry["error"].get("errno")) for entry in got] == [
        {}, ("failed", errno.EISDIR), ("special_file", None), ("failed", errno.ENOTDIR), {}]
    assert (top / "f").read_text() == (top / "g").read_text() == "new"


def test_read_many_ends_with_the_frame(files, top):
    """What did not fit can be asked for again."""
    tree(top, {"f": b"\xff" * 20000})
    got = files.read_many(paths=[f"{top}/f"] * 10)["files"]
    assert 1 <= len(got) < 10 and all(entry == {"b64": b64(b"\xff" * 20000)} for entry in got)
    tree(top, {"max": b"\xff" * 48000})
    assert files.read_many(paths=[f"{top}/max"], max=48000)["files"][0]["b64"] == b64(b"\xff" * 48000)


def test_a_thousand_and_no_more(files, top):
    assert len(files.read_many(paths=["/none"] * 1000)["files"]) > 100
    got = files.write_many(files=[{"path": "/", "b64": ""}] * 1000)["files"]
    assert len(got) == 1000 and all(entry["error"]["errno"] == errno.EISDIR for entry in got)
    for members in ({"paths": ["/"] * 1001}, {"paths": []}, {"paths": "/"}, {}, {"paths": ["/", 1]},
                    {"paths": ["/"], "max": 48001}):
        with refused(code="bad_message"):
            files.read_many(**members)
    one = {"path": "/x", "b64": ""}
    for members in ([one] * 1001, [], [{}], [{}] * 1000, [one, 1], [{"path": "/x", "b64": "?"}],
                    [{"path": "", "b64": ""}], [{**one, "mode": -1}]):
        with refused(code="bad_message"):
            files.write_many(files=members)


# limits of messages

def test_paths_have_a_limit(files, top):
    with refused(errno.ENOENT):
        files.stat("/" + "x/" * 2046 + "yz"[:1])
    for path in ("/" + "x/" * 2047 + "y", "/" * 4096):
        with refused(errno.ENAMETOOLONG):
            files.stat(path)
    for op in ("rename", "link", "copy"):
        tree(top, {"f": ""})
        with refused(errno.ENAMETOOLONG):
            getattr(files, op)(top / "f", to="/" + "x/" * 3000)
    assert files.stat("/" * 4095)["name"] == "/"


@pytest.mark.parametrize("members", [{}, {"path": ""}, {"path": 1}, {"path": "/", "root": "relative"},
                                     {"path": "/", "owner": "nobody"}, {"path": "/", "owner": "archive"},
                                     {"path": "/", "user": 5}, {"path": "/", "follow": 1}])
def test_bad_members(link, members):
    with refused(code="bad_message"):
        link.request("file.stat", **members)


def test_unknown_operation(link):
    for op in ("file.format", "file.", "files.stat"):
        with refused(code="unknown_op"):
            link.request(op, path="/")


# what hangs, what ends

def test_a_fifo_holds_nobody(files, top):
    os.mkfifo(top / "fifo")
    for op, members in (("sha256", {}), ("truncate", {"size": 0})):
        with refused(code="special_file"):
            getattr(files, op)(top / "fifo", timeout=5, **members)
    with refused(code="special_file"):
        files.sha256("/dev/zero", timeout=5)
    assert files.read_many(paths=[f"{top}/fifo", "/dev/zero"])["files"][1]["error"]["code"] == "special_file"
    files.chmod(top / "fifo", mode=0o600)


def test_a_hung_mount_holds_only_who_looks(agent, top):
    """With four threads for files, four requests to a dead mount end all file service."""
    (top / "m").mkdir()
    tree(top, {"f": "x"})
    stuck, link = agent.connect(), agent.connect()
    with hung_mount(top / "m"):
        ids = [stuck.ask("file.stat", path=f"{top}/m/x{i}") for i in range(20)]
        for _ in range(50):
            assert Files(link).stat(top / "f")["size"] == 1
            assert link.run(["true"]).end["code"] == 0
    for request in ids:
        with refused():
            stuck.answer(request, timeout=10)


def test_too_many_at_once(agent, top):
    """One link cannot have all threads: what is over its limit is refused, others go on."""
    (top / "m").mkdir()
    stuck, link = agent.connect(), agent.connect()
    with hung_mount(top / "m"):
        ids = [stuck.ask("file.stat", path=f"{top}/m/x") for _ in range(200)]
        with refused(code="too_many"):
            stuck.request("file.stat", path="/")
        assert Files(link).stat("/")["type"] == "dir"
    for request in ids:
        with refused():
            stuck.answer(request, timeout=10)
    assert Files(stuck).stat("/")["type"] == "dir"


def test_all_that_one_client_can_hang(agent, top):
    """Every channel and every request it may have hangs; another client still has its files and commands."""
    (top / "m").mkdir()
    stuck, link = agent.connect(), agent.connect()
    with hung_mount(top / "m"):
        channels = [FileChannel(stuck, "read", path=f"{top}/m/x").open() for _ in range(192)]
        for channel in channels:
            channel.wait_opened()
        ids = [stuck.ask("file.stat", path=f"{top}/m/x") for _ in range(200)]
        for _ in range(5):
            assert Files(link).stat("/")["type"] == "dir"
            assert link.run(["true"]).end["code"] == 0
    for request in ids:
        with refused():
            stuck.answer(request, timeout=20)
    for channel in channels:
        channel.wait_closed(20)
    eventually(lambda: len(os.listdir(f"/proc/{agent.pid}/task")) <= 1, "the threads to go", 10)


def test_relative_names_of_one_request_begin_together(files, top):
    """Also the second: a rename within the home, a list of files there."""
    home = os.path.expanduser("~root")
    name = f".agentd-test-{os.getpid()}"
    try:
        files.write_many(files=[{"path": f"{name}/a", "b64": b64(b"1")}])
        files.rename(f"{name}/a", to=f"{name}/b")
        files.copy(f"{name}/b", to=f"{name}/c")
        assert files.read_many(paths=[f"{name}/b", f"{name}/c"])["files"] == [{"b64": b64(b"1")}] * 2
        assert sorted(os.listdir(f"{home}/{name}")) == ["b", "c"]
    finally:
        files.remove(name, recursive=True)


def test_a_link_that_goes_ends_its_work(agent, top):
    """A long copy for nobody is given up, and leaves nothing behind."""
    with open(top / "big", "wb") as f:
        f.truncate(1 << 40)
        for i in range(64):
            f.seek(i << 30)
            f.write(b"x" * (1 << 22))
    agent.connect().request("ping")
    before = agent.settled_fds()
    link = agent.connect()
    link.ask("file.sha256", path=f"{top}/big")
    link.ask("file.copy", path=f"{top}/big", to=f"{top}/copy")
    link.request("ping")
    link.cut()
    eventually(lambda: agent.fds() <= before, "the descriptors to be closed", 20)
    assert not (top / "copy").exists() or (top / "copy").stat().st_size == 1 << 40
    assert {p.name for p in top.iterdir()} <= {"big", "copy"}


def test_no_thread_when_idle(agent, files, top):
    for _ in range(20):
        files.stat(top)
    eventually(lambda: len(os.listdir(f"/proc/{agent.pid}/task")) <= 1, "the threads to go", 10)


def test_no_space_leaves_the_target(files, top):
    """A full disk in the middle: the old file is as it was, and no new name is there."""
    with mounted(top, "tmpfs", "size=200k"):
        files.write_many(files=[{"path": f"{top}/f", "b64": b64(b"old")}])
        tree(top, {"filler": b"x" * 180_000})
        got = files.write_many(files=[{"path": f"{top}/f", "b64": b64(b"y" * 45000)}])["files"]
        assert got[0]["error"]["errno"] == errno.ENOSPC
        with refused(errno.ENOSPC):
            files.copy(top / "filler", to=f"{top}/f")
        assert (top / "f").read_bytes() == b"old" and sorted(os.listdir(top)) == ["f", "filler"]
