"""QEMU's machine protocol, as far as the VM needs it: commands, their results, waiting for events."""
import json
import socket
import time


class QmpError(Exception):
    pass


class Qmp:
    def __init__(self, path, timeout=10):
        self.events, self.buffer = [], b""
        deadline = time.monotonic() + timeout
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(str(path))
                break
            except OSError:
                self.socket.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self._line(deadline)
        self.ask("qmp_capabilities")

    def _line(self, deadline):
        while b"\n" not in self.buffer:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                got = self.socket.recv(65536)
            except TimeoutError:
                raise QmpError("QEMU does not answer") from None
            if not got:
                raise QmpError("QEMU has gone")
            self.buffer += got
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def ask(self, command, timeout=10, **arguments):
        message = {"execute": command}
        if arguments:
            message["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.socket.sendall(json.dumps(message).encode() + b"\n")
        deadline = time.monotonic() + timeout
        while True:
            got = self._line(deadline)
            if "event" in got:
                self.events.append(got)
            elif "error" in got:
                raise QmpError(f"{command}: {got['error']['desc']}")
            else:
                return got["return"]

    def wait(self, event, timeout=10, **data):
        """The next event of that name whose data hold these members; those before it are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            got = self.events.pop(0) if self.events else self._line(deadline)
            if got.get("event") == event and all(got["data"].get(key) == value for key, value in data.items()):
                return got

    def close(self):
        self.socket.close()
