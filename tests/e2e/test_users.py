"""Users: who a command runs as, with which groups, home and shell (section 6, `user`)."""
import os
import pwd
import shutil
import subprocess

import pytest

from wire import AgentError

pytestmark = [pytest.mark.own_agent, pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become others")]


def ids(link, **start):
    """uid, gid and all groups a command has, real and effective alike."""
    status = link.run(["cat", "/proc/self/status"], **start).out.decode()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    (uid,), (gid,) = set(fields["Uid"].split()), set(fields["Gid"].split())
    return int(uid), int(gid), {int(group) for group in fields["Groups"].split()}


def test_own_user_by_default(agent):
    link = agent.connect()
    assert ids(link)[:2] == (0, 0)


@pytest.mark.parametrize("name", ["nobody", "daemon", "games", "root"])
def test_user_by_name(agent, name):
    """With all supplementary groups of the name, and none of the agent's."""
    entry = pwd.getpwnam(name)
    uid, gid, groups = ids(agent.connect(), user=name, cwd="/")
    assert (uid, gid) == (entry.pw_uid, entry.pw_gid)
    assert groups | {gid} == set(os.getgrouplist(name, entry.pw_gid))


def test_user_by_uid(agent):
    entry = pwd.getpwnam("daemon")
    uid, gid, _ = ids(agent.connect(), user=str(entry.pw_uid), cwd="/")
    assert (uid, gid) == (entry.pw_uid, entry.pw_gid)


def test_user_and_group_by_number(agent):
    """Neither needs an entry in /etc/passwd: containers are full of such users."""
    uid, gid, groups = ids(agent.connect(), user="54321:12345", cwd="/")
    assert (uid, gid) == (54321, 12345) and groups <= {12345}


def test_user_and_group_by_name(agent):
    uid, gid, _ = ids(agent.connect(), user="nobody:games", cwd="/")
    assert (uid, gid) == (65534, 60)


def test_environment_of_the_user(agent):
    link = agent.connect()
    entry = pwd.getpwnam("games")
    out = link.run(["sh", "-c", "echo $HOME; echo $USER; echo $LOGNAME; echo $SHELL"], user="games", cwd="/").out
    assert out.decode().split() == [entry.pw_dir, "games", "games", entry.pw_shell]


def test_home_is_the_default_cwd_else_the_root(agent):
    link = agent.connect()
    assert not os.path.exists(pwd.getpwnam("nobody").pw_dir)
    assert link.run(["pwd"], user="nobody").out == b"/\n"
    assert link.run(["pwd"], user="daemon").out.strip().decode() == pwd.getpwnam("daemon").pw_dir


def test_list_tells_the_user(agent):
    link = agent.connect()
    channel = link.run(["true"], user="nobody")
    assert link.entry(channel.id)["user"] == "nobody"


def test_no_way_back(agent):
    """The saved ids are given up, too, and with them every capability."""
    status = agent.connect().run(["cat", "/proc/self/status"], user="nobody").out.decode()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert set(fields["Uid"].split()) == {"65534"}
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0


def test_files_are_opened_as_the_user(agent, tmp_path):
    """The program is executed with the user's rights, and the directory entered with them."""
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o700)
    shutil.copy("/bin/true", secret / "true")
    link = agent.connect()
    end = link.run([str(secret / "true")], user="nobody", cwd="/").end
    assert (end["state"], end["stage"], end["errno"]) == ("start_failed", "exec", 13)
    end = link.run(["true"], user="nobody", cwd=str(secret)).end
    assert (end["state"], end["stage"], end["errno"]) == ("start_failed", "cwd", 13)


@pytest.mark.agentd(default_user="nobody")
def test_default_user(agent):
    link = agent.connect()
    assert ids(link)[:2] == (65534, 65534)
    assert ids(link, user="games", cwd="/")[0] == 5
    assert link.entry(link.run(["true"]).id)["user"] == "nobody"


@pytest.mark.agentd(user=65534)
def test_agent_that_is_not_root(agent):
    """It runs commands as itself, and says so when it cannot become another."""
    link = agent.connect()
    assert ids(link)[:2] == (65534, 65534)
    end = link.run(["true"], user="root", cwd="/").end
    assert (end["state"], end["stage"], end["errno"], end["error"]) == ("start_failed", "user", 1, "EPERM")
    assert link.sh("echo fine", user="nobody").out == b"fine\n"


