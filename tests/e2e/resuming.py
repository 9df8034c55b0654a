"""A client that must not lose anything: it names its viewer, and resumes by offset (section 6, Resume)."""
import random

from client import Link
from wire import FIN, PAYLOAD_MAX, LinkClosed


class Resuming:
    """A client that must not lose anything, on links that are cut after a number of bytes each."""

    def __init__(self, agent, start, data=b"", window=262144, **attach):
        self.agent, self.data = agent, memoryview(data)
        self.id = agent.new_id("resume")
        self.start = start
        self.attach = {"viewer": "me", "hold_ms": 60000, "input": bool(data), **attach}
        self.window = window
        self.channel, self.instance = None, None
        self.cuts, self.acked = 0, 0

    def run(self, budgets):
        """Uses up the budgets, one link each, then goes on until the session ends."""
        budgets = list(budgets)
        while self.channel is None or self.channel.closed is None:
            try:
                self.attempt(budgets.pop() if budgets else None)
            except LinkClosed:
                self.cuts += 1
        return self.channel

    def attempt(self, budget):
        link = Link.connect(self.agent.target, cut_after=budget, timeout=20)
        assert self.instance in (None, link.hello["instance"])
        self.instance = link.hello["instance"]
        if self.channel is None:
            self.channel = link.open(wait=False, id=self.id, start=self.start, attach=self.attach, window=self.window,
                                     keep=False)
        else:
            self.channel = self.channel.resume(link, wait=False)
        channel = self.channel
        channel.wait_opened()
        assert channel.offset >= self.acked, "what was acknowledged must still be there"
        try:
            self.feed(channel)
            channel.finish(60)
        finally:
            self.acked = max(self.acked, channel.acked)
            link.cut()

    def feed(self, channel):
        """Input from where the session has it, and EOF unless that has arrived, too."""
        while channel.offset < len(self.data) and not channel.stdin_closed and channel.closed is None:
            channel.write(self.data[channel.offset:channel.offset + PAYLOAD_MAX])
        if channel.opened["stdin"]["open"] and self.data and channel.closed is None and not channel.stdin_closed:
            channel.send_at(len(self.data), b"", FIN)


def random_budgets(seed, count, most):
    """Bytes until the cut; some so few that the link breaks in the handshake or in OPEN."""
    rng = random.Random(seed)
    return [rng.randrange(1, 1500) if rng.random() < 0.3 else rng.randrange(1, most) for _ in range(count)]
