"""Trees of files: describe, digest, compare, copy.

`scan` yields one entry per path. The digest leaves out what depends on the
machine (owner, extended attributes, atime); `compare` looks at those too.
"""

import errno
import hashlib
import os
import stat

COPY_BYTES = 1 << 20


def _content(path):
    h = hashlib.sha256()
    with open(path, "rb", buffering=0) as f:
        while block := f.read(COPY_BYTES):
            h.update(block)
    return h.hexdigest()


def _xattrs(path):
    try:
        return tuple(sorted((name, os.getxattr(path, name, follow_symlinks=False))
                            for name in os.listxattr(path, follow_symlinks=False)))
    except OSError as e:
        if e.errno in (errno.ENOTSUP, errno.EPERM):
            return ()
        raise


def walk(root):
    """All paths below `root` as bytes, parents first, in byte order."""
    todo = [os.fsencode(root)]
    while todo:
        names = sorted(os.listdir(todo[-1]))
        here = todo.pop()
        for name in names:
            path = os.path.join(here, name)
            yield path
            if stat.S_ISDIR(os.lstat(path).st_mode):
                todo.append(path)


def scan(root):
    """(relative path, content, metadata, machine) for each path below `root`.

    content: what must never differ (type, bytes, link target, which paths are
    one file). metadata: mode and mtime. machine: owner and xattrs.
    """
    root = os.fsencode(root)
    first_name = {}
    for path in sorted(walk(root)):
        s = os.lstat(path)
        name = os.path.relpath(path, root)
        kind = stat.S_IFMT(s.st_mode)
        if kind == stat.S_IFREG:
            linked = s.st_nlink > 1 and first_name.setdefault((s.st_dev, s.st_ino), name)
            if linked and linked != name:
                content = ("link", linked.hex())
            else:
                content = ("file", s.st_size, _content(path))
        elif kind == stat.S_IFLNK:
            content = ("symlink", os.readlink(path).hex())
        else:
            content = ("other", oct(kind))
        # The mode of a symlink means nothing on Linux.
        mode = 0 if kind == stat.S_IFLNK else stat.S_IMODE(s.st_mode)
        yield name, content, (mode, s.st_mtime_ns), (s.st_uid, s.st_gid, _xattrs(path))


def digest(root):
    """Hex digest of everything below `root` that is the same on every machine."""
    h = hashlib.sha256()
    for name, content, metadata, _ in scan(root):
        h.update(repr((name.hex(), content, metadata)).encode() + b"\n")
    return h.hexdigest()


def compare(want, got):
    """Lists of differences: (content, metadata), each a line of text."""
    expected = {name: rest for name, *rest in scan(want)}
    content, metadata = [], []
    for name, *found in scan(got):
        wanted = expected.pop(name, None)
        shown = ascii(os.fsdecode(name))
        if wanted is None:
            content.append(f"{shown}: not in the original")
        elif wanted[0] != found[0]:
            content.append(f"{shown}: {wanted[0]} became {found[0]}")
        elif wanted[1:] != found[1:]:
            metadata.append(f"{shown}: {wanted[1:]} became {found[1:]}")
    content.extend(f"{ascii(os.fsdecode(n))}: missing" for n in expected)
    return content, metadata


def _copy_file(src, dst, size):
    """Bytes and holes; the copy is a new inode."""
    with open(src, "rb", buffering=0) as a, open(dst, "xb", buffering=0) as b:
        offset = 0
        while offset < size:
            try:
                start = os.lseek(a.fileno(), offset, os.SEEK_DATA)
            except OSError as e:
                if e.errno == errno.ENXIO:  # only a hole is left
                    break
                raise
            end = os.lseek(a.fileno(), start, os.SEEK_HOLE)
            while start < end:
                block = os.pread(a.fileno(), min(COPY_BYTES, end - start), start)
                if not block:
                    raise EOFError(f"{src!r} shrank while it was copied")
                os.pwrite(b.fileno(), block, start)
                start += len(block)
            offset = end
        os.ftruncate(b.fileno(), size)


def _copy_metadata(src, dst, s):
    if os.geteuid() == 0:
        os.chown(dst, s.st_uid, s.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(s.st_mode):
        os.chmod(dst, stat.S_IMODE(s.st_mode))
    for name, value in _xattrs(src):
        os.setxattr(dst, name, value, follow_symlinks=False)
    os.utime(dst, ns=(s.st_mtime_ns, s.st_mtime_ns), follow_symlinks=False)


def copy(src, dst):
    """Copies a tree as a volume clone does: same mtimes, new inodes and ctimes."""
    src, dst = os.fsencode(src), os.fsencode(dst)
    os.mkdir(dst)
    linked, directories = {}, [(src, dst, os.lstat(src))]
    for path in walk(src):
        target = dst + path[len(src):]
        s = os.lstat(path)
        key = (s.st_dev, s.st_ino)
        if stat.S_ISDIR(s.st_mode):
            os.mkdir(target)
            directories.append((path, target, s))
            continue
        if key in linked:
            os.link(linked[key], target, follow_symlinks=False)
            continue
        if s.st_nlink > 1:
            linked[key] = target
        if stat.S_ISLNK(s.st_mode):
            os.symlink(os.readlink(path), target)
        else:
            _copy_file(path, target, s.st_size)
        _copy_metadata(path, target, s)
    # Children change their directory's mtime: the deepest directories last written first.
    for path, target, s in reversed(directories):
        _copy_metadata(path, target, s)
