#!/usr/bin/env python3
"""A second reader of homelab-dr repositories, written from docs/format.md and nothing else.

It is here to prove that the page is enough, and to be read beside it: sections are cited as §n. It reads a repository
in a directory (a file store) and checks everything that §10 asks for. It promises to write no wrong file: it stops at
the first thing that is wrong, where the real program would save what can be saved. It is slow and knows no other store.

    read.py REPOSITORY (--identity FILE | --writer-key FILE) [--fingerprint F] COMMAND
      list                    the snapshots, one JSON object a line
      list SNAPSHOT           its entries
      cat SNAPSHOT PATH       the bytes of a file, on standard output
      restore SNAPSHOT DIR    everything, into a new directory
      verify                  opens every object and every blob, and compares the packs with the index

SNAPSHOT is an id, the beginning of one, or `latest`. With a writer key there is no content: only `list` works.
Exit code: 0; 1 if something is wrong with the repository or the keys; 3 if single entries could not be restored.
"""

import argparse
import json
import os
import struct
import sys
from urllib.parse import quote_from_bytes

import pyrage

import shapes
from repository import (
    CHECKPOINT,
    DATA,
    DOOM,
    DRILL,
    NO_ID,
    REHEARSAL,
    SESSION,
    TABLE,
    TRAILER,
    VERIFIED,
    Repository,
    check_table,
    pack_header,
    pack_name,
    padded,
    record,
)
from shapes import Wrong, decode, ensure

OTHERS = {
    "checkpoints": (CHECKPOINT, shapes.CHECKPOINT),
    "doomed": (DOOM, shapes.DOOM_MARK),
    "drills": (DRILL, shapes.DRILL),
    "verified": (VERIFIED, shapes.VERIFIED),
    "rehearsals": (REHEARSAL, shapes.REHEARSAL),
}


def verify(repository):
    """Everything that reading files does not need."""
    for name in repository.names("packs/[0-9a-f]{2}/ID"):
        ensure(name[6:8] == name[9:11], f"{name}: in the wrong place")
        data, id = repository.object(name), bytes.fromhex(name[9:])
        kind, wraps, start = pack_header(data)
        ensure(len(data) == padded(len(data)), f"{name}: its size is not padded")
        trailer = repository.open_metadata(data[-85:], TRAILER, NO_ID, name)
        at, count, number = struct.unpack("<II32s", trailer)
        ensure(start <= at and at + count == len(data) - 85, f"{name}: the table does not end where the trailer begins")
        table = decode(
            shapes.PACK_TABLE, record(repository.open_metadata(data[at : at + count], TABLE, number, name)), name
        )
        ensure([wrap[32:64] for _, wrap in wraps] == table.sessions, f"{name}: other sessions in header and table")
        places = check_table(table, at, name)
        ensure(
            repository.packs.get(id, (len(data), places)) == (len(data), places),
            f"{name}: another table than in the index",
        )
        for epoch, wrap in wraps:
            repository.unwrap(wrap, epoch, wrap[32:64], name)
        for blob, place in places:
            ensure(place.offset >= start and (place.kind == DATA) == (kind == 1), f"{name}: a blob where it cannot be")
            sealed = data[place.offset : place.offset + place.length]
            repository.open_blob(blob, place.kind, place._replace(pack=id), sealed)
    lost = [pack_name(id) for id in repository.packs if not (repository.path / pack_name(id)).exists()]
    if lost:
        print(f"note: the index names packs that are not there: {', '.join(lost)}", file=sys.stderr)
    for name in repository.names("sessions/ID"):
        found = repository.record(name, SESSION, shapes.SESSION_RECORD)
        repository.unwrap(found.wrap, found.epoch, bytes.fromhex(name[9:]), name)
    for folder, (kind, shape) in OTHERS.items():
        for name in repository.records(f"{folder}/ID"):
            repository.record(name, kind, shape)
    snapshots, _, gaps = repository.chain()
    ensure(not gaps, f"records of the chain are gone: {', '.join(gaps)}")
    for snapshot in snapshots.values():
        for entry in repository.entries(snapshot.root):
            ensure(repository.find(snapshot.root, entry.path) == entry, f"{entry.path!r}: not where a search finds it")
            if entry.kind[0] == "file":
                for _ in repository.content(entry):
                    pass
    print(json.dumps({"packs": len(repository.packs), "blobs": len(repository.blobs), "snapshots": len(snapshots)}))


def show(repository, entry):
    """An entry as JSON. Paths are percent-encoded, for they need not be text."""
    kind, fields = entry.kind
    out = {
        "path": quote_from_bytes(entry.path),
        "kind": kind,
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "mtime": list(entry.mtime),
        "xattrs": {quote_from_bytes(name): value.hex() for name, value in entry.xattrs},
    }
    if kind == "file":
        out |= {"size": fields.size, "holes": [], "how": fields.content[0]}
        at = 0
        for piece, lengths in repository.pieces(entry):
            out["holes"] += [[at, lengths[-1]]] if piece == "hole" else []
            at += lengths[-1]
    elif kind in ("hard link", "symlink"):
        out["target"] = quote_from_bytes(fields.target)
    elif kind in ("character device", "block device"):
        out["device"] = [fields.major, fields.minor]
    return json.dumps(out)


