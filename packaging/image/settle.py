#!/usr/bin/python3
"""Sets every time in an ext4 image to one moment: settle.py IMAGE SECONDS

mke2fs copies times of access and change from the files it is given, and a change cannot be dated back. Only for
images without metadata checksums, as packaging/image/build makes them.
"""
import struct
import sys


def main(path, now):
    with open(path, "r+b") as image:
        image.seek(1024)
        sb = image.read(1024)
        inodes, = struct.unpack_from("<I", sb, 0)
        block_size = 1024 << struct.unpack_from("<I", sb, 24)[0]
        per_group, = struct.unpack_from("<I", sb, 40)
        inode_size, = struct.unpack_from("<H", sb, 88)
        incompat, ro_compat = struct.unpack_from("<II", sb, 96)
        assert sb[56:58] == b"\x53\xef", "not ext4"
        assert not ro_compat & 0x400, "metadata checksums would be wrong"
        desc_size = struct.unpack_from("<H", sb, 254)[0] if incompat & 0x80 else 32
        table_start = block_size * (2 if block_size == 1024 else 1)
        for group in range((inodes + per_group - 1) // per_group):
            image.seek(table_start + group * desc_size)
            desc = image.read(desc_size)
            table = struct.unpack_from("<I", desc, 8)[0]
            if desc_size >= 64:
                table |= struct.unpack_from("<I", desc, 0x28)[0] << 32
            unused = struct.unpack_from("<H", desc, 0x1c)[0]
            if struct.unpack_from("<H", desc, 0x12)[0] & 1:  # a table that is not in use
                continue
            image.seek(table * block_size)
            data = bytearray(image.read((per_group - unused) * inode_size))
            for at in range(0, len(data), inode_size):
                settle(data, at, inode_size, now)
            image.seek(table * block_size)
            image.write(data)


def settle(data, at, inode_size, now):
    mode, = struct.unpack_from("<H", data, at)
    if not mode:
        return
    mtime, = struct.unpack_from("<I", data, at + 16)
    struct.pack_into("<III", data, at + 8, now, now, min(mtime, now))
    if inode_size > 128:
        extra, = struct.unpack_from("<H", data, at + 128)
        # ctime, mtime and atime beyond the second; creation
        for offset, end in ((132, 8), (136, 12), (140, 16), (148, 24)):
            if extra >= end - 4:
                struct.pack_into("<I", data, at + offset, 0)
        if extra >= 20:
            struct.pack_into("<I", data, at + 144, now)


main(sys.argv[1], int(sys.argv[2]))
