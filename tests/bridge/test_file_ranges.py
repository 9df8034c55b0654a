"""Parts of a file, and what tells one state of it from another: Range, If-Range, If-None-Match, HEAD."""
import os

import pytest

from guests import guest, top
from test_files import MIB, noise

pytestmark = pytest.mark.bridge(driver="external")


@pytest.mark.parametrize("value, status, want", [
    ("bytes=0-0", 206, slice(0, 1)), ("bytes=2-4", 206, slice(2, 5)), ("bytes=5-", 206, slice(5, 10)),
    ("bytes=-3", 206, slice(7, 10)), ("bytes=-100", 206, slice(0, 10)), ("bytes=9-99", 206, slice(9, 10)),
    ("bytes=0-1,3-4", 200, slice(0, 10)), ("bytes=4-2", 200, slice(0, 10)), ("lines=1-2", 200, slice(0, 10))])
def test_ranges(guest, top, value, status, want):
    data = b"0123456789"
    (top / "f").write_bytes(data)
    reply = guest.get(top / "f", headers={"Range": value})
    assert (reply.status, reply.body) == (status, data[want])
    assert reply.headers["Content-Length"] == str(len(data[want]))
    if status == 206:
        assert reply.headers["Content-Range"] == f"bytes {want.start}-{want.stop - 1}/10"


def test_a_range_behind_the_end(guest, top):
    (top / "f").write_bytes(b"0123456789")
    (top / "empty").write_bytes(b"")
    for value in "bytes=10-", "bytes=-0":
        reply = guest.get(top / "f", headers={"Range": value})
        assert reply.status == 416 and reply.headers["Content-Range"] == "bytes */10"
    assert guest.get(top / "empty", headers={"Range": "bytes=0-"}).body == b""
    assert guest.get(top / "missing", headers={"Range": "bytes=0-"}).status == 404
    assert guest.get(top, headers={"Range": "bytes=0-"}).status in (400, 409)


def test_a_range_of_a_large_file(guest, top):
    """A window into the middle, and a file put together from ranges."""
    data = noise(8 * MIB)
    (top / "f").write_bytes(data)
    got = b"".join(guest.get(top / "f", headers={"Range": f"bytes={at}-{at + 3 * MIB - 1}"}).body
                   for at in range(0, len(data), 3 * MIB))
    assert got == data


def test_a_range_of_what_it_was(guest, top):
    """A download that goes on must not get the end of another file: a date, which two states of it can share, and a weak
    tag do not tell them apart, so then it is the whole."""
    (top / "f").write_bytes(b"0123456789")
    first = guest.get(top / "f").headers
    reply = guest.get(top / "f", headers={"Range": "bytes=5-", "If-Range": first["ETag"]})
    assert (reply.status, reply.body, reply.headers["ETag"]) == (206, b"56789", first["ETag"])
    for other in '"other"', "W/" + first["ETag"], first["Last-Modified"], first["ETag"] + "x", "*":
        reply = guest.get(top / "f", headers={"Range": "bytes=5-", "If-Range": other})
        assert (reply.status, reply.body) == (200, b"0123456789"), other
    st = (top / "f").stat()
    (top / "f").write_bytes(b"9876543210")
    os.utime(top / "f", ns=(st.st_atime_ns, st.st_mtime_ns))
    for tag in first["ETag"], first["Last-Modified"]:
        reply = guest.get(top / "f", headers={"Range": "bytes=5-", "If-Range": tag})
        assert (reply.status, reply.body) == (200, b"9876543210"), tag


def test_tags(guest, top):
    """The same file is not sent again; a changed one is."""
    (top / "f").write_bytes(b"12345")
    tag = guest.get(top / "f").headers["ETag"]
    reply = guest.get(top / "f", headers={"If-None-Match": tag})
    assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", tag)
    for also in f'"x", {tag}', f"W/{tag}", "*":
        assert guest.get(top / "f", headers={"If-None-Match": also}).status == 304, also
    # It comes before the range, even one that is not in the file.
    for value in "bytes=1-2", "bytes=10-":
        reply = guest.get(top / "f", headers={"If-None-Match": tag, "Range": value})
        assert reply.status == 304 and "Content-Range" not in reply.headers, value
    (top / "f").write_bytes(b"54321")
    assert guest.get(top / "f", headers={"If-None-Match": tag}).body == b"54321"


def test_head(guest, top):
    (top / "f").write_bytes(b"12345")
    reply = guest.bridge.request("HEAD", guest.url("", top / "f"))
    assert (reply.status, reply.body, reply.headers["Content-Length"]) == (200, b"", "5")
    assert reply.headers["Accept-Ranges"] == "bytes" and reply.headers["Last-Modified"].endswith(" GMT")
    assert guest.bridge.request("HEAD", guest.url("", top / "missing")).status == 404
    assert guest.bridge.request("HEAD", guest.url("", top)).status in (400, 409)
    # A range is of GET alone.
    for value in "bytes=1-2", "bytes=10-":
        reply = guest.bridge.request("HEAD", guest.url("", top / "f"), headers={"Range": value})
        assert (reply.status, reply.headers["Content-Length"]) == (200, "5") and "Content-Range" not in reply.headers
