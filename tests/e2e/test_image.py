"""packaging/: images are built to the same bytes, `check` sees what one lacks, units for other inits start agentd."""
import hashlib
import os
import pathlib
import shutil
import subprocess

import pytest

from harness import ROOT, Target, alive, eventually
from machine import static
from wire import LinkClosed

pytestmark = [pytest.mark.own_agent, pytest.mark.seconds(240)]

IMAGE = ROOT / "build/image"
BUSYBOX = pathlib.Path("/bin/busybox")


def check(*args):
    done = subprocess.run([ROOT / "packaging/image/check", *args], capture_output=True, text=True, timeout=60)
    assert not done.stderr or done.returncode == 2, done.stderr
    return done.returncode, [line[9:] for line in done.stdout.splitlines() if line.startswith("missing: ")], done


def test_same_inputs_same_bytes(tmp_path):
    """Twice, in different directories, from different places, with different masks: no byte differs."""
    sums = []
    for name, mask, zone in (("one", 0o022, "UTC"), ("two", 0o077, "Asia/Tokyo")):
        out = tmp_path / name
        out.mkdir()
        (out / "kernel").symlink_to(IMAGE / "kernel")
        done = subprocess.run([ROOT / "packaging/image/build", "--flavour", "minimal", "--out", out], cwd=out,
                              env={**os.environ, "TZ": zone}, umask=mask, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        sums.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                     for path in sorted(out.iterdir()) if path.suffix in (".img", ".ext4")})
        assert subprocess.run(["e2fsck", "-fn", out / "minimal.ext4"], capture_output=True).returncode == 0
    assert len(sums[0]) == 2 and sums[0] == sums[1]


@pytest.fixture
def root(tmp_path):
    """A root file system with all that is needed, as a directory."""
    for name in "bin usr/sbin etc home/sandbox workspace proc sys dev run tmp".split():
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, tmp_path / "bin/busybox")
    (tmp_path / "bin/sh").symlink_to("/bin/busybox")
    shutil.copy(static("agentd"), tmp_path / "usr/sbin/agentd")
    shutil.copy(static("init"), tmp_path / "usr/sbin/agentd-init")
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nsandbox:x:1000:1000::/home/sandbox:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nsandbox:x:1000:\n")
    (tmp_path / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (tmp_path / "etc/machine-id").touch()
    (tmp_path / "tmp").chmod(0o1777)
    os.chown(tmp_path / "home/sandbox", 1000, 1000)
    return tmp_path


def test_check_is_content(root, tmp_path_factory):
    """As a directory, as a tar, as an image: the same words; a link is followed inside the root."""
    tar, image = (tmp_path_factory.mktemp("images") / name for name in ("x.tar", "x.ext4"))
    subprocess.run(["tar", "-C", root, "-cf", tar, "."], check=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, image, "32M"], check=True, capture_output=True)
    for what in (root, tar, image):
        code, missing, done = check(what)
        assert (code, missing) == (0, []), done.stdout
        assert done.stdout.splitlines()[-1].startswith("x86_64, agentd is started by agentd-init")


@pytest.mark.parametrize("harm, words", [
    (lambda r: (r / "bin/sh").unlink(), "no /bin/sh"),
    (lambda r: (r / "bin/busybox").chmod(0o644), "/bin/sh cannot be executed"),
    (lambda r: (r / "usr/sbin/agentd").unlink(), "no /usr/sbin/agentd"),
    (lambda r: (r / "usr/sbin/agentd-init").unlink(), "no /usr/sbin/agentd-init"),
    (lambda r: (r / "usr/sbin/agentd").chmod(0o600), "/usr/sbin/agentd cannot be executed"),
    (lambda r: (r / "usr/sbin/agentd").write_bytes(b"text"), "/usr/sbin/agentd is no program"),
    (lambda r: (r / "etc/passwd").write_text("sandbox:x:1000:1000::/home/sandbox:/bin/no\n"), "no /bin/no"),
    (lambda r: (r / "etc/passwd").unlink(), "no root in /etc/passwd"),
    (lambda r: os.chown(r / "home/sandbox", 0, 0), "/home/sandbox belongs to 0"),
    (lambda r: (r / "proc").rmdir(), "no directory /proc"),
], ids=str)
def test_check_sees(root, harm, words):
    harm(root)
    code, missing, done = check(root)
    assert code == 1 and any(text.startswith(words) for text in missing), done.stdout


