"""Reads tests/vectors; the line formats are described at the top of each file."""
import pathlib
import re

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "vectors"


def read(name):
    """The fields of every line. The last field may contain the separator."""
    for line in (FOLDER / f"{name}.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.split(" |")


def fields(name, count):
    for line in read(name):
        head, rest = line[:count - 1], line[count - 1:]
        yield [*(field.strip() for field in head), " |".join(rest).removeprefix(" ")]


def unhex(text):
    """`0a 61*3` is 0a 61 61 61."""
    out = b""
    for word in text.split():
        digits, _, times = word.partition("*")
        out += bytes.fromhex(digits) * int(times or 1)
    return out


def payload(text):
    """The last field of frames.txt."""
    if text.startswith("hex:"):
        return unhex(text[4:])
    return text.replace("\\n", "\n").encode()


def unescape(text):
    r"""`\r \n \\ \xNN` of http.txt."""
    def one(found):
        code = found.group(1)
        return {"r": "\r", "n": "\n", "\\": "\\"}.get(code) or chr(int(code[1:], 16))
    return re.sub(r"\\(r|n|\\|x[0-9a-f]{2})", one, text).encode("latin-1")


def frames():
    """(name, bytes, (type, flags, stream, channel, arg), payload)"""
    for name, data, numbers, text in fields("frames", 4):
        yield name, unhex(data), tuple(map(int, numbers.split())), payload(text)


def bad_frames():
    """(name, bytes, answer)"""
    for name, data, answer in fields("bad_frames", 3):
        yield name, unhex(data), answer


def websocket():
    """(name, sender, bytes, [(opcode, payload)])"""
    for name, sender, data, messages in fields("websocket", 4):
        pairs = (message.partition(":")[::2] for message in messages.split(", "))
        yield name, sender, unhex(data), [(int(opcode), unhex(text)) for opcode, text in pairs]


def bad_websocket():
    """(name, sender, bytes, close code)"""
    for name, sender, data, code in fields("bad_websocket", 4):
        yield name, sender, unhex(data), int(code)


def http():
    """(name, status, request)"""
    for name, status, request in fields("http", 3):
        yield name, int(status), unescape(request)
