"""Commands whose output is known, for tests of streams. They need a POSIX shell, seq, yes and head only."""
import hashlib

LINES = 1 << 17


def seq_script(first, count):
    """Prints `count` numbers of seven digits: eight bytes a line, so that every offset says what stands there."""
    return f"seq {1000000 + first} {1000000 + first + count - 1}"


def seq_bytes(first, count):
    return b"".join(b"%d\n" % number for number in range(1000000 + first, 1000000 + first + count))


def check_seq(stream, offset=0):
    """The bytes of `stream` are those of seq at their offsets, gaps left out."""
    data, at = bytes(stream.data), stream.start
    for gap_at, gap_size in [*stream.gaps, (stream.offset, 0)]:
        part, data = data[:gap_at - at], data[gap_at - at:]
        first, last = (at - offset) // 8, (gap_at - offset + 7) // 8
        assert part == seq_bytes(first, last - first)[(at - offset) % 8:][:len(part)], f"wrong bytes from {at}"
        at = gap_at + gap_size
    assert not data


def random_script(size, sink=""):
    """Prints random bytes on stdout, and their sha256 on stderr."""
    return f"f=$(mktemp); head -c {size} /dev/urandom >$f; sha256sum <$f >&2; cat $f {sink}; rm $f"


def told_hash(channel):
    """What random_script said of its stdout."""
    return channel.err.split()[0].decode()


def sha(data):
    return hashlib.sha256(data).hexdigest()
