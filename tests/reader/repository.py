"""A repository in a directory: keys, seals, index, blobs, trees, files. Follows docs/format.md, cited as §n.

Checks everything that §10 asks of a reader, and stops at the first thing that is wrong.
"""

import base64
import json
import re
import struct
import sys
from collections import defaultdict, namedtuple
from functools import lru_cache
from pathlib import Path

import nacl.bindings as sodium
import nacl.exceptions
import nacl.signing
import pyrage
import zstandard
from blake3 import blake3

import shapes
from shapes import Wrong, decode, ensure

PLAIN_MAX, PACK_MAX, LEVEL_MAX = 8 << 20, 64 << 20, 8  # §11
DATA, LEAF, NODE, LIST = 1, 2, 3, 4  # §4.1, kinds of blobs
# Kinds of records.
TABLE, TRAILER, INDEX, CHAIN, CHECKPOINT, DOOM, EPOCH, SESSION, DRILL, VERIFIED, REHEARSAL = range(16, 27)
NO_ID = bytes(32)

Place = namedtuple("Place", "kind pack session offset length plain hash")


def kdf(context, key, length=32):
    return blake3(key, derive_key_context=f"homelab-dr v1 {context}").digest(length)


class Repository:
    """Opened with an identity or a writer key (§13, steps 1 to 5)."""

    def __init__(self, path, identity, writer_key, pin):
        self.path = Path(path)
        form = json.loads(self.object("format.json"))  # §2.1
        ensure(type(form) is dict and form.get("magic") == "homelab-dr", "format.json: this is no repository")
        ensure(form.get("version") == 1, f"format.json: version {form.get('version')} is unknown to this reader")
        self.id = bytes.fromhex(form["repository"])
        ensure(len(self.id) == 16, "format.json: the repository id has not 16 bytes")
        pin = pin and pin.strip().replace("-", "").lower()
        self.private = {}
        if identity:
            self.open_access(identity, pin)
        else:
            self.open_writer_key(writer_key, pin)
        self.blob_keys = {DATA: "data", LEAF: "leaf", NODE: "node", LIST: "list"}
        self.blob_keys = {kind: kdf(f"blob id {name}", self.chunk_id) for kind, name in self.blob_keys.items()}
        self.check_epochs()
        self.load_index()

    # Objects (§2).

    def object(self, name):
        """The bytes of an object. What is named by its hash is checked."""
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise Wrong(f"{name}: {error.strerror}") from error
        parts = name.split("/")
        if parts[0] not in ("format.json", "epochs", "sessions"):
            ensure(
                blake3(data).hexdigest() == parts[-1].removesuffix(".age"),
                f"{name}: the bytes are not those of its name",
            )
        return data

    def names(self, pattern):
        """The names of all objects that match; others are foreign."""
        found = (str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())
        return sorted(name for name in found if re.fullmatch(pattern.replace("ID", "[0-9a-f]{64}"), name))

    def records(self, pattern):
        """The names of records that match and count: of epochs that are accepted (§8.1). The epoch is in clear at the head."""
        found = ((name, self.object(name)[1:5]) for name in self.names(pattern))
        return [name for name, head in found if len(head) < 4 or int.from_bytes(head, "little") >= self.accepted]

    # Keys (§3).

    def open_access(self, file, pin):
        lines = Path(file).read_bytes()
        if lines.startswith(b"-----BEGIN"):
            identities = [pyrage.ssh.Identity.from_buffer(lines)]
        else:
            found = [line.strip() for line in lines.decode().splitlines()]
            identities = [
                pyrage.x25519.Identity.from_str(line) for line in found if line.startswith("AGE-SECRET-KEY-1")
            ]
        ensure(identities, f"{file}: no identity in it")
        opened, why = [], ["there is none"]
        for name in self.names(r"access/ID\.age"):
            try:
                stored = self.object(name)
                ensure(len(stored) <= 2 << 20, f"{name}: too long")
                access = decode(shapes.ACCESS, record(pyrage.decrypt(stored, identities)), name)
                root = bytes(nacl.signing.SigningKey(access.root_seed).verify_key)
                ensure(access.repository == self.id, f"{name}: of another repository")
                ensure(
                    not pin or fingerprint(self.id, root) == pin,
                    f"{name}: the fingerprint is {fingerprint(self.id, root)}",
                )
                ensure(access.epochs, f"{name}: holds no epoch")
                opened.append((access.generation, name, access, root))
            except (pyrage.DecryptError, Wrong) as error:
                why.append(f"{name}: {error}")
        ensure(opened, "no access object opens: " + "; ".join(why[1:] or why))
        _, _, access, self.root = max(opened, key=lambda found: found[:2])
        self.chunk_id = access.chunk_id
        self.metadata = {epoch.number: epoch.metadata for epoch in access.epochs}
        self.private = {epoch.number: epoch.private for epoch in access.epochs}
        if not pin:
            print(
                f"warning: no --fingerprint given: this may be a forgery. It says {fingerprint(self.id, self.root)}",
                file=sys.stderr,
            )

    def open_writer_key(self, file, pin):  # §3.4
        line = Path(file).read_text().strip()
        prefix, letters = line[:20], line[20:].upper()
        ensure(prefix == "homelab-dr-writer-1-", f"{file}: no writer key")
        try:
            data = base64.b32decode(letters + "=" * (-len(letters) % 8))
        except ValueError as error:
            raise Wrong(f"{file}: {error}") from error
        ensure(
            base64.b32encode(data).decode().rstrip("=") == letters, f"{file}: the checksum is wrong"
        )  # bits left over
        payload, checksum = data[:-8], data[-8:]
        ensure(kdf("writer key checksum", payload, 8) == checksum, f"{file}: the checksum is wrong")
        ensure(payload[0] == 1 and len(payload) == 149, f"{file}: unknown version or length")
        repository, self.root, epoch, metadata, self.chunk_id, _ = struct.unpack("<x16s32sI32s32s32s", payload)
        ensure(repository == self.id, f"{file}: the key of another repository")
        ensure(
            not pin or fingerprint(self.id, self.root) == pin,
            f"{file}: the fingerprint is {fingerprint(self.id, self.root)}",
        )
        self.metadata, self.written_for = {max([epoch, *self.begun()]): metadata}, epoch

    def begun(self):
        """The numbers of the epochs whose records are there."""
        return [int(name[7:]) for name in self.names("epochs/[1-9][0-9]{0,9}") if int(name[7:]) < 1 << 32]

    def check_epochs(self):  # §8.1, §10
        begun = self.begun()
        current = max([epoch for epoch in self.metadata if epoch in begun] or self.metadata)
        if self.private:
            if current < max(begun, default=0):
                print(
                    f"warning: epoch {max(begun)} is there and no key to it: an access object is lost, or somebody "
                    "wrote to the store",
                    file=sys.stderr,
                )
            self.check_epoch(current)
            return
        try:
            self.check_epoch(current)
        except Wrong as error:
            ensure(
                current == self.written_for,
                f"epoch {current} began: this writer key, of epoch {self.written_for}, is retired ({error})",
            )
            raise
        # Only now is the number believed.
        self.metadata = dict.fromkeys(range(self.accepted, current + 1), self.metadata[current])

    def check_epoch(self, current):
        name = f"epochs/{current}"
        signed = self.record(name, EPOCH, shapes.SIGNED)
        try:
            message = b"homelab-dr v1 epoch\0" + self.id + signed.body
            nacl.signing.VerifyKey(self.root).verify(message, signed.signature)
        except nacl.exceptions.BadSignatureError as error:
            raise Wrong(f"{name}: not signed by the root key") from error
        body = decode(shapes.EPOCH_BODY, signed.body, name)
        ensure(body.number == current, f"{name}: it is the record of epoch {body.number}")
        self.accepted = body.accepted
        ensure(
            body.commitment == kdf("metadata key commitment", self.metadata[current]), f"{name}: another metadata key"
        )
        if self.private:
            public = sodium.crypto_scalarmult_base(self.private[current])
            ensure(body.public == public, f"{name}: another X25519 key")

    # Seals (§4, §5).

    def associated(self, epoch, kind, id):
        return b"homelab-dr\x01" + self.id + struct.pack("<IB", epoch, kind) + id

    def open_metadata(self, sealed, kind, id, what):
        ensure(len(sealed) >= 45, f"{what}: no seal of version 1")
        version, epoch = struct.unpack("<BI", unmasked(sealed[:5], id))
        ensure(version == 1, f"{what}: no seal of version 1")
        ensure(epoch in self.metadata, f"{what}: sealed in epoch {epoch}, whose key is not there")
        associated = self.associated(epoch, kind, id)
        return authentic(
            sodium.crypto_aead_xchacha20poly1305_ietf_decrypt,
            what,
            sealed[29:],
            associated,
            sealed[5:29],
            self.metadata[epoch],
        )

    def open_content(self, sealed, session, id, pack, what):
        head = unmasked(sealed[:9], id)
        ensure(len(sealed) >= 25 and head[0] == 1, f"{what}: no seal of version 1")
        key, epoch = self.content_key(session, pack)
        nonce = head[1:] + bytes(4)
        return authentic(
            sodium.crypto_aead_chacha20poly1305_ietf_decrypt,
            what,
            sealed[9:],
            self.associated(epoch, DATA, id),
            nonce,
            key,
        )

    def unwrap(self, wrap, epoch, session, what):  # §4.4
        ensure(epoch in self.private, f"{what}: the private key of epoch {epoch} is not there")
        ephemeral, named, sealed = wrap[:32], wrap[32:64], wrap[64:]
        ensure(named == session, f"{what}: the wrap of another session")
        public = sodium.crypto_scalarmult_base(self.private[epoch])
        shared = authentic(sodium.crypto_scalarmult, what, self.private[epoch], ephemeral)
        key = kdf("session wrap", shared + ephemeral + public)
        content = authentic(
            sodium.crypto_aead_chacha20poly1305_ietf_decrypt,
            what,
            sealed,
            self.associated(epoch, SESSION, session),
            bytes(12),
            key,
        )
        ensure(kdf("session id", content) == session, f"{what}: another content key than the session's")
        return content, epoch

    @lru_cache
    def content_key(self, session, pack):
        """The content key of a session and its epoch, from its object or, without that, from the header of a pack."""
        name = f"sessions/{session.hex()}"
        try:
            found = self.record(name, SESSION, shapes.SESSION_RECORD)
            return self.unwrap(found.wrap, found.epoch, session, name)
        except Wrong as error:
            print(f"warning: {error}; trying the header of a pack", file=sys.stderr)
        for epoch, wrap in pack_header(self.object(pack_name(pack)))[1]:
            if wrap[32:64] == session:
                return self.unwrap(wrap, epoch, session, pack_name(pack))
        raise Wrong(f"the wrap of session {session.hex()} is lost")

    def record(self, name, kind, shape):
        return decode(shape, record(self.open_metadata(self.object(name), kind, NO_ID, name)), name)

    # Index and blobs (§6, §7.1).

    def load_index(self):
        self.packs, self.blobs = {}, defaultdict(list)
        for name in self.records("index/ID"):
            for pack in self.record(name, INDEX, shapes.SEGMENT).packs:
                places = check_table(pack.table, pack.size, name)
                ensure(
                    self.packs.setdefault(pack.id, (pack.size, places)) == (pack.size, places),
                    f"{name}: a pack with two tables",
                )
        for pack, (_, places) in self.packs.items():
            for id, place in places:
                self.blobs[id].append(place._replace(pack=pack))

    @lru_cache(maxsize=4)
    def blob(self, id, kind):
        """The plaintext of a blob, from the first copy that opens."""
        why = []
        for place in self.blobs[id]:
            try:
                with open(self.path / pack_name(place.pack), "rb") as file:
                    file.seek(place.offset)
                    return self.open_blob(id, kind, place, file.read(place.length))
            except (OSError, Wrong) as error:
                why.append(str(error))
        raise Wrong(f"blob {id.hex()} of kind {kind}: " + ("; ".join(why) or "it is in no pack"))

    @lru_cache(maxsize=16)
    def items(self, id, kind):
        """A leaf's entries, a node's children, a list's pieces."""
        shape = {LEAF: shapes.ENTRY, NODE: shapes.CHILD, LIST: shapes.PIECE}[kind]
        return decode(shapes.list_of(shape), self.blob(id, kind), f"blob {id.hex()}")

    def open_blob(self, id, kind, place, sealed):
        what = f"blob {id.hex()} in {pack_name(place.pack)}"
        ensure(place.kind == kind, f"{what}: of kind {place.kind}, not {kind}")
        ensure(blake3(sealed).digest() == place.hash, f"{what}: the sealed bytes have changed")
        if kind == DATA:
            opened = self.open_content(sealed, place.session, id, place.pack, what)
        else:
            opened = self.open_metadata(sealed, kind, id, what)
        ensure(opened and opened[0] <= 22, f"{what}: unknown marker")
        body = opened[1:]
        if opened[0]:
            try:
                body = zstandard.ZstdDecompressor().stream_reader(body).read(PLAIN_MAX + 1)
            except zstandard.ZstdError as error:
                raise Wrong(f"{what}: {error}") from error
        ensure(len(body) <= PLAIN_MAX and len(body) == place.plain, f"{what}: not as long as its record says")
        ensure(blake3(body, key=self.blob_keys[kind]).digest() == id, f"{what}: other bytes than its id says")
        return body

    # Snapshots, trees, files (§7, §8.3).

    def chain(self):
        found = {name[10:]: self.record(name, CHAIN, shapes.CHAIN_RECORD) for name in self.records("snapshots/ID")}
        by_kind = {"snapshot": {}, "tombstone": {}}
        for id, (kind, (fields,)) in found.items():
            by_kind[kind][id] = fields
        forgotten = {id.hex() for tombstone in by_kind["tombstone"].values() for id in tombstone.forgotten}
        named = {id.hex() for _, (fields,) in found.values() for id in fields.link.parents}
        gaps = sorted(named - forgotten - found.keys())
        return by_kind["snapshot"], by_kind["tombstone"], gaps

    def snapshot(self, id):
        snapshots, _, _ = self.chain()
        ordered = sorted(snapshots, key=lambda name: (snapshots[name].started, name))
        hits = ordered[-1:] if id == "latest" else [name for name in ordered if name.startswith(id)]
        ensure(len(hits) == 1, f"{len(hits)} snapshots are called {id}")
        return snapshots[hits[0]]

    def entries(self, root):
        """All entries of a tree, checked."""
        ensure(root.level <= LEVEL_MAX, "a tree with too many levels")
        before = None
        for entry in self.below(root.blob, root.level, None):
            ensure(before is None or shapes.order(before) < shapes.order(entry.path), f"{entry.path!r} is out of order")
            before = entry.path
            yield entry

    def below(self, blob, level, child):
        """The entries below a child of a node, which says the first path, how many they are and their bytes."""
        first, count, size = None, 0, 0
        if level == 0:
            found = self.items(blob, LEAF)
        else:
            children = self.items(blob, NODE)
            ensure(children, f"node {blob.hex()} is empty")
            found = (entry for each in children for entry in self.below(each[1], level - 1, each))
        for entry in found:
            first = entry.path if count == 0 else first
            count += 1
            size += entry.kind[1].size if entry.kind[0] == "file" else 0
            yield entry
        ensure(
            child is None or (child[0], child[2], child[3]) == (first, count, size),
            f"node: what is below {child and child[0]!r} is not what it says",
        )

    def find(self, root, path):
        """One entry, by the way that §7.2 tells."""
        blob = root.blob
        for _ in range(root.level):
            children = self.items(blob, NODE)
            fitting = [child for child in children if shapes.order(child[0]) <= shapes.order(path)]
            ensure(fitting, "no such path")
            blob = fitting[-1][1]
        hits = [entry for entry in self.items(blob, LEAF) if entry.path == path]
        ensure(hits, "no such path")
        return hits[0]

    def pieces(self, entry):
        file = entry.kind[1]
        how, (pieces,) = file.content
        if how == "lists":
            pieces = [piece for id in pieces for piece in self.items(id, LIST)]
        ensure(
            sum(fields[-1] for _, fields in pieces) == file.size, f"{entry.path!r}: the pieces do not make up the file"
        )
        return pieces

    def content(self, entry):
        """(bytes, None) for data and (None, length) for holes."""
        for kind, fields in self.pieces(entry):
            if kind == "hole":
                yield None, fields[0]
            else:
                id, skip, count = fields
                blob = self.blob(id, DATA)
                ensure(skip + count <= len(blob), f"{entry.path!r}: a piece goes beyond its blob")
                yield blob[skip : skip + count], None


