"""What the tests of `sys.*` need: agents in namespaces of their own, plain HTTP, a file system to freeze."""
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

from harness import open_files


def private_etc(*kinds, script="", etc=True):
    """A wrapper for Agent: namespaces of `kinds` (e.g. "--uts"), an /etc of its own, and `script` run first.

    Gives (wrapper, folder): what the agent writes to /etc is seen in the folder.
    """
    folder = pathlib.Path(tempfile.mkdtemp(prefix="agentd-etc-"))
    for name in ("passwd", "group", "nsswitch.conf", "ld.so.cache", "alternatives"):
        source = pathlib.Path("/etc", name)
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True)
        elif source.exists():
            shutil.copy(source, folder / name)
    mount = f"mount --bind {folder} /etc && " if etc else ""
    return ["unshare", "--mount", *kinds, "sh", "-ec", f'{script}\n{mount}exec "$@"', "sh"], folder


def environment(output):
    """The output of `env -0` as a dict; each name once."""
    pairs = [line.partition(b"=")[::2] for line in output.split(b"\0") if line]
    assert len(dict(pairs)) == len(pairs), "a variable came twice"
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}


def env_of(link, **start):
    return environment(link.run(["/usr/bin/env", "-0"], **start).out)


def http(path, request, pieces=None):
    """Sends a request head to the unix socket; gives (status, fields, body)."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        for piece in pieces or [request]:
            sock.sendall(piece)
        return read_answer(sock)


def read_answer(sock):
    raw = b""
    while data := sock.recv(65536):
        raw += data
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(lines[0].split(" ")[1]), fields, body


def get(path, target, method="GET", extra=""):
    return http(path, f"{method} {target} HTTP/1.1\r\nHost: agentd\r\n{extra}\r\n".encode())


def crash(agent, start_agent, **config):
    """Kills the agent and starts another that gets its arena, as a keeper of descriptors would do it."""
    number = next(fd for fd, path in open_files(agent.pid).items() if "memfd:agentd-sessions" in path)
    arena = os.open(f"/proc/{agent.pid}/fd/{number}", os.O_RDWR)
    agent.kill()
    wrapper = ["sh", "-c", f'exec 9<>/proc/{os.getpid()}/fd/{arena} && exec "$@"', "sh"]
    try:
        return start_agent("--adopt=9", wrapper=wrapper, **config)
    finally:
        os.close(arena)


class Disk:
    """A small ext4 on a loop device, mounted in a directory of its own."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="agentd-disk-"))
        self.mount = self.dir / "mnt"
        self.mount.mkdir()
        image = self.dir / "image"
        with open(image, "wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, self.mount], check=True)

    def frozen(self):
        """Whether a write blocks: a child tries, for a moment."""
        code = "import os,sys; os.close(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)); os.unlink(sys.argv[1])"
        child = subprocess.Popen(["/usr/bin/python3", "-c", code, self.mount / f"probe-{os.urandom(4).hex()}"])
        try:
            child.wait(0.7)
            return False
        except subprocess.TimeoutExpired:
            child.kill()  # it ends when the file system is thawed
            self.stuck = child
            return True

    def close(self):
        subprocess.run(["fsfreeze", "-u", self.mount], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["umount", self.mount], check=True)
        shutil.rmtree(self.dir)
