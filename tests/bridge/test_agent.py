"""Claude sessions: how they are started and spoken to over HTTP, and that a sandbox does not idle out in a turn."""
# ctest: timeout=300
import concurrent.futures
import json
import pathlib
import time

import pytest

from claude import PATH, STAND_IN
from commands import Box
from harness import eventually
from host import Closed

pytestmark = pytest.mark.bridge(driver="external")


@pytest.fixture
def agent(start_agent):
    return start_agent(claude=STAND_IN)


@pytest.fixture
def box(bridge, agent):
    return Box(bridge, bridge.adopt(agent), agent)


class Talk:
    """A client on the socket of an agent session: its events, as they come."""

    def __init__(self, box, session, alias=False):
        self.socket = box.bridge.websocket(f"{box.base}/{'agent' if alias else 'exec'}/{session}")
        self.text, self.events, self.code = b"", [], None

    def send(self, **line):
        self.socket.send(b"\0" + json.dumps(line).encode() + b"\n")

    def read(self, timeout=15):
        message = self.socket.recv(timeout)
        if message[:1] == b"\1":
            self.text += message[1:]
            *lines, self.text = self.text.split(b"\n")
            self.events += [json.loads(line) for line in lines]
        elif message[:1] == b"\3":
            self.code = int.from_bytes(message[1:], "big", signed=True)

    def wait(self, kind, count=1):
        while len(found := [e for e in self.events if e["type"] == kind]) < count:
            self.read()
        return found[count - 1]

    def kinds(self):
        return [e["type"] for e in self.events]

    def finish(self):
        try:
            while True:
                self.read()
        except Closed as closed:
            self.socket.cut()
            return self.code, closed.code


def start(box, **fields):
    return box.ok("/agent", fields, 201)


def pending(box, session):
    entry, = [e for e in box.get("/agent").json() if e["sessionID"] == session]
    return entry["pendingTurns"]


def test_start_with_a_prompt(box):
    """configure goes before prompt; what was said before the client came is replayed; the list has it by kind."""
    started = start(box, prompt="say grüezi", model="some-model", maxTurns=3, allowedTools=["Bash"])
    session = started["sessionID"]
    assert started["sandboxID"] == box.name and started["running"] is True and started["startedAt"].endswith("Z")
    talk = Talk(box, session)
    talk.wait("turn_complete")
    kinds = talk.kinds()
    assert kinds[:2] == ["ready", "configured"] and kinds[-1] == "turn_complete"
    said = talk.wait("assistant")["message"]["content"][0]["text"]
    assert said == "grüezi"
    assert "some-model" in talk.wait("system")["argv"] or "--model=some-model" in talk.wait("system")["argv"]
    entry, = box.get("/agent").json()
    assert entry["sessionID"] == session and entry["claudeSessionID"].startswith("stand-in-")
    assert [e["command"] for e in box.sessions().values()] == ["claude-agent-wrapper"]
    assert box.post(f"/agent/{session}/kill").status == 204
    assert talk.finish() == (137, 1000)
    entry = eventually(lambda: [e for e in box.get("/agent").json() if not e["running"]], "its end")[0]
    assert entry["exitCode"] == 137


def test_prompts_and_interrupt_over_http(box):
    session = start(box)["sessionID"]
    talk = Talk(box, session, alias=True)
    assert box.post(f"/agent/{session}/prompt", {"text": "say one"}).status == 204
    talk.wait("turn_complete")
    assert box.post(f"/agent/{session}/prompt", {"text": "hang"}).status == 204
    talk.wait("system", 2)
    assert pending(box, session) == 1
    assert box.post(f"/agent/{session}/interrupt").status == 204
    talk.wait("interrupted")
    talk.wait("turn_complete", 2)
    eventually(lambda: pending(box, session) == 0, "the turn to be over")
    assert "configured" not in talk.kinds()


def test_body_over_several_lines(box):
    """Line ends between the tokens of what a client sends do not cut the line to the session."""
    body = b'{"prompt":\n"say x",\r\n"mcpServers":{\n"a":{"command":"b",\n"args":["c"]}},\n"systemPrompt":\n"two\\nlines"}'
    reply = box.post("/agent", body, headers={"Content-Type": "application/json"})
    assert reply.status == 201, reply
    talk = Talk(box, reply.json()["sessionID"])
    talk.wait("turn_complete")
    assert "error" not in talk.kinds() and talk.kinds()[1] == "configured"


