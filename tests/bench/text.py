"""Content for the corpus: text files, database pages, photos.

Everything here is a pure function of the random generator passed in. Only
integer arithmetic and `randbytes` are used, so the same seed gives the same
bytes on every machine (`lognormvariate` would depend on libm's last digit).

The text is made from a Zipf-like vocabulary and a bank of phrases: logs repeat
themselves, and a corpus of uniform noise would flatter nobody and fit no home.
"""

import random
import struct

PAGE_BYTES = 8192

_SYLLABLES = (
    "ka lo mi ra ten so vi ba nu re ghi pra da el ost um fen ri ca to "
    "ler sha ing er an de mo wi qua ze hul bor ny"
).split()
_DOMAIN = (
    "the of to and in for is error warning info request response timeout "
    "client server volume snapshot backup restore pod node service namespace "
    "image container config secret token user admin default started stopped "
    "connected closed failed retry update version path file photo album "
    "library sensor temperature humidity battery light switch motion kitchen "
    "garage living bedroom media stream episode season movie queue download "
    "upload index search cache database table query transaction commit lock"
).split()


def _vocabulary():
    r = random.Random("homelab-dr corpus vocabulary 1")
    words = list(_DOMAIN)
    seen = set(words)
    while len(words) < 3000:
        word = "".join(r.choice(_SYLLABLES) for _ in range(r.randrange(2, 5)))
        if word not in seen:
            seen.add(word)
            words.append(word)
    return [w.encode() for w in words]


VOCABULARY = _vocabulary()