def authentic(operation, what, *arguments):
    try:
        return operation(*arguments)
    except (nacl.exceptions.CryptoError, nacl.exceptions.RuntimeError) as error:
        raise Wrong(f"{what}: it does not open: damaged, or not of this place") from error


def unmasked(head, id):
    """The clear head of a seal (§4.2, §4.3)."""
    return bytes(byte ^ mask for byte, mask in zip(head, id))


def record(plaintext):  # §5.1
    ensure(len(plaintext) >= 4, "a record of less than 4 bytes")
    (size,) = struct.unpack_from("<I", plaintext)
    ensure(size <= len(plaintext) - 4, "a record longer than its object")
    return plaintext[4 : 4 + size]


def padded(size):  # §5.2
    bits = size.bit_length() - 1
    step = 1 << (bits - 6) if bits > 18 else 4096
    return max(4096, -(-size // step) * step)


def fingerprint(repository, root):  # §3.3, without its hyphens
    return "hdr1" + base64.b32encode(kdf("fingerprint", repository + root, 20)).decode().lower()


def pack_name(id):
    return f"packs/{id.hex()[:2]}/{id.hex()}"


def pack_header(data):
    """Class, [(epoch, wrap)] and length of the header (§6.1)."""
    ensure(len(data) >= 4 and data[0] == 1, "a pack of another version")
    _, kind, count = struct.unpack_from("<BBH", data)
    ensure((kind == 1 or kind == 2 and count == 0) and len(data) >= 4 + 116 * count, "a pack without a whole header")
    return kind, [struct.unpack_from("<I112s", data, 4 + 116 * n) for n in range(count)], 4 + 116 * count


def check_table(table, size, what):
    """The blob records of a table (§6.3) as (id, place)."""
    ensure(size <= PACK_MAX and len(table.blobs) % 79 == 0, f"{what}: not whole blob records")
    places, end = [], 4 + 116 * len(table.sessions)
    for id, kind, session, offset, count, plain_size, hash in struct.iter_unpack("<32sBHIII32s", table.blobs):
        ensure(kind in (DATA, LEAF, NODE, LIST), f"{what}: unknown kind {kind}")
        ensure(count and offset >= end and offset + count <= size, f"{what}: blobs overlap, or leave their pack")
        ensure(plain_size <= PLAIN_MAX, f"{what}: too long a blob")
        if kind == DATA:
            ensure(session < len(table.sessions), f"{what}: a session that the table does not name")
        else:
            ensure(session == 0 and not table.sessions, f"{what}: metadata in a pack of content")
        places.append(
            (id, Place(kind, None, table.sessions[session] if kind == DATA else None, offset, count, plain_size, hash))
        )
        end = offset + count
    return places
