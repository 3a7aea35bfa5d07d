#!/usr/bin/env python3
"""Seeded test data: volumes of a homelab, and the same a day later.

    corpus.py make mixed DIR [--seed N] [--scale 1.0]     about 1.8 GiB
    corpus.py make small-files DIR [--count 1000000]      1-4 KiB each
    corpus.py make image FILE [--size 4GiB]               like a virtual disk
    corpus.py make random FILE [--size 2GiB]
    corpus.py day-later SRC DST                           copies, then changes
    corpus.py digest DIR
    corpus.py compare ORIGINAL RESTORED                   exit 1 when content differs

The same arguments give the same bytes, names, modes and times on every
machine; each command prints the digest of what it made. Owners are those of
the user who runs it, and xattrs are left out where the file system has none;
neither is in the digest. Python 3.11 or newer, standard library only.
"""

import argparse
import errno
import hashlib
import json
import os
import random
import sys

sys.dont_write_bytecode = True
import text  # noqa: E402
import tree  # noqa: E402

MIB = 1 << 20
EPOCH_NS = 1_795_000_000 * 10**9  # times end here: the corpus must not depend on today
MARKER = b"corpus.json"
MODES = [0o644] * 12 + [0o600, 0o600, 0o640, 0o755]


class Maker:
    """Creates entries with times and modes of their own, below one directory."""

    def __init__(self, root, seed, label):
        self.root = os.fsencode(root)
        self.r = random.Random(f"{seed}/{label}")
        self.made = set()
        self.xattrs = True

    def path(self, name):
        return os.path.join(self.root, name)

    def directory(self, name):
        if name and name not in self.made:
            self.directory(os.path.dirname(name))
            if not os.path.isdir(self.path(name)):
                os.mkdir(self.path(name), 0o755)
            self.made.add(name)

    def age(self, path, ns=None):
        """An mtime in the three years before EPOCH_NS, to the nanosecond."""
        if ns is None:
            ns = EPOCH_NS - self.r.randrange(3 * 365 * 86_400 * 10**9)
        os.utime(path, ns=(ns, ns), follow_symlinks=False)

    def file(self, name, data, mode=0o644, ns=None):
        self.directory(os.path.dirname(name))
        path = self.path(name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as f:
            f.write(data)
        self.age(path, ns)

    def symlink(self, name, target):
        self.directory(os.path.dirname(name))
        os.symlink(target, self.path(name))
        self.age(self.path(name))

    def xattr(self, name, key, value):
        try:
            os.setxattr(self.path(name), key, value)
        except OSError as e:
            if e.errno != errno.ENOTSUP:
                raise
            self.xattrs = False

    def settle_directories(self):
        """Directory times last: every entry made above has changed them."""
        found = [p for p in tree.walk(self.root) if os.path.isdir(p) and not os.path.islink(p)]
        for path in sorted(found, reverse=True):
            seed = hashlib.sha256(os.path.relpath(path, self.root)).digest()
            self.age(path, EPOCH_NS - int.from_bytes(seed[:6], "big") % (90 * 86_400 * 10**9))
        self.age(self.root, EPOCH_NS)


def scaled(count, scale, least=1):
    return max(least, int(count * scale))


def small_file_names(r, count):
    """Names in directories of about a dozen, three to five deep."""
    left = 0
    for i in range(count):
        if left == 0:
            app = r.choice(text.VOCABULARY[30:75])
            part = r.choice([b"config", b"data", b"logs", b"src", b"cache"])
            below = [r.choice(text.VOCABULARY) for _ in range(r.randrange(1, 4))]
            folder, left = b"/".join([b"volumes", app, part, *below]), r.randrange(4, 22)
        left -= 1
        kind = r.randrange(len(text.KINDS))
        yield kind, b"%s/%s-%05d.%s" % (folder, r.choice(text.VOCABULARY), i, text.KINDS[kind][0])


def make_small(m, count):
    names = []
    for kind, name in small_file_names(m.r, count):
        m.file(name, text.text(m.r, kind, text.small_size(m.r)), m.r.choice(MODES))
        names.append(name)
    return names


def photo_name(i):
    return b"volumes/immich/library/2026/%02d/IMG_%04d.jpg" % (1 + i % 12, i)


def make_photos(m, numbers):
    for i in numbers:
        m.file(photo_name(i), text.photo(m.r, text.spread(m.r, MIB, 6 * MIB)))


SQLITE = b"volumes/homeassistant/data/home-assistant_v2.db"
HEAP = b"volumes/postgres/data/base/16384/16397"
SPARSE = b"volumes/vm/disks/scratch.raw"


def make_databases(m, sqlite_pages, heap_pages):
    head, leaves = text.sqlite_head(sqlite_pages, 1)
    m.directory(os.path.dirname(SQLITE))
    with open(m.path(SQLITE), "xb") as f:
        f.write(head)
        f.writelines(text.sqlite_leaf(m.r, leaf) for leaf in range(leaves))
    m.age(m.path(SQLITE))
    m.directory(os.path.dirname(HEAP))
    with open(m.path(HEAP), "xb") as f:
        f.writelines(text.heap_page(m.r, number) for number in range(heap_pages))
    m.age(m.path(HEAP))


def make_sparse(m, size):
    """A few MiB of data in a gibibyte; a hole at both ends."""
    m.directory(os.path.dirname(SPARSE))
    with open(m.path(SPARSE), "xb") as f:
        for slot in sorted(m.r.sample(range(1, size // 65_536 - 1), scaled(64, size / 1024 / MIB, 2))):
            data = text.prose(m.r, 65_536) if slot & 1 else m.r.randbytes(65_536)
            os.pwrite(f.fileno(), data, slot * 65_536)
        os.ftruncate(f.fileno(), size)
    m.age(m.path(SPARSE))


ODD_NAMES = [
    b"n" * 255, "é".encode() * 127 + b"x", b"caf\xe9.txt", b"\xff\xfe\x80", b"with space.txt",
    b" leading", b"trailing ", b"new\nline", b"tab\there", b'quote"\'s', b"back\\slash", b"star*?[a]",
    b"-rf", b".hidden", "\U0001F3E0 home".encode(), b"caf\xc3\xa9", b"cafe\xcc\x81", b"$(reboot)",
    b"a:b", b"...", b"~", b"#comment", b"%41",
]


def make_odd(m, small, photos):
    r = m.r
    for name in ODD_NAMES:
        m.file(b"odd/" + name, text.text(r, r.randrange(4), r.randrange(200, 4000)))
    m.file(b"odd/empty", b"")
    m.directory(b"odd/empty-directory")
    m.file(b"odd/" + b"/".join(b"level-%02d" % i for i in range(40)) + b"/deep", b"deep\n")
    m.file(b"odd/before-1970", b"old\n", ns=-86_400 * 10**9 * 365 * 3 - 5)
    m.file(b"odd/read-only", b"no one writes here\n", 0o400)
    for i in range(scaled(100, len(small) / 40_000, 4)):
        name = r.choice(small)
        m.symlink(b"odd/links/to-%03d" % i, b"../../" + name)
    m.symlink(b"odd/links/dangling", b"/nowhere/at all")
    m.symlink(b"odd/links/directory", b"../../volumes")
    m.symlink(b"odd/links/self", b"self")
    m.directory(b"odd/hard")
    for i in range(scaled(50, len(small) / 40_000, 4)):
        os.link(m.path(r.choice(small)), m.path(b"odd/hard/small-%03d" % i))
    for i in range(min(4, photos)):
        os.link(m.path(photo_name(i)), m.path(b"odd/hard/photo-%d" % i))
    for name in r.sample(small, min(200, len(small) // 20)):
        m.xattr(name, b"user.homelab.note", text.words(r, 6))
        m.xattr(name, b"user.hash", r.randbytes(20))


def write_marker(m, version, seed, scale):
    data = json.dumps({"version": version, "seed": seed, "scale": scale}, sort_keys=True)
    # Another time in every version: its content changes and its size does not.
    m.file(MARKER, data.encode() + b"\n", ns=EPOCH_NS + (version - 1) * 1_000_000_000)


def make_mixed(root, seed, scale):
    os.mkdir(root, 0o755)

    def maker(label):
        return Maker(root, seed, label)

    photos = scaled(200, scale, 4)
    small = make_small(maker("small"), scaled(40_000, scale, 50))
    make_photos(maker("photos"), range(photos))
    make_databases(maker("databases"), scaled(49_152, scale, 64), scaled(32_768, scale, 64))
    make_sparse(maker("sparse"), scaled(1024, scale) * MIB)
    last = maker("odd")
    make_odd(last, small, photos)
    write_marker(last, 1, seed, scale)
    last.settle_directories()
    if not last.xattrs:
        print("corpus: no extended attributes: this file system has none", file=sys.stderr)


# --- a day later --------------------------------------------------------------

def rewrite_pages(m, name, first, count, make):
    """2 % of the pages, anywhere in the file: what a busy database does in a day."""
    with open(m.path(name), "r+b") as f:
        for page in sorted(m.r.sample(range(count), max(1, count // 50))):
            os.pwrite(f.fileno(), make(m.r, page), (first + page) * text.PAGE_BYTES)
    m.age(m.path(name), EPOCH_NS + 3600 * 10**9)


def change_bytes(m, name, change):
    path = m.path(name)
    with open(path, "rb") as f:
        data = change(f.read())
    with open(path, "wb") as f:
        f.write(data)
    m.age(path, EPOCH_NS + m.r.randrange(86_400 * 10**9))


def day_later(src, dst):
    with open(os.path.join(os.fsencode(src), MARKER), "rb") as f:
        marker = json.load(f)
    if marker["version"] != 1:
        sys.exit(f"corpus: {src} is version {marker['version']} already: give the first day")
    seed, scale = marker["seed"], marker["scale"]
    tree.copy(src, dst)
    m = Maker(dst, seed, "day 2")
    r = m.r

    pages = scaled(49_152, scale, 64)
    leaves, first_leaf = text.sqlite_layout(pages)
    rewrite_pages(m, SQLITE, first_leaf - 1, leaves, text.sqlite_leaf)
    with open(m.path(SQLITE), "r+b") as f:
        f.write(text.sqlite_head(pages, 2)[0][:text.PAGE_BYTES])
    m.age(m.path(SQLITE), EPOCH_NS + 3600 * 10**9)
    rewrite_pages(m, HEAP, 0, scaled(32_768, scale, 64), text.heap_page)
    with open(m.path(SPARSE), "r+b") as f:
        os.pwrite(f.fileno(), r.randbytes(65_536), os.fstat(f.fileno()).st_size // 2)
    m.age(m.path(SPARSE), EPOCH_NS)

    small = sorted(os.path.relpath(p, m.root) for p in tree.walk(m.path(b"volumes"))
                   if p.endswith(tuple(b"." + k[0] for k in text.KINDS)))
    r.shuffle(small)

    def take(count):
        return [small.pop() for _ in range(scaled(count, scale))]

    for name in take(600):
        change_bytes(m, name, lambda d: d + text.text(r, r.randrange(4), r.randrange(100, 8000)))
    for name in take(200):
        change_bytes(m, name, lambda d: d[:len(d) // 2] + text.words(r, 9) + d[len(d) // 2:])
    for name in take(200):
        os.rename(m.path(name), m.path(os.path.join(os.path.dirname(name), b"renamed-" +
                                                    os.path.basename(name))))
    for name in take(200):
        os.unlink(m.path(name))
    for i in range(scaled(300, scale)):
        kind = r.randrange(4)
        m.file(b"volumes/new-app/data/%d/file-%04d.%s" % (i % 12, i, text.KINDS[kind][0]),
               text.text(r, kind, text.small_size(r)))

    photos = scaled(200, scale, 4)
    make_photos(m, range(photos, photos + scaled(6, scale)))
    for i in r.sample(range(photos), scaled(5, scale)):
        # A title written into the photo: all that follows moves.
        change_bytes(m, photo_name(i), lambda d: d[:300] + text.words(r, 9) + d[300:])
    os.rename(m.path(b"volumes/immich/library/2026/02"), m.path(b"volumes/immich/library/2026/holiday"))

    os.unlink(m.path(MARKER))
    write_marker(m, 2, seed, scale)
    m.settle_directories()


# --- other shapes ---------------------------------------------------------------

def make_small_files(root, seed, count):
    """Thousands of files a directory, 1-4 KiB: what a mail store or a cache looks like."""
    os.mkdir(root, 0o755)
    r = random.Random(f"{seed}/small-files")
    pool = b"".join(text.text(r, k, 4 * MIB) for k in range(4))
    total = hashlib.sha256()
    for start in range(0, count, 1000):
        folder = os.path.join(root, f"{start // 100_000:03d}", f"{start // 1000:06d}")
        os.makedirs(folder)
        at = os.open(folder, os.O_DIRECTORY)
        for i in range(start, min(start + 1000, count)):
            # A slice of the pool with a line of its own: no two are alike.
            size, offset = r.randrange(1000, 4070), r.randrange(len(pool) - 4096)
            data = b"file %d %016x\n" % (i, r.getrandbits(64)) + pool[offset:offset + size]
            name = f"{i:08d}.txt"
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=at)
            os.write(fd, data)
            os.close(fd)
            ns = EPOCH_NS - i * 1_000_003
            os.utime(name, ns=(ns, ns), dir_fd=at)
            total.update(data)
        os.close(at)
    return total.hexdigest()


def make_image(path, seed, size):
    """Extents of 64 KiB-4 MiB: 25 % holes, 5 % zeros, 40 % text, 25 % random, 5 % seen before."""
    r = random.Random(f"{seed}/image")
    pool = b"".join(text.text(r, k, 8 * MIB) for k in range(4))
    total, seen = hashlib.sha256(), []
    with open(path, "xb", buffering=0) as f:
        offset = 0
        while offset < size:
            length = min(65_536 << r.randrange(7), size - offset)
            draw = r.randrange(100)
            if draw < 25:
                data = None
            elif draw < 30:
                data = bytes(length)
            elif draw < 70:
                data = b"".join(pool[o:o + 2048] for o in
                                (r.randrange(len(pool) - 2048) for _ in range(-(-length // 2048))))
                data = data[:length]
            elif draw < 95 or not seen:
                data = r.randbytes(length)
            else:
                # An extent copied inside the guest.
                data = seen[r.randrange(len(seen))][:length]
                length = len(data)
            if data is None:
                total.update(b"hole %d" % length)
            else:
                total.update(data)
                os.pwrite(f.fileno(), data, offset)
                if draw < 95 and length <= MIB:
                    seen = [*seen[-15:], data]
            offset += length
        os.ftruncate(f.fileno(), size)
    return total.hexdigest()


def make_random(path, seed, size):
    r, total = random.Random(f"{seed}/random"), hashlib.sha256()
    with open(path, "xb", buffering=0) as f:
        for offset in range(0, size, 16 * MIB):
            data = r.randbytes(min(16 * MIB, size - offset))
            total.update(data)
            os.pwrite(f.fileno(), data, offset)
    return total.hexdigest()


def byte_size(value):
    for unit, factor in (("GiB", 1 << 30), ("MiB", MIB), ("KiB", 1024), ("", 1)):
        if value.endswith(unit):
            return int(float(value.removesuffix(unit)) * factor)
    raise ValueError(value)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make").add_subparsers(dest="shape", required=True)
    for shape in ("mixed", "small-files", "image", "random"):
        p = make.add_parser(shape)
        p.add_argument("path")
        p.add_argument("--seed", type=int, default=1)
        if shape == "mixed":
            p.add_argument("--scale", type=float, default=1.0)
        elif shape == "small-files":
            p.add_argument("--count", type=int, default=1_000_000)
        else:
            p.add_argument("--size", type=byte_size, default="4GiB" if shape == "image" else "2GiB")
    p = commands.add_parser("day-later")
    p.add_argument("src")
    p.add_argument("dst")
    commands.add_parser("digest").add_argument("path")
    p = commands.add_parser("compare")
    p.add_argument("original")
    p.add_argument("restored")
    return parser.parse_args()


def main():
    a = arguments()
    os.umask(0)  # modes are ours, not the caller's
    if a.command == "digest":
        print(tree.digest(a.path))
    elif a.command == "compare":
        content, metadata = tree.compare(a.original, a.restored)
        for line in content[:20] + metadata[:20]:
            print(line, file=sys.stderr)
        print(json.dumps({"content": len(content), "metadata": len(metadata)}))
        return 1 if content else 0
    elif a.command == "day-later":
        day_later(a.src, a.dst)
        print(tree.digest(a.dst))
    elif a.shape == "mixed":
        make_mixed(a.path, a.seed, a.scale)
        print(tree.digest(a.path))
    elif a.shape == "small-files":
        print(make_small_files(a.path, a.seed, a.count))
    elif a.shape == "image":
        print(make_image(a.path, a.seed, a.size))
    else:
        print(make_random(a.path, a.seed, a.size))
    return 0


if __name__ == "__main__":
    sys.exit(main())
