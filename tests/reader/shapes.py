"""The shapes of CBOR values: §1.1, and the records and trees of §3.1, §6, §7 and §8 of docs/format.md.

A shape is a function from a decoded value to a checked one; anything else raises `Wrong`. Knows no key and no file.
"""

import io
from types import SimpleNamespace

import cbor2

PATH_MAX = 65536  # §11


class Wrong(Exception):
    """The repository, or a key, is not what the format says."""


def ensure(condition, message):
    if not condition:
        raise Wrong(message)


def decode(shape, data, what):
    try:
        return shape(cbor2.CBORDecoder(io.BytesIO(data)).decode())  # what follows the item is ignored
    except (cbor2.CBORError, RecursionError, TypeError, Wrong) as error:
        raise Wrong(f"{what} does not decode: {error}") from error


def plain(kind):
    def shape(value):
        ensure(type(value) is kind, f"{type(value).__name__} where {kind.__name__} belongs")
        return value

    return shape


def sized(length):
    def shape(value):
        ensure(type(value) is bytes and len(value) == length, f"not {length} bytes")
        return value

    return shape


def list_of(item):
    return lambda value: [item(each) for each in plain(list)(value)]


def map_of(**fields):  # name=(key, shape) or (key, shape, value if absent)
    def shape(value):
        plain(dict)(value)
        found = {name: (value.get(key), item, default) for name, (key, item, *default) in fields.items()}
        for name, (raw, _, default) in found.items():
            ensure(raw is not None or default, f"no field {name}")
        return SimpleNamespace(
            **{n: default[0] if raw is None else item(raw) for n, (raw, item, default) in found.items()}
        )

    return shape


def tuple_of(*items):
    def shape(value):
        ensure(len(plain(list)(value)) >= len(items), "too short a tuple")
        return tuple(item(each) for item, each in zip(items, value))

    return shape


def choice_of(*variants):  # (name, shape of the fields)
    def shape(value):
        number, fields = tuple_of(natural, lambda x: x)(value)
        ensure(number < len(variants), f"unknown variant {number}")
        return variants[number][0], variants[number][1](fields)

    return shape


def natural(value):
    ensure(type(value) is int and value >= 0, "not a natural number")
    return value


integer, text, raw = plain(int), plain(str), plain(bytes)
ID = sized(32)

