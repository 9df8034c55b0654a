"""The example frames in tests/vectors, through this suite's own codec: both must mean what the document says."""
import json

import pytest

import vectors
from wire import BINARY, CONT, EVENT, HELLO, OPEN, TYPES, Frame, WsReader, mask, ws_encode

JSON_TYPES = {1, 2, 3, 4, 5, 16, 17, 18, 48}


def by_name(rows):
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


@pytest.mark.parametrize("raw, numbers, payload", by_name(vectors.frames()))
def test_frame(raw, numbers, payload):
    got = Frame.unpack(raw)
    assert (got.type, got.flags, got.stream, got.channel, got.arg) == numbers
    assert got.payload == payload
    if raw[3] == 0:  # the reserved byte is sent as 0
        assert got.pack() == raw
    if got.type in JSON_TYPES:
        assert isinstance(json.loads(payload), dict)


def test_every_frame_type_has_a_vector():
    seen = {numbers[0] for _, _, numbers, _ in vectors.frames()}
    assert set(TYPES) <= seen


def test_names_are_unique():
    for rows in (vectors.frames(), vectors.bad_frames(), vectors.websocket(), vectors.bad_websocket(), vectors.http()):
        names = [row[0] for row in rows]
        assert len(names) == len(set(names))


@pytest.mark.parametrize("raw, answer", by_name(vectors.bad_frames()))
def test_bad_frame_says_what_is_wrong(raw, answer):
    assert answer == "ignored" or answer.split()[0] in ("close", "error", "refused", "reject")
    if len(raw) < 16:
        assert answer == "close 1002"
        with pytest.raises(ValueError):
            Frame.unpack(raw)
    else:
        Frame.unpack(raw)


def messages(data):
    """Puts fragments together, by the rules of RFC 6455."""
    reader, parts = WsReader(), None
    reader.feed(data)
    while (ws := reader.next()) is not None:
        if ws.opcode > BINARY:
            yield ws.opcode, ws.payload, ws.key
            continue
        parts = (ws.opcode, ws.payload) if ws.opcode != CONT else (parts[0], parts[1] + ws.payload)
        if ws.fin:
            yield *parts, ws.key
    assert reader.pos == len(reader.buf)


@pytest.mark.parametrize("sender, raw, expected", by_name(vectors.websocket()))
def test_websocket(sender, raw, expected):
    got = list(messages(raw))
    assert [(opcode, payload) for opcode, payload, _ in got] == expected
    assert all((key is not None) == (sender == "client") for _, _, key in got)


@pytest.mark.parametrize("sender, raw, expected", by_name(vectors.websocket()))
def test_websocket_byte_by_byte(sender, raw, expected):
    if len(raw) > 1000:
        raw, expected = raw[:1000], None
    reader, count = WsReader(), 0
    for at in range(len(raw)):
        reader.feed(raw[at:at + 1])
        while reader.next():
            count += 1
    assert expected is None or count >= len(expected)


def test_encoder_agrees_with_rfc_6455():
    assert ws_encode(1, b"Hello", key=bytes.fromhex("37fa213d")).hex() == "818537fa213d7f9f4d5158"
    assert ws_encode(1, b"Hello", key=None).hex() == "810548656c6c6f"


def test_masking_twice_is_the_identity():
    for size in (0, 1, 2, 3, 4, 5, 126, 65536):
        data = bytes(i & 255 for i in range(size))
        assert mask(mask(data, b"\x01\x80\xff\x7f"), b"\x01\x80\xff\x7f") == data


def test_hello_open_and_end_vectors_carry_the_documented_members():
    rows = {name: (numbers, payload) for name, _, numbers, payload in vectors.frames()}
    assert rows["hello_agent"][0][0] == HELLO
    assert {"agent", "version", "proto", "caps", "limits", "boot_id", "instance", "epoch"} <= set(
        json.loads(rows["hello_agent"][1]))
    assert rows["open_start_and_attach"][0][0] == OPEN
    for name, (numbers, payload) in rows.items():
        if name.startswith("event_end"):
            assert numbers[0] == EVENT
            assert {"state", "out", "err", "started_ms", "ended_ms", "wall_ms", "user_us", "sys_us",
                    "maxrss_kb"} <= set(json.loads(payload))