@pytest.mark.parametrize("body, words", [
    ({"prompt": 5}, "prompt"), ({"model": 5}, "model"), ({"allowedTools": "x"}, "allowedTools"), ({"maxTurns": "3"}, "maxTurns"),
    ({"mcpServers": []}, "mcpServers"), ({"cwd": 1}, "cwd"), ({"envs": []}, "envs"),
])
def test_bad_bodies(box, body, words):
    reply = box.post("/agent", body)
    assert reply.status == 400 and words in reply.error(), reply
    assert box.get("/agent").json() == []


def test_start_that_fails(box):
    reply = box.post("/agent", {"cwd": "/no/such/dir"})
    assert reply.status == 400 and "/no/such/dir" in reply.error()


def test_start_of_one_that_ends_at_once(box):
    """It is a session that says what is wrong, also when it has ended before it was told its prompt: that was a 409."""
    for _ in range(10):
        session = start(box, prompt="say x", envs={"AGENTD_CLAUDE": "/no/such/claude"})["sessionID"]
        talk = Talk(box, session)
        assert "/no/such/claude" in talk.wait("error")["message"]
        assert talk.finish() == (1, 1000)


def test_directory_and_environment(box, tmp_path):
    session = start(box, cwd=str(tmp_path), envs={"STAND_IN": "old", "PATH": PATH}, prompt="say x")["sessionID"]
    talk = Talk(box, session)
    talk.wait("turn_complete")
    assert talk.wait("system")["cwd"] == str(tmp_path)


def test_statuses(box):
    """400 without a text, 404 for what is none of these sessions, also where there is a command of that id."""
    session = start(box)["sessionID"]
    command = box.start("sleep", "100")["sessionID"]
    for body in ({}, {"text": ""}, {"text": None}, {"text": 5}):
        assert box.post(f"/agent/{session}/prompt", body).status == 400
    for name in (command, "a000000000000", "x"):
        for route, body in (("prompt", {"text": "x"}), ("interrupt", {}), ("kill", {})):
            assert box.post(f"/agent/{name}/{route}", body).status == 404, (name, route)
    assert box.sessions()[command]["running"]
    assert box.post(f"/exec/{session}/kill").status == 204, "an agent session is a session"
    eventually(lambda: not box.sessions()[session]["running"], "its end")
    for route, body in (("prompt", {"text": "x"}), ("interrupt", {})):
        assert box.post(f"/agent/{session}/{route}", body).status == 409


def test_large_prompt(box):
    """Over a MiB: more than any buffer on the way holds at once."""
    session = start(box)["sessionID"]
    talk = Talk(box, session)
    assert box.post(f"/agent/{session}/prompt", {"text": "say " + "x" * 3_000_000}).status == 204
    talk.wait("turn_complete")
    assert len(talk.wait("assistant")["message"]["content"][0]["text"]) == 3_000_000


def test_large_prompts_at_once(box):
    """Bug: what came while a long prompt was on its way went into the middle of its line, and spoilt both."""
    session = start(box)["sessionID"]
    talk = Talk(box, session)
    bodies = [("prompt", {"text": f"say {n}" + "x" * 2_000_000}) for n in range(3)] + [("interrupt", {})] * 5
    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        replies = list(pool.map(lambda body: box.post(f"/agent/{session}/{body[0]}", body[1]), bodies))
    assert [reply.status for reply in replies] == [204] * len(bodies)
    talk.wait("turn_complete", 3)
    assert "error" not in talk.kinds()
    eventually(lambda: pending(box, session) == 0, "no turn to do")


def test_many_at_once(box):
    sessions = [start(box, prompt=f"say {i}")["sessionID"] for i in range(10)]
    for i, session in enumerate(sessions):
        talk = Talk(box, session)
        talk.wait("turn_complete")
        assert talk.wait("assistant")["message"]["content"][0]["text"] == str(i)
        talk.socket.cut()
    assert [e["sessionID"] for e in box.get("/agent").json()] == sessions