class Target:
    """A new directory that entries are restored into. Every step to a parent refuses a symbolic link (§10)."""

    def __init__(self, path):
        os.mkdir(path, 0o700)
        self.root = os.open(path, os.O_DIRECTORY)

    def parent(self, path):
        """A descriptor of the directory that holds `path`, and its last name. Missing parents are made."""
        at = os.dup(self.root)
        *parents, name = path.split(b"/") if path else [b"."]
        for step in parents:
            try:
                following = os.open(step, os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            except FileNotFoundError:
                os.mkdir(step, 0o700, dir_fd=at)
                following = os.open(step, os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = following
        return at, name

    def make(self, entry, repository):
        kind, fields = entry.kind
        at, name = self.parent(entry.path)
        try:
            if kind == "directory":
                if entry.path:
                    os.mkdir(name, 0o700, dir_fd=at)
                return  # the rest when all that is in it is there
            if kind == "file":
                file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=at)
                try:
                    with os.fdopen(file, "wb") as out:
                        for data, hole in repository.content(entry):
                            out.write(data) if hole is None else out.seek(hole, os.SEEK_CUR)
                        out.truncate(fields.size)
                except Wrong:
                    os.unlink(name, dir_fd=at)
                    raise
            elif kind == "hard link":
                other, target = self.parent(fields.target)
                try:
                    os.link(target, name, src_dir_fd=other, dst_dir_fd=at, follow_symlinks=False)
                finally:
                    os.close(other)
                return  # attributes are those of the first name
            elif kind == "symlink":
                os.symlink(fields.target, name, dir_fd=at)
            elif kind == "fifo":
                os.mkfifo(name, 0o600, dir_fd=at)
            else:
                node = 0o020000 if kind == "character device" else 0o060000
                os.mknod(name, node | 0o600, os.makedev(fields.major, fields.minor), dir_fd=at)
        finally:
            os.close(at)
        self.attributes(entry)

    def attributes(self, entry):
        at, name = self.parent(entry.path)
        try:
            if os.geteuid() == 0:
                os.chown(name, entry.uid, entry.gid, dir_fd=at, follow_symlinks=False)
            for key, value in entry.xattrs:
                os.setxattr(b"/proc/self/fd/%d/%s" % (at, name), key, value, follow_symlinks=False)
            if entry.kind[0] != "symlink":
                os.chmod(name, entry.mode & 0o7777, dir_fd=at)
            seconds, nanos = entry.mtime
            os.utime(name, ns=(0, seconds * 10**9 + nanos), dir_fd=at, follow_symlinks=False)
        finally:
            os.close(at)


def restore(repository, root, path):
    target, directories, problems = Target(path), [], 0

    def attempt(step, entry, *more):
        nonlocal problems
        try:
            step(entry, *more)
        except (OSError, OverflowError, ValueError) as error:
            problems += 1
            print(f"error: {quote_from_bytes(entry.path)}: {error}", file=sys.stderr)

    for entry in repository.entries(root):
        directories += [entry] if entry.kind[0] == "directory" else []
        attempt(target.make, entry, repository)
    for entry in reversed(directories):
        attempt(target.attributes, entry)
    return 3 if problems else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository")
    keys = parser.add_mutually_exclusive_group(required=True)
    keys.add_argument("--identity", metavar="FILE")
    keys.add_argument("--writer-key", metavar="FILE")
    parser.add_argument("--fingerprint")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list").add_argument("snapshot", nargs="?")
    for name, last in ("cat", "path"), ("restore", "directory"):
        command = commands.add_parser(name)
        command.add_argument("snapshot")
        command.add_argument(last)
    commands.add_parser("verify")
    a = parser.parse_args()
    repository = Repository(a.repository, a.identity, a.writer_key, a.fingerprint)
    if a.command == "verify":
        verify(repository)
    elif a.command == "restore":
        return restore(repository, repository.snapshot(a.snapshot).root, a.directory)
    elif a.command == "cat":
        entry = repository.find(repository.snapshot(a.snapshot).root, os.fsencode(a.path))
        ensure(entry.kind[0] == "file", f"{a.path}: a {entry.kind[0]}, not a file")
        for data, hole in repository.content(entry):
            sys.stdout.buffer.write(bytes(hole) if data is None else data)
    elif a.snapshot:
        for entry in repository.entries(repository.snapshot(a.snapshot).root):
            print(show(repository, entry))
    else:
        snapshots, tombstones, gaps = repository.chain()
        for id, it in sorted(snapshots.items(), key=lambda item: (item[1].started, item[0])):
            paths = [quote_from_bytes(path) for path in it.paths]
            print(
                json.dumps(
                    {
                        "id": id,
                        "source": it.source,
                        "started": it.started,
                        "paths": paths,
                        "host": it.host,
                        "tags": it.tags,
                        "problems": len(it.problems),
                        "files": it.statistics.get(0),
                    }
                )
            )
        for id, it in tombstones.items():
            print(json.dumps({"tombstone": id, "forgotten": [each.hex() for each in it.forgotten]}))
        if gaps:
            print(f"warning: records of the chain are gone: {', '.join(gaps)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Wrong, OSError, ValueError, KeyError, pyrage.IdentityError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(1)
