"""What a command says before its first client is there: nothing of it is lost, however much it is."""
import time

import pytest

from host import eventually
from sockets import DONE, OUT, Attached, start

pytestmark = pytest.mark.bridge(driver="external")


@pytest.fixture
def box(bridge, agent):
    return bridge.adopt(agent)


def running(bridge, box, session):
    return next(one for one in bridge.get(f"/sandboxes/{box}/exec").json() if one["sessionID"] == session)["running"]


def test_much_output_before_the_first_client(bridge, box):
    """It was cut to the scrollback, with an exit code as if nothing had happened."""
    session = start(bridge, box, "head -c 20000000 /dev/zero; exit 3")
    time.sleep(1)
    client = Attached(bridge, box, session, keep=False)
    assert client.to_end() == DONE
    assert client.streams[OUT].n == 20000000 and client.exit == 3


def test_ended_before_the_first_client(bridge, box):
    session = start(bridge, box, "seq 1 100; exit 4")
    eventually(lambda: not running(bridge, box, session), "its end")
    client = Attached(bridge, box, session)
    assert client.to_end() == DONE
    assert client.out == b"".join(b"%d\n" % n for n in range(1, 101)) and client.exit == 4


@pytest.mark.seconds(90)
def test_nobody_comes(bridge, box):
    """Then it is held up for a moment only, and the scrollback is what is left."""
    session = start(bridge, box, "head -c 20000000 /dev/zero; echo the end")
    eventually(lambda: not running(bridge, box, session), "its end", 30)
    client = Attached(bridge, box, session)
    assert client.to_end() == DONE
    assert client.out.endswith(b"\0the end\n") and len(client.out) <= 2 << 20


def test_the_bridge_ends_meanwhile(bridge, box):
    """Nothing of it keeps the bridge from ending in order; the next one has the session."""
    session = start(bridge, box, "echo before; read x")
    bridge.restart()
    client = Attached(bridge, box, session).until(b"before\n")
    client.write("go\n")
    assert client.to_end() == DONE
