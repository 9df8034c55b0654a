"""Where paths begin, what a root keeps in, whom new files belong to and with whose rights they are reached (section 13)."""
import errno
import os
import threading

import pytest

from files import Files, b64, exchange, files, refused, root_only, top, tree

USER = 4242
pytestmark = [pytest.mark.own_agent, root_only]


def test_relative_paths_are_in_the_home(agent, files, top):
    """Of the user named, else of the agent's default user, else of the agent's own."""
    assert files.stat(".")["ino"] == os.stat(os.path.expanduser("~root")).st_ino
    assert files.stat(".", user="daemon")["ino"] == os.stat("/usr/sbin").st_ino
    with refused(errno.ENOENT):
        files.stat("/", user="no-such-user")


def test_root_is_not_left(link, top):
    tree(top, {"jail": {"in": {"f": "inside"}}, "secret": "outside"})
    os.symlink("../secret", top / "jail/up")
    os.symlink("/etc/passwd", top / "jail/abs")
    os.symlink("in/f", top / "jail/fine")
    files = Files(link, root=str(top / "jail"))
    assert files.stat("fine")["size"] == files.stat("/in/f")["size"] == files.stat("in/../fine")["size"] == 6
    for path in ("up", "abs", "..", "../secret", "in/../../secret", "/../secret"):
        with refused(errno.EXDEV):
            files.stat(path)
    assert files.stat("up", follow=False)["target"] == "../secret"
    for op, members in (("mkdir", {}), ("symlink", {"target": "x"}), ("remove", {"recursive": True}),
                        ("truncate", {"size": 0}), ("chmod", {"mode": 0}), ("sha256", {}), ("list", {}), ("du", {})):
        with refused(errno.EXDEV):
            getattr(files, op)("../secret", **members)
    for op in ("rename", "copy", "link"):
        with refused(errno.EXDEV):
            getattr(files, op)("in/f", to="../new")
        with refused(errno.EXDEV):
            getattr(files, op)("../secret", to="new")
    assert files.read_many(paths=["../secret", "up"])["files"][0]["error"]["errno"] == errno.EXDEV
    assert files.write_many(files=[{"path": "up", "b64": ""}])["files"][0]["error"]["errno"] == errno.EXDEV
    with refused(errno.EBUSY):
        files.remove("/", recursive=True)
    assert (top / "secret").read_text() == "outside" and sorted(os.listdir(top)) == ["jail", "secret"]


def test_a_race_of_links_against_the_root(link, top):
    """Whoever checks a path and opens it afterwards can be shown another in between."""
    tree(top, {"jail": {"d": {"secret": "inside"}}, "secret": "outside!"})
    os.symlink("..", top / "jail/link")
    files = Files(link, root=str(top / "jail"))
    over = threading.Event()

    def swap():
        while not over.is_set():
            exchange(top / "jail/d", top / "jail/link")
    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for _ in range(300):
            entry = files.read_many(paths=["d/secret"])["files"][0]
            assert entry.get("b64", b64(b"inside")) == b64(b"inside")
            seen.add("b64" in entry)
            written = files.write_many(files=[{"path": "d/new", "b64": ""}])["files"][0]
            assert written == {} or written["error"]["errno"] in (errno.EXDEV, errno.ENOENT, errno.EEXIST,
                                                                  errno.ENOTDIR)
    finally:
        over.set()
        thread.join()
    assert seen == {True, False} and not (top / "new").exists()


def test_new_files_belong_to_the_user_of_the_directory(files, top):
    """Everything the agent makes under a home is the home's user's, not root's."""
    home = top / "home"
    home.mkdir()
    os.chown(home, USER, USER + 1)
    files.mkdir(home / "a/b", parents=True)
    files.write_many(files=[{"path": f"{home}/c/d/f", "b64": ""}])
    files.symlink(home / "s", target="x")
    tree(top, {"src": {"f": "1", "sub": {"g": ""}}})
    files.copy(top / "src", to=f"{home}/copy", recursive=True)
    for path in ("a", "a/b", "c", "c/d", "c/d/f", "s", "copy", "copy/f", "copy/sub", "copy/sub/g"):
        st = os.lstat(home / path)
        assert (st.st_uid, st.st_gid) == (USER, USER + 1), path


def test_owner_can_be_said(files, top):
    files.mkdir(top / "ids", owner="5:6")
    assert ((top / "ids").stat().st_uid, (top / "ids").stat().st_gid) == (5, 6)
    os.chown(top, USER, USER)
    files.mkdir(top / "self", owner="self")
    assert (top / "self").stat().st_uid == 0


def test_rights_of_a_user(link, top):
    tree(top, {"private": "x", "theirs": {}})
    (top / "private").chmod(0o600)
    os.chown(top / "theirs", USER, USER)
    files = Files(link, user=str(USER))
    assert files.read_many(paths=[f"{top}/private"])["files"][0]["error"]["errno"] == errno.EACCES
    with refused(errno.EACCES):
        files.mkdir(top / "no")
    with refused(errno.EPERM):
        files.chmod(top / "private", mode=0o777)
    with refused(errno.EACCES):
        files.remove(top / "private")
    files.mkdir(top / "theirs/d")
    assert (top / "theirs/d").stat().st_uid == USER
    files.write_many(files=[{"path": f"{top}/theirs/f", "b64": b64(b"1")}])
    assert (top / "theirs/f").stat().st_uid == USER
    # The thread that did this acts as the agent again.
    assert Files(link).read_many(paths=[f"{top}/private"])["files"] == [{"b64": b64(b"x")}]