def _zipf_table():
    """65,536 entries, word k about 1/(k+8) as often: index with a random u16."""
    shares = [1_000_000 // (k + 8) for k in range(len(VOCABULARY))]
    total = sum(shares)
    table = []
    for word, share in zip(VOCABULARY, shares):
        table.extend([word] * max(1, share * 65536 // total))
    return (table * 2)[:65536]


_TABLE = _zipf_table()


def words(r, count):
    picks = struct.unpack("<%dH" % count, r.randbytes(2 * count))
    return b" ".join(map(_TABLE.__getitem__, picks))


def _phrases():
    r = random.Random("homelab-dr corpus phrases 1")
    return [words(r, r.randrange(3, 9)) for _ in range(1024)]


PHRASES = _phrases()
_LEVELS = [b"INFO"] * 12 + [b"DEBUG"] * 2 + [b"WARN", b"ERROR"]
_SERVICES = [b"traefik", b"homeassistant", b"jellyfin", b"immich", b"gitea",
             b"postgres", b"paperless", b"mosquitto", b"vaultwarden",
             b"nextcloud", b"prometheus", b"grafana", b"loki", b"minio",
             b"sonarr", b"unifi"]


def _numbers(r, count):
    return struct.unpack("<%dI" % count, r.randbytes(4 * count))


def _log(r, count):
    nums = _numbers(r, 4 * count)
    clock = r.randrange(86_400_000)
    service, pid = r.choice(_SERVICES), r.randrange(1, 40_000)
    for i in range(0, len(nums), 4):
        a, b, c, d = nums[i:i + 4]
        clock = (clock + a % 4000) % 86_400_000
        s, ms = divmod(clock, 1000)
        yield b"2026-11-20T%02d:%02d:%02d.%03dZ %s[%d] %s %s %s=%d id=%08x\n" % (
            s // 3600, s // 60 % 60, s % 60, ms, service, pid, _LEVELS[b & 15],
            PHRASES[b >> 22], _TABLE[c & 0xFFFF], c >> 20, d)


def _json(r, count):
    nums = _numbers(r, 4 * count)
    serial = r.randrange(1_000_000)
    for i in range(0, len(nums), 4):
        a, b, c, d = nums[i:i + 4]
        serial += 1 + (a & 3)
        yield (b'  {"id": %d, "name": "%s-%s", "state": "%s", "size": %d, '
               b'"updated": "2026-11-%02dT%02d:%02d:00Z", "etag": "%08x", '
               b'"note": "%s"},\n') % (
            serial, _TABLE[a >> 16], _TABLE[b & 0xFFFF], _LEVELS[b >> 28],
            c >> 12, 1 + (c & 15), c % 24, c % 60, d, PHRASES[a & 1023])


def _yaml(r, count):
    nums = _numbers(r, 4 * count)
    for i in range(0, len(nums), 4):
        a, b, c, d = nums[i:i + 4]
        yield (b"- name: %s-%s\n  image: registry.lan/%s/%s:%d.%d.%d\n"
               b"  # %s\n  env:\n  - name: %s_%s\n    value: \"%s %08x\"\n") % (
            _TABLE[a & 0xFFFF], _TABLE[a >> 16], _SERVICES[b & 15],
            _TABLE[b >> 16], b & 7, c & 31, c >> 27, PHRASES[c >> 8 & 1023],
            _TABLE[d & 0xFFFF].upper(), _TABLE[d >> 16].upper(),
            _TABLE[c & 0xFFFF], a ^ d)


def _source(r, count):
    nums = _numbers(r, 4 * count)
    for i in range(0, len(nums), 4):
        a, b, c, d = nums[i:i + 4]
        w, x, y, z = _TABLE[a & 0xFFFF], _TABLE[a >> 16], _TABLE[b & 0xFFFF], _TABLE[b >> 16]
        yield (b"    /// %s.\n    fn %s_%s(&self, %s: u%d) -> Result<%s, Error> {\n"
               b"        let %s = self.%s.%s(%d, 0x%x)?;\n"
               b"        Ok(%s.%s(%s + %d))\n    }\n\n") % (
            PHRASES[c & 1023], w, x, y, 8 << (c >> 30), z.title(), x, z, w,
            c >> 20, d, z, _TABLE[c >> 8 & 0xFFFF], y, d >> 26)


# kind: (extension, maker of records, about how long a record is)
KINDS = [(b"log", _log, 100), (b"json", _json, 190), (b"yaml", _yaml, 190),
         (b"rs", _source, 220)]


def text(r, kind, size):
    """Exactly `size` bytes of text of one of `KINDS`."""
    _, make, record_bytes = KINDS[kind]
    out = b"".join(make(r, size // record_bytes + 1))
    while len(out) < size:
        out += b"".join(make(r, (size - len(out)) // record_bytes + 1))
    return out[:size]


def prose(r, size):
    """`size` bytes of plain words: quicker to make than `text`."""
    out = words(r, size // 6 + 16)
    while len(out) < size:
        out += b" " + words(r, (size - len(out)) // 6 + 16)
    return out[:size]


def photo(r, size):
    """Starts like a JPEG from a camera; the rest does not compress."""
    exif = prose(r, 300)
    head = b"\xff\xd8\xff\xe1" + struct.pack(">H", 8 + len(exif)) + b"Exif\0\0" + exif
    return head + r.randbytes(size - len(head) - 2) + b"\xff\xd9"


def small_size(r):
    """Log-normal-like, median 5.5 KiB, cut to 0.2–32 KiB, in integers only.

    The sum of eight bytes is near enough to normal; 2**x is interpolated
    linearly between the powers of two.
    """
    x = sum(r.randbytes(8)) - 1020           # mean 0, deviation 209
    octave, fraction = divmod(x * 5 // 4 + 2560, 256)   # about ±1 octave a deviation
    size = (11 << max(octave, 0)) * (256 + fraction) // 512
    return min(max(size, 200), 32 * 1024)


def spread(r, low, high):
    """A size between two bounds, large ones twice as likely to be met."""
    return max(r.randrange(low, high), r.randrange(low, high))


# --- database rows and pages -------------------------------------------------

def row(n, m):
    """Columns of one row of a table of sensor states: entity, state, attributes."""
    entity = b"sensor.%s_%s" % (VOCABULARY[60 + (n & 31)], VOCABULARY[100 + (n >> 5 & 15)])
    state = b"%d.%d" % (n >> 25, m & 7)
    attributes = (b'{"unit_of_measurement":"%s","friendly_name":"%s","device_class":"%s",'
                  b'"last":"%s","context":"%08x"}') % (
        VOCABULARY[n >> 9 & 7], VOCABULARY[60 + (n & 31)].title(),
        VOCABULARY[n >> 12 & 31], PHRASES[m >> 3 & 1023], m)
    return entity, state, attributes


def _varint(value):
    out = [value & 0x7F]
    value >>= 7
    while value:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(reversed(out))


ROWS_A_PAGE_MAX = 64  # row ids of page k start at 64 k, so a page can be rewritten alone


def _btree_page(kind, cells, right=None, offset=0):
    """A b-tree page: header, cell pointers, cells packed at the end."""
    content, pointers = PAGE_BYTES, []
    for cell in cells:
        content -= len(cell)
        pointers.append(content)
    head = struct.pack(">BHHHB", kind, 0, len(cells), content, 0)
    if right is not None:
        head += struct.pack(">I", right)
    head += struct.pack(">%dH" % len(pointers), *pointers)
    gap = content - offset - len(head)
    return head + bytes(gap) + b"".join(reversed(cells))


def sqlite_leaf(r, leaf):
    """A full leaf page of the table, with the rows of leaf number `leaf`."""
    nums = _numbers(r, 2 * ROWS_A_PAGE_MAX)
    cells, used = [], 8
    for i in range(ROWS_A_PAGE_MAX):
        entity, state, attributes = row(nums[2 * i], nums[2 * i + 1])
        head = (_varint(13 + 2 * len(entity)) + _varint(13 + 2 * len(state))
                + _varint(13 + 2 * len(attributes)) + b"\x05")
        body = (bytes([len(head) + 1]) + head + entity + state + attributes
                + (1_760_000_000_000 + leaf * 60_000 + i * 100).to_bytes(6, "big"))
        cell = _varint(len(body)) + _varint(leaf * ROWS_A_PAGE_MAX + i + 1) + body
        if used + len(cell) + 2 > PAGE_BYTES:
            break
        used += len(cell) + 2
        cells.append(cell)
    return _btree_page(0x0D, cells)


SQLITE_FANOUT = 600  # cells of at most 11 bytes: 600 always fit into a page


def sqlite_layout(pages):
    """(leaves, first leaf's page number): page 1, root, interior pages, leaves."""
    interiors = 2  # a root without a cell would be malformed
    while True:
        leaves = pages - 2 - interiors
        need = -(-leaves // SQLITE_FANOUT)
        if need <= interiors:
            return leaves, 3 + interiors
        interiors = need


def sqlite_head(pages, change_counter):
    """Page 1 and the interior pages: everything before the leaves."""
    leaves, first_leaf = sqlite_layout(pages)
    sql = b"CREATE TABLE states(entity TEXT, state TEXT, attributes TEXT, updated INTEGER)"
    head = bytes([13 + 2 * 5, 13 + 2 * 6, 13 + 2 * 6, 1]) + _varint(13 + 2 * len(sql))
    body = bytes([len(head) + 1]) + head + b"table" + b"states" + b"states" + b"\x02" + sql
    header = struct.pack(
        ">16sHBBBBBBIIIIIIIIIIII20xII", b"SQLite format 3\0", PAGE_BYTES, 1, 1, 0, 64, 32, 32,
        change_counter, pages, 0, 0, 1, 4, 0, 0, 1, 0, 0, 0, change_counter, 3_040_001)
    out = [header + _btree_page(0x0D, [_varint(len(body)) + b"\x01" + body], offset=100)]

    def interior(children):
        cells = [struct.pack(">I", page) + _varint(key) for page, key in children[:-1]]
        return _btree_page(0x05, cells, right=children[-1][0])

    below = [(first_leaf + k, (k + 1) * ROWS_A_PAGE_MAX) for k in range(leaves)]
    share = -(-leaves // (first_leaf - 3))
    groups = [below[i:i + share] for i in range(0, leaves, share)]
    out.append(interior([(3 + i, g[-1][1]) for i, g in enumerate(groups)]))
    out.extend(interior(g) for g in groups)
    return b"".join(out), leaves


def heap_page(r, number):
    """A page of a PostgreSQL heap: header, line pointers, tuples from the end."""
    nums = _numbers(r, 2 * ROWS_A_PAGE_MAX)
    upper, tuples, pointers = PAGE_BYTES, [], []
    for i in range(ROWS_A_PAGE_MAX):
        columns = b"".join(struct.pack("<I", 4 * len(c) + 16) + c
                           for c in row(nums[2 * i], nums[2 * i + 1]))
        data = struct.pack("<IIIHHHHHBx", 700 + number // 8, 0, 0, 0, number & 0xFFFF,
                           i + 1, 4, 0x0902, 24) + columns
        data += bytes(-len(data) % 8)
        if 24 + 4 * (len(tuples) + 1) + len(data) > PAGE_BYTES - sum(map(len, tuples)):
            break
        upper -= len(data)
        tuples.append(data)
        pointers.append(upper | 1 << 15 | len(data) << 17)
    lower = 24 + 4 * len(pointers)
    head = struct.pack("<IIHHHHHHI", 0, nums[0], 0, 0, lower, upper, PAGE_BYTES,
                       PAGE_BYTES | 4, 0)
    return (head + struct.pack("<%dI" % len(pointers), *pointers) + bytes(upper - lower)
            + b"".join(reversed(tuples)))
