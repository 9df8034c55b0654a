"""An agent whose channels say what a test wants, or anything."""
import threading

from hand_made import HandMade
from wire import CLOSE, DATA, EVENT, OPEN, OPENED, PAYLOAD_MAX, STDOUT, WINDOW


class Channel:
    """A channel that the bridge has opened: `spec` is its OPEN. Credit alone is kept: without it the link would end."""

    def __init__(self, say, number, spec):
        self._say, self.number, self.spec, self.offset = say, number, spec, 0
        self.room, self.more = spec.get("window", 0), threading.Condition()

    def grant(self, total):
        with self.more:
            self.room = max(self.room, total)
            self.more.notify()

    def say(self, kind, payload=b"", arg=0, flags=0, stream=0):
        """Any frame of it."""
        self._say(kind, self.number, arg, payload, flags, stream)

    def opened(self, window=1 << 20):
        self.say(OPENED, {"window": window})

    def event(self, **members):
        self.say(EVENT, members)

    def data(self, data):
        for at in range(0, len(data), PAYLOAD_MAX):
            part = data[at:at + PAYLOAD_MAX]
            with self.more:
                self.more.wait_for(lambda: self.offset + len(part) <= self.room, 30)
            self.say(DATA, part, self.offset, stream=STDOUT)
            self.offset += len(part)

    def close(self, **error):
        self.say(CLOSE, {"error": error} if error else b"")


class Liar(HandMade):
    """on_open(channel) does what is to be done with a channel, in a thread of its own; answers[op] is what a request is
    answered with, or a function of it."""

    def __init__(self, on_open=None, **answers):
        self.on_open, self.answers = on_open, {"list": {"sessions": []}, **answers}
        self.channels = {}
        super().__init__()

    def answer(self, request):
        answer = self.answers.get(request["op"], {})
        return answer(request) if callable(answer) else answer

    def hear(self, say, got):
        if got.type == OPEN:
            channel = self.channels[say, got.channel] = Channel(say, got.channel, got.json())
            threading.Thread(target=self._lie, args=(channel,), daemon=True).start()
        elif got.type == WINDOW and (say, got.channel) in self.channels:
            self.channels[say, got.channel].grant(got.arg)

    def _lie(self, channel):
        try:
            self.on_open(channel)
        except OSError:
            pass  # the link is gone
