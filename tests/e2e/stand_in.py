#!/usr/bin/python3
"""A program with the stream-json interface of the Claude CLI, which misbehaves when it is told to.

It is what AGENTD_CLAUDE names in tests of faults that the real one cannot be made to show. The prompt says what is
to happen:

    say TEXT        a turn with TEXT            then TEXT    a turn, and another one that nobody asked for
    exit N          says so on stderr, ends     die          kills itself
    hang            goes on until interrupted   deaf         hears no interrupt, but TERM
    stone           not even that               garbage      lines that are no JSON, and no UTF-8
    huge N          a line of N bytes           bytes        writes a message byte by byte
    ask             asks whether it may use a tool; the answer is its result
    odd             a control request that nobody knows; likewise
    quit            ends after the turn         mute         takes no more input, and stays
    stderr N        N lines on stderr
    slow            begins its turn only when it hears its second interrupt
    flood FILE      says lines without end until it is interrupted, of which it tells FILE at once

STAND_IN: words among `old` (does not know --system-prompt-snapshot), `stubborn` (refuses to change the model), `gone`
(no conversation can be resumed), `lost` (the same, and says so only on stderr). STAND_IN_LOG: a file with every byte
that it has written to stdout.
"""
import json
import os
import signal
import sys
import threading
import time

WORDS = os.environ.get("STAND_IN", "").split()
LOG = open(os.environ["STAND_IN_LOG"], "ab", buffering=0) if "STAND_IN_LOG" in os.environ else None
options = dict(arg[2:].partition("=")[::2] for arg in sys.argv[1:] if arg.startswith("--"))
writing = threading.Lock()
session = options.get("resume", f"stand-in-{os.getpid()}")
model = options.get("model", "stand-in-1")


def put(data):
    with writing:
        if LOG:
            LOG.write(data)
        view = memoryview(data)
        while view:
            view = view[os.write(1, view):]


def say(kind, **members):
    put(json.dumps({"type": kind, "session_id": session, **members}, ensure_ascii=False).encode() + b"\n")


def text(words):
    say("assistant", message={"role": "assistant", "content": [{"type": "text", "text": words}]})


def begin():
    say("system", subtype="init", cwd=os.getcwd(), model=model, argv=sys.argv[1:], pid=os.getpid(),
        sandbox=os.environ.get("IS_SANDBOX"))


def result(words, failed=False):
    say("result", subtype="error_during_execution" if failed else "success", is_error=failed, result=words)


def read():
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


def answer(message, **members):
    put(json.dumps({"type": "control_response", "response": {"request_id": message["request_id"], **members}}).encode()
        + b"\n")


def control(message):
    """Answers a request; true when it was an interrupt."""
    global model
    request = message["request"]
    if request["subtype"] == "set_model":
        if "stubborn" in WORDS:
            answer(message, subtype="error", error="no other model")
            return False
        model = request["model"]
    answer(message, subtype="success", response={})
    return request["subtype"] == "interrupt"


def until_interrupted(times=1):
    while times:
        message = read()
        if message["type"] == "control_request":
            times -= control(message)


def ask(subtype, **members):
    request = {"type": "control_request", "request_id": "its-own", "request": {"subtype": subtype, **members}}
    put(json.dumps(request).encode() + b"\n")
    while True:
        message = read()
        if message["type"] == "control_response":
            return message["response"]


def flood(path):
    heard = threading.Event()

    def listen():
        message = read()
        with open(path, "w"):
            heard.set()
        control(message)
    listener = threading.Thread(target=listen)
    listener.start()
    while not heard.is_set():
        text("x" * 10000)
    listener.join()
    result("[interrupted]", failed=True)


def turn(prompt):
    word, _, rest = prompt.partition(" ")
    if word == "slow":
        until_interrupted(1)
    begin()
    if word in ("hang", "slow"):
        until_interrupted()
        return result("[interrupted]", failed=True)
    if word == "flood":
        return flood(rest)
    if word in ("deaf", "stone"):
        if word == "stone":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        text("not listening")
        time.sleep(1000)
    if word == "exit":
        print("these were", file=sys.stderr)
        print("my last words ä", file=sys.stderr, flush=True)
        os._exit(int(rest))
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "garbage":
        put(b"this is no JSON\n[1]\n\xff\xfe broken\n{\"type\":\n\n")
    if word == "huge":
        text("x" * int(rest))
    if word == "bytes":
        data = json.dumps({"type": "assistant", "text": "a€𐍈ä" * 20}, ensure_ascii=False).encode() + b"\n"
        for i in range(len(data)):
            put(data[i:i + 1])
            time.sleep(0.0005)
    if word == "stderr":
        for i in range(int(rest)):
            print(f"stderr line {i}", file=sys.stderr)
    if word == "ask":
        return result(json.dumps(ask("can_use_tool", tool_name="Bash", input={"command": "true", "n": [1, 2.50]})))
    if word == "odd":
        return result(json.dumps(ask("no_such_thing")))
    if word == "mute":
        os.close(0)  # before it says that it is done: the next prompt may come at once
    text(rest)
    result(rest)
    if word == "mute":
        time.sleep(1000)
    if word == "then":
        begin()
        text("more")
        result("more")
    return sys.exit(0) if word == "quit" else None


def main():
    if "old" in WORDS and "system-prompt-snapshot" in options:
        print("error: unknown option '--system-prompt-snapshot=off'", file=sys.stderr, flush=True)
        os._exit(1)
    if "resume" in options and ("gone" in WORDS or "lost" in WORDS):
        why = f"No conversation found with session ID: {session}"
        print(why, file=sys.stderr, flush=True)
        if "gone" in WORDS:
            say("result", subtype="error_during_execution", is_error=True, errors=[why])
        os._exit(1)
    while True:
        message = read()
        if message["type"] == "user":
            turn(message["message"]["content"] if isinstance(message["message"]["content"], str) else "say a list")
        elif message["type"] == "control_request":
            control(message)


main()
