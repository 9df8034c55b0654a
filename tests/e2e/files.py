"""Small helpers for tests of files: names of any bytes, entries, requests that must fail, odd mounts."""
import base64
import contextlib
import ctypes
import errno
import os

import pytest

from wire import AgentError

LIBC = ctypes.CDLL(None, use_errno=True)
MNT_DETACH = 2


def wire_name(name):
    """How the protocol writes a string that may be no UTF-8."""
    raw = os.fsencode(name)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(raw).decode()}


def from_wire(name):
    return base64.b64decode(name["b64"]) if isinstance(name, dict) else name.encode()


def b64(data):
    return base64.b64encode(data).decode()


class Files:
    """file.* requests on one link: Files(link).stat(path, follow=False)."""

    def __init__(self, link, **always):
        self._link, self._always = link, always

    def __getattr__(self, op):
        def request(path=None, timeout=None, **members):
            members = {**self._always, **members}
            if path is not None:
                members["path"] = wire_name(path)
            return self._link.request(f"file.{op}", timeout=timeout, **members)
        return request

    def whole_list(self, path, **members):
        entries, after = [], {}
        while True:
            page = self.list(path, **members, **after)
            entries += page["entries"]
            if "next" not in page:
                return entries
            assert page["entries"], "a page without entries never ends"
            after = {"after": page["next"]}


@contextlib.contextmanager
def refused(number=None, code="failed"):
    """The request in the block fails, with this errno and code."""
    with pytest.raises(AgentError) as caught:
        yield
    assert caught.value.code == code, caught.value
    if number is not None:
        assert caught.value.errno == number, f"{caught.value}, not {errno.errorcode[number]}"


def exchange(one, other):
    """Two names change places, if both are there."""
    LIBC.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2)


def mount(source, target, kind, options=""):
    if LIBC.mount(source.encode(), os.fsencode(target), kind.encode(), 0, options.encode()) < 0:
        raise OSError(ctypes.get_errno(), f"mount {kind} on {target}")


@contextlib.contextmanager
def mounted(target, kind, options="", source="none"):
    mount(source, target, kind, options)
    try:
        yield target
    finally:
        LIBC.umount2(os.fsencode(target), MNT_DETACH)


@contextlib.contextmanager
def bound(source, target):
    """A bind mount: another mount on the same file system."""
    if LIBC.mount(os.fsencode(source), os.fsencode(target), None, 4096, None) < 0:
        raise OSError(ctypes.get_errno(), f"bind {source} on {target}")
    try:
        yield target
    finally:
        LIBC.umount2(os.fsencode(target), MNT_DETACH)


@contextlib.contextmanager
def hung_mount(target):
    """A file system whose server never answers: whoever looks into it waits."""
    server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    try:
        with mounted(target, "fuse", f"fd={server},rootmode=40000,user_id=0,group_id=0", "hung"):
            yield target
            os.close(server)  # all who wait get ENOTCONN
            server = -1
    finally:
        if server >= 0:
            os.close(server)


# fixtures, and files to work on

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become others and to mount")


@pytest.fixture
def files(link):
    return Files(link)


@pytest.fixture
def top(tmp_path):
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:3]:
        if parent.stat().st_mode & 0o5 != 0o5:
            parent.chmod(0o755)
    return tmp_path


def tree(top, spec):
    """Makes files of a dict: text, bytes, or a dict for a directory."""
    for name, what in spec.items():
        if isinstance(what, dict):
            (top / name).mkdir(exist_ok=True)
            tree(top / name, what)
        else:
            (top / name).write_bytes(what if isinstance(what, bytes) else what.encode())
    return top