# --------------------------------------------------------------------------------------------- who counts turns

def test_turns_are_counted(box):
    """Prompts over HTTP and over sockets; those that wait, too; the end of each; what was refused is none."""
    session = start(box, prompt="hang")["sessionID"]
    talk = Talk(box, session)
    talk.wait("system")
    talk.send(type="prompt", text="say two")
    talk.send(type="prompt", text="say three")
    talk.send(type="prompt", text="")
    talk.send(type="configure", maxTurns="none")
    talk.wait("error", 2)
    eventually(lambda: pending(box, session) == 3, "three turns to do")
    talk.send(type="interrupt")
    talk.wait("turn_complete", 3)
    eventually(lambda: pending(box, session) == 0, "no turn to do")


def test_eight_clients(box):
    """What watches the turns takes no client's place at the agent."""
    session = start(box)["sessionID"]
    talks = [Talk(box, session) for _ in range(8)]
    for i, talk in enumerate(talks):
        talk.send(type="prompt", text=f"say {i}")
        talk.wait("turn_complete", i + 1)
    talks[0].socket.close()
    assert box.post(f"/agent/{session}/prompt", {"text": "say x"}).status == 204
    talks[1].wait("turn_complete", 9)
    for talk in talks[1:]:
        talk.socket.cut()


def test_turns_of_the_program(box):
    """A turn that nobody asked for counts while it runs, and not afterwards."""
    session = start(box, prompt="then more")["sessionID"]
    talk = Talk(box, session)
    talk.wait("turn_complete", 2)
    eventually(lambda: pending(box, session) == 0, "no turn to do")


def test_a_turn_that_ends_badly(box):
    session = start(box, prompt="exit 3")["sessionID"]
    talk = Talk(box, session)
    talk.wait("turn_complete")
    eventually(lambda: pending(box, session) == 0, "no turn to do")
    talk.send(type="prompt", text="hang")
    talk.wait("system", 2)
    assert pending(box, session) == 1
    assert box.post(f"/agent/{session}/kill").status == 204
    talk.finish()
    assert pending(box, session) == 0


def test_turn_found_after_a_restart(box, bridge):
    """A bridge that was killed knows that a turn is under way, and that it is over."""
    session = start(box, prompt="hang")["sessionID"]
    Talk(box, session).wait("system")
    bridge.kill()
    bridge.start()
    eventually(lambda: box.get("").json()["status"] == "running" and box.get("/agent").json(), "the sandbox to be back")
    eventually(lambda: pending(box, session) == 1, "the turn to be found")
    talk = Talk(box, session)
    assert box.post(f"/agent/{session}/interrupt").status == 204
    talk.wait("turn_complete")
    eventually(lambda: pending(box, session) == 0, "the turn to be over")
    entry, = box.get("/agent").json()
    assert entry["claudeSessionID"].startswith("stand-in-")
    assert box.sessions()[session]["command"] == "claude-agent-wrapper"


@pytest.mark.bridge(driver="local")
def test_no_idling_in_a_turn(bridge):
    """A turn holds the sandbox's idle timer though nobody looks on (the original hibernated in the middle of it); its end
    lets the timer run."""
    box = Box(bridge, bridge.create(timeout=2))
    program = "/home/sandbox/stand-in"  # ours may be where a sandbox has directories of its own
    assert bridge.put(f"{box.base}/files", pathlib.Path(STAND_IN).read_bytes(), query={"path": program}).status == 204
    bridge.run(box.name, f"chmod +x {program}")
    session = start(box, prompt="hang", envs={"AGENTD_CLAUDE": program, "PATH": PATH})["sessionID"]
    Talk(box, session).wait("system")
    ends = time.monotonic() + 5
    while time.monotonic() < ends:
        assert bridge.get(box.base).json()["status"] == "running"
        time.sleep(0.2)
    assert box.post(f"/agent/{session}/interrupt").status == 204
    began = time.monotonic()
    eventually(lambda: bridge.get(box.base).json()["status"] != "running", "the sandbox to idle out", 15)
    assert time.monotonic() - began > 1
    assert bridge.delete(box.base).status == 204