# §3.1, §6.2, §6.4, §8: the records.
ACCESS = map_of(
    repository=(0, sized(16)),
    root_seed=(1, ID),
    chunk_id=(2, ID),
    chunker=(3, ID),
    epochs=(4, list_of(map_of(number=(0, natural), metadata=(1, ID), private=(2, ID)))),
    recipients=(5, list_of(text)),
    generation=(6, natural),
    created=(7, integer),
)
PACK_TABLE = map_of(sessions=(0, list_of(ID)), blobs=(1, raw))
SEGMENT = map_of(packs=(0, list_of(map_of(id=(0, ID), size=(1, natural), table=(2, PACK_TABLE)))))
SIGNED = map_of(body=(0, raw), signature=(1, sized(64)))
EPOCH_BODY = map_of(
    number=(0, natural),
    public=(1, ID),
    commitment=(2, ID),
    recipients_hash=(3, ID),
    created=(4, integer),
    lock=(5, natural),
    accepted=(6, natural, 1),
)
SESSION_RECORD = map_of(epoch=(0, natural), wrap=(1, sized(112)), created=(2, integer))
LINK = map_of(sequence=(0, natural), parents=(1, list_of(ID)))
SNAPSHOT = map_of(
    link=(0, LINK),
    source=(1, text),
    started=(2, integer),
    finished=(3, integer),
    paths=(4, list_of(raw)),
    root=(5, map_of(blob=(0, ID), level=(1, natural))),
    statistics=(6, plain(dict)),
    problems=(7, list_of(map_of(path=(0, raw), message=(1, text)))),
    tags=(8, plain(dict)),
    program=(9, text),
    host=(10, text),
    base=(11, ID, None),
    device=(12, plain(bool), None),
    run=(13, text, None),
    blocks=(14, natural, None),
)
TOMBSTONE = map_of(link=(0, LINK), created=(1, integer), forgotten=(2, list_of(ID)), host=(3, text))
CHAIN_RECORD = choice_of(("snapshot", tuple_of(SNAPSHOT)), ("tombstone", tuple_of(TOMBSTONE)))
CHECKPOINT = map_of(packs=(0, list_of(ID)), created=(1, integer))
DOOM_MARK = map_of(objects=(0, list_of(text)), created=(1, integer))
DRILL = map_of(when=(0, integer), recipient=(1, text), host=(2, text), newest=(3, ID, None), heads=(4, list_of(ID)))
VERIFIED = map_of(when=(0, integer), snapshots=(1, list_of(ID)), host=(2, text), damaged=(3, list_of(ID), ()), chain=(4, list_of(ID), ()))
NO_FIELDS = lambda value: plain(list)(value)  # noqa: E731
REHEARSAL = map_of(
    run=(0, text),
    begun=(1, integer),
    ended=(2, integer),
    outcome=(3, choice_of(*[(name, NO_FIELDS) for name in ("passed", "missed", "failed", "stopped")])),
    runbook=(4, map_of(id=(0, text), digest=(1, text)), None),
    sources=(
        5,
        list_of(
            map_of(
                name=(0, text),
                snapshot=(1, ID),
                started=(2, integer),
                age=(3, natural),
                size=(4, natural),
                took=(5, natural, None),
                part=(6, plain(bool), None),
            )
        ),
    ),
    target=(6, choice_of(("folder", NO_FIELDS), ("cluster", NO_FIELDS))),
    took=(7, natural, None),
    rto=(8, natural, None),
    rpo=(9, natural, None),
    checks=(10, natural),
    held=(11, natural),
    left_out=(12, natural),
    remarks=(13, list_of(text)),
    why=(14, text),
    recipient=(15, text),
    host=(16, text),
    program=(17, text),
    left_behind=(18, list_of(text)),
)


# §7.2, §7.3: trees.


def path_of(value):
    names = raw(value).split(b"/") if value else []
    ensure(
        len(value) <= PATH_MAX and not any(name in (b"", b".", b"..") or b"\0" in name for name in names),
        f"{value!r} is no path",
    )
    return value


def order(path):
    return path.replace(b"/", b"\0")  # no name holds a NUL


def file_time(value):
    seconds, nanos = tuple_of(integer, natural)(value)
    ensure(nanos < 10**9, "nanoseconds")
    return seconds, nanos


def length(value):
    ensure(natural(value) > 0, "a piece of length 0")
    return value


NOTHING = plain(list)
DEVICE = map_of(major=(0, natural), minor=(1, natural))
PIECE = choice_of(("data", tuple_of(ID, natural, length)), ("hole", tuple_of(length)))
CONTENT = choice_of(("inline", tuple_of(list_of(PIECE))), ("lists", tuple_of(list_of(ID))))
KIND = choice_of(
    ("directory", NOTHING),
    ("file", map_of(size=(0, natural), content=(1, CONTENT))),
    ("hard link", map_of(target=(0, path_of))),
    ("symlink", map_of(target=(0, raw))),
    ("character device", DEVICE),
    ("block device", DEVICE),
    ("fifo", NOTHING),
)
ENTRY = map_of(
    path=(0, path_of),
    kind=(1, KIND),
    mode=(2, natural),
    uid=(3, natural),
    gid=(4, natural),
    mtime=(5, file_time),
    xattrs=(6, list_of(tuple_of(raw, raw)), []),
    identity=(7, tuple_of(natural, file_time, plain(bool)), None),
)
CHILD = tuple_of(path_of, ID, natural, natural)
