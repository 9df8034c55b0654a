"""A Messages API on the loopback, enough of it for the real Claude CLI, that does what the prompt says.

A prompt is looked at word for word (its last line with a known word in front counts):

    say TEXT         answers with TEXT
    bash COMMAND     asks for the tool Bash with COMMAND, then answers with what came back
    use NAME JSON    asks for any tool with this input, then the same
    hold TEXT        sends TEXT and goes on only once released, or when the client hangs up
    fail STATUS      answers with that HTTP status
"""
import http.server
import itertools
import json
import threading

WORDS = ("say", "bash", "use", "hold", "fail")


class MessagesApi:
    """`with MessagesApi() as api:`; .requests has every body of POST /v1/messages that has a command in it."""

    def __init__(self):
        self.requests, self.others = [], []
        self.holding, self.released, self.hung_up = threading.Event(), threading.Event(), threading.Event()
        self.serial = itertools.count(1)
        api = self

        class Handler(_Handler):
            owner = api
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def env(self, home):
        """The environment that keeps a CLI on the loopback, with its files in `home`."""
        return {"HOME": str(home), "ANTHROPIC_BASE_URL": self.url, "ANTHROPIC_API_KEY": "sk-none", "NO_PROXY": "*",
                "DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1", "DISABLE_ERROR_REPORTING": "1",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


def text_of(content):
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") if part["type"] == "text" else "" for part in content)


def command_of(messages):
    """The (word, rest) of the latest command of the user's; the tool's result when that came after it."""
    result = None
    for message in reversed(messages):
        parts = message["content"] if message["role"] == "user" else []
        for part in reversed([{"type": "text", "text": parts}] if isinstance(parts, str) else parts):
            if part["type"] == "tool_result":
                result = result or (text_of(part.get("content") or ""), bool(part.get("is_error")))
            for line in reversed(part.get("text", "").splitlines()):
                word, _, rest = line.strip().partition(" ")
                if word in WORDS:
                    return word, rest, result
    return "say", "nothing was asked", None


class _Handler(http.server.BaseHTTPRequestHandler):
    owner = None
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        self.owner.others.append(self.path)
        self._json(404, {"type": "error", "error": {"type": "not_found_error", "message": "not here"}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.startswith("/v1/messages"):
            return self.do_GET()
        if self.path.startswith("/v1/messages/count_tokens"):
            return self._json(200, {"input_tokens": 10})
        word, rest, result = command_of(body["messages"])
        self.owner.requests.append(body)
        if word == "fail":
            return self._json(int(rest), {"type": "error", "error": {"type": "invalid_request_error",
                                                                     "message": f"told to fail with {rest}"}})
        self.body = body
        try:
            return self._answer(word, rest, result)
        except (BrokenPipeError, ConnectionResetError):
            self.owner.hung_up.set()
            self.close_connection = True

    def _answer(self, word, rest, result):
        if result is not None:
            text, failed = result
            return self._message([("text", f"{'it failed' if failed else 'it said'}: {text}")], "end_turn")
        if word == "bash":
            return self._message([("text", "Let me run that."), ("Bash", {"command": rest, "description": "as told"})],
                                 "tool_use")
        if word == "use":
            name, _, text = rest.partition(" ")
            return self._message([(name, json.loads(text))], "tool_use")
        return self._message([("text", rest)], "end_turn", hold=word == "hold")

    # answers

    def _json(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("x-should-retry", "false")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _message(self, blocks, stop, hold=False):
        message = {"id": f"msg_{next(self.owner.serial)}", "type": "message", "role": "assistant", "content": [],
                   "model": self.body["model"], "stop_reason": None, "stop_sequence": None,
                   "usage": {"input_tokens": 10, "output_tokens": 1}}
        if not self.body.get("stream"):
            content = [{"type": "text", "text": value} if kind == "text" else
                       {"type": "tool_use", "id": f"toolu_{next(self.owner.serial)}", "name": kind, "input": value}
                       for kind, value in blocks]
            return self._json(200, {**message, "content": content, "stop_reason": stop})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._event("message_start", message=message)
        for index, (kind, value) in enumerate(blocks):
            self._block(index, kind, value)
        if hold:
            self._hold()
        self._event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": 5})
        self._event("message_stop")
        self.wfile.write(b"0\r\n\r\n")
        return None

    def _block(self, index, kind, value):
        if kind == "text":
            start, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": value}
        else:
            start = {"type": "tool_use", "id": f"toolu_{next(self.owner.serial)}", "name": kind, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(value)}
        self._event("content_block_start", index=index, content_block=start)
        self._event("content_block_delta", index=index, delta=delta)
        self._event("content_block_stop", index=index)

    def _hold(self):
        """Pings as the real one does, which is also how it is seen that the client has gone."""
        self.owner.holding.set()
        while not self.owner.released.wait(0.1):
            self._event("ping")

    def _event(self, kind, **members):
        data = f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()