def test_check_of_another_architecture(root):
    """The machine in the ELF head is not that of the image's shell; a loader that is not there."""
    agent = bytearray((root / "usr/sbin/agentd").read_bytes())
    agent[18] = 183
    (root / "usr/sbin/agentd").write_bytes(agent)
    assert check(root)[1] == ["/usr/sbin/agentd is for aarch64, the image is for x86_64"]
    shutil.copy("/bin/true", root / "usr/sbin/agentd")
    assert any("which is not there" in text for text in check(root)[1])


def test_check_knows_units_and_the_initramfs(root):
    (root / "usr/sbin/agentd-init").unlink()
    (root / "etc/inittab").write_text("::respawn:/usr/sbin/agentd --listen vsock:1024\n")
    assert check(root)[1] == ["agentd is a unit of inittab, but there is no /sbin/init"]
    (root / "usr/sbin/agentd").unlink()
    (root / "etc/inittab").unlink()
    assert check("--initramfs", root)[0] == 0


def test_check_of_a_kernel(root, tmp_path):
    """Debian's is right with our modules; without an option, or with it as a module nobody loads, it is not."""
    config = next((IMAGE / "kernel/boot").glob("config-*"))
    assert check("--config", config, root)[0] == 0
    text = config.read_text()
    bad = tmp_path / "config"
    bad.write_text(text.replace("CONFIG_MEMFD_CREATE=y", "# no").replace("CONFIG_EXT4_FS=y", "CONFIG_EXT4_FS=m")
                   .replace("Linux/x86 6.", "Linux/x86 4."))
    missing = check("--config", bad, root)[1]
    assert [text.split(":")[0] for text in missing if "CONFIG" in text] == [
        "kernel without CONFIG_MEMFD_CREATE", "CONFIG_EXT4_FS is a module that packaging/image/modules does not list"]
    assert any("older than" in text for text in missing)


def test_check_that_cannot_look(tmp_path):
    (tmp_path / "x").write_text("neither")
    for what in (tmp_path / "x", tmp_path / "nothing"):
        assert check(what)[0] == 2


def test_init_d_script(tmp_path):
    """packaging/busybox/S99agentd starts agentd, starts it again, and stops it for good."""
    text = (ROOT / "packaging/busybox/S99agentd").read_text()
    for old, new in (("/usr/sbin/agentd", str(static("agentd"))), ("vsock:1024", f"unix:{tmp_path}/agent"),
                     ("/run/agentd-loop.pid", f"{tmp_path}/pid"), ("echo -1000 >", "echo 0 >")):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "S99agentd").write_text(text)

    def script(verb):
        # Its loop keeps what it inherits: no pipe of ours.
        with open(tmp_path / "log", "ab") as log:
            subprocess.run(["/bin/busybox", "sh", tmp_path / "S99agentd", verb], check=True, stdout=log, stderr=log)

    def agent():
        try:
            target = Target(f"unix:{tmp_path}/agent")
            pid = target.connect().request("info")["pid"]
            target.stop()
            return pid
        except (OSError, LinkClosed):
            return None
    script("start")
    loop = int((tmp_path / "pid").read_text())
    try:
        first = eventually(agent, "agentd")
        os.kill(first, 9)
        second = eventually(lambda: (pid := agent()) != first and pid, "another agentd")
        script("stop")
        eventually(lambda: not alive(second) and not alive(loop), "the end of both")
    finally:
        if alive(loop):
            os.kill(loop, 15)