def private_etc(tmp_path):
    """A wrapper that runs agentd with an /etc/passwd and /etc/group of its own; the host's are not touched."""
    passwd = ("root:x:0:0:root:/root:/bin/sh\n"
              "# a comment, an empty line and broken lines are passed over\n\n"
              "broken\nbroken:x:notanumber:1::/:/bin/sh\n"
              "builder:x:7001:7002:The Builder:/:/bin/sh\n"
              f"late:x:7003:7003::/nonexistent:\ngecos:x:7004:7004:{'long' * 500}:/:/bin/sh\n"
              "last:x:7005:7005::/:/bin/sh")
    group = ("root:x:0:\nbuilder:x:7002:\nwheel:x:7010:root,builder\ndocker:x:7011:builder\n"
             "nearly:x:7012:builder2,xbuilder\nempty:x:7013:,\nbroken:x\n"
             + "".join(f"g{number}:x:{7100 + number}:builder\n" for number in range(100))
             + f"crowd:x:7014:{','.join(f'user{number}' for number in range(3000))},builder\n"
             + "end:x:7015:last")
    (tmp_path / "passwd").write_text(passwd)
    (tmp_path / "group").write_text(group)
    script = f"mount --bind {tmp_path}/passwd /etc/passwd && mount --bind {tmp_path}/group /etc/group && exec \"$@\""
    return ["unshare", "--mount", "sh", "-c", script, "sh"]


@pytest.fixture
def etc_agent(start_agent, tmp_path):
    wrapper = private_etc(tmp_path)
    if subprocess.run([*wrapper, "true"], capture_output=True).returncode != 0:
        pytest.skip("no mount namespace can be made here")
    return start_agent(wrapper=wrapper)


def test_own_parser_of_passwd_and_group(etc_agent):
    """A static binary has no NSS: agentd reads the files itself, long lines, comments and bad ones included."""
    link = etc_agent.connect()
    expected = {7002, 7010, 7011, 7014, *range(7100, 7200)}
    uid, gid, groups = ids(link, user="builder")
    assert (uid, gid) == (7001, 7002) and groups | {7002} == expected
    uid, gid, groups = ids(link, user="builder:docker")
    assert (uid, gid) == (7001, 7011) and groups | {7002, 7011} == expected
    assert ids(link, user="last") == (7005, 7005, {7005, 7015}), "a last line without a line feed"
    assert ids(link, user="gecos")[0] == 7004
    assert ids(link, user="7001")[:2] == (7001, 7002)


def test_user_without_a_shell_or_a_home(etc_agent):
    link = etc_agent.connect()
    out = link.run(["/usr/bin/env"], user="late").out
    assert b"USER=late\n" in out and b"SHELL=/bin/sh\n" in out, "an empty shell field means /bin/sh, see passwd(5)"
    assert link.run(["pwd"], user="late").out == b"/\n"


@pytest.mark.parametrize("user", ["broken", "build", "builder2", "notanumber", "uilder"])
def test_names_that_are_not_there(etc_agent, user):
    end = etc_agent.connect().run(["true"], user=user).end
    assert (end["state"], end["stage"]) == ("start_failed", "user")


def test_passwd_is_read_anew(etc_agent, tmp_path):
    """useradd in a sandbox works at once."""
    link = etc_agent.connect()
    assert link.run(["true"], user="fresh").end["state"] == "start_failed"
    with open(tmp_path / "passwd", "a") as file:
        file.write("\nfresh:x:7077:7077::/:/bin/sh\n")
    assert ids(link, user="fresh")[0] == 7077


@pytest.mark.parametrize("user", ["", ":", "root:", ":root", "4294967295", "4294967296", "-1", "0x10", "1:2:3", "1:-1"])
def test_strange_users(agent, user):
    """Refused or failed, never root by accident: (uid_t)-1 means `leave as it is` to setresuid."""
    link = agent.connect()
    try:
        end = link.run(["true"], user=user, cwd="/").end
        assert (end["state"], end["stage"]) == ("start_failed", "user")
    except AgentError as refused:
        assert refused.code == "bad_message"
