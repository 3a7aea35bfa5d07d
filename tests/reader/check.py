#!/usr/bin/env python3
"""Tests of read.py: the frozen repositories, read by it, are what expected.json says; a tampered copy is an error.

    check.py        run in the environment of requirements.txt; tests/lanes/reader.sh does

Ends with a line like cargo's. An error must be one message on standard error and exit code 1, never a traceback.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

import cbor2
import nacl.bindings as sodium
import nacl.signing
import pyrage
from blake3 import blake3

READER = Path(__file__).with_name("read.py")
FIXTURES = Path(__file__).parents[2] / "fixtures/format"
ROOT = os.geteuid() == 0


class Fixture:
    """A frozen repository, or a copy of it to tamper with."""

    def __init__(self, path, work):
        self.path, self.work, self.repository = path, work, path / "repository"
        self.expected = json.loads((path / "expected.json").read_text())
        self.identity, self.writer_key = path / "TEST-identity.txt", path / "TEST-writer-key.txt"
        self.fingerprint = self.expected["fingerprint"]

    def copy(self):
        other = Fixture(self.path, self.work)
        other.repository = Path(tempfile.mkdtemp(dir=self.work)) / "repository"
        shutil.copytree(self.repository, other.repository)
        return other

    def files(self, folder):
        return sorted(path for path in (self.repository / folder).rglob("*") if path.is_file())

    def run(self, *command, key=None):
        key = key or ["--identity", self.identity, "--fingerprint", self.fingerprint]
        return subprocess.run([sys.executable, READER, self.repository, *key, *command], capture_output=True)

    def good(self, *command, key=None):
        done = self.run(*command, key=key)
        assert done.returncode == 0, f"{command}: {done.returncode}: {done.stderr.decode()}"
        return done.stdout

    def bad(self, says, *command, key=None):
        done = self.run(*command, key=key)
        said = done.stderr.decode()
        assert done.returncode == 1 and "Traceback" not in said, f"{command}: {done.returncode}: {said}"
        assert "error: " in said and says in said, f"{command}: {says!r} is not in: {said}"

    def target(self):
        return Path(tempfile.mkdtemp(dir=self.work)) / "restored"


def see(root):
    """Everything below a directory as expected.json has it, in its order."""
    seen, first_names = [], {}

    def visit(relative):
        path = os.path.join(os.fsencode(root), relative)
        found = os.lstat(path)
        entry = {"path": quote_from_bytes(relative)}
        seen.append(entry)
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            if (first := first_names.setdefault(found.st_ino, entry["path"])) != entry["path"]:
                entry |= {"kind": "hard link", "target": first}
                return
        kinds = {
            stat.S_IFDIR: "directory",
            stat.S_IFREG: "file",
            stat.S_IFLNK: "symlink",
            stat.S_IFIFO: "fifo",
            stat.S_IFCHR: "character device",
            stat.S_IFBLK: "block device",
        }
        names = [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user.")]
        entry |= {
            "kind": kinds[stat.S_IFMT(found.st_mode)],
            "mode": stat.S_IMODE(found.st_mode),
            "uid": found.st_uid,
            "gid": found.st_gid,
            "mtime": list(divmod(found.st_mtime_ns, 10**9)),
            "xattrs": {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in names},
        }
        if entry["kind"] == "file":
            content = Path(os.fsdecode(path)).read_bytes()
            entry |= {"size": len(content), "blake3": blake3(content).hexdigest(), "holes": holes(path, len(content))}
        elif entry["kind"] == "symlink":
            entry["target"] = quote_from_bytes(os.readlink(path))
        elif entry["kind"].endswith("device"):
            entry["device"] = [os.major(found.st_rdev), os.minor(found.st_rdev)]
        elif entry["kind"] == "directory":
            for name in sorted(os.listdir(path)):
                visit(os.path.join(relative, name) if relative else name)

    visit(b"")
    return seen


def holes(path, size):
    found, at = [], 0
    with open(path, "rb") as file:
        while at < size:
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            try:
                at = os.lseek(file.fileno(), hole, os.SEEK_DATA)
            except OSError:
                at = size
            found += [[hole, at - hole]] if hole < size else []
    return found


def same(found, expected):
    for a, b in zip(found, expected):
        assert a == b, f"{a}\n  is not\n{b}"
    assert len(found) == len(expected), f"{len(found)} entries, not {len(expected)}"


def as_far_as_allowed(entries):
    """Without root nobody can make devices or give files away."""
    if ROOT:
        return entries
    return [entry | ({"uid": 0, "gid": 0} if "uid" in entry else {}) for entry in entries if "device" not in entry]


def rename_to_hash(path):
    """What somebody without keys can do after tampering: give the object the name that fits."""
    name = blake3(path.read_bytes()).hexdigest()
    folder = path.parent.parent / name[:2] if path.parts[-3] == "packs" else path.parent
    folder.mkdir(exist_ok=True)
    return path.rename(folder / (name + path.suffix))


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


# What must be read.


def test_snapshots_and_tombstones_are_listed(f):
    lines = [json.loads(line) for line in f.good("list").splitlines()]
    found = [(line["id"], line["source"]) for line in lines if "id" in line]
    assert found == [(each["id"], each["source"]) for each in f.expected["snapshots"]], found
    assert [id for line in lines for id in line.get("forgotten", [])] == f.expected["forgotten"]


def test_entries_are_listed(f):
    keys = ["--writer-key", f.writer_key]
    for snapshot in f.expected["snapshots"]:
        for key in None, keys:
            listed = [json.loads(line) for line in f.good("list", snapshot["id"], key=key).splitlines()]
            for entry, expected in zip(listed, snapshot["entries"]):
                kept = {name: value for name, value in expected.items() if name != "blake3"}
                same([{name: entry.get(name) for name in kept}], [kept])
            assert len(listed) == len(snapshot["entries"])


def test_files_are_printed(f):
    for snapshot in f.expected["snapshots"]:
        for entry in snapshot["entries"]:
            if entry.get("size"):
                content = f.good("cat", snapshot["id"], unquote_to_bytes(entry["path"]))
                assert blake3(content).hexdigest() == entry["blake3"], entry["path"]


def test_snapshots_are_restored(f):
    for snapshot in f.expected["snapshots"]:
        target = f.target()
        done = f.run("restore", snapshot["id"], target)
        assert done.returncode == (0 if ROOT else 3), done.stderr.decode()
        same(as_far_as_allowed(see(target)), as_far_as_allowed(snapshot["entries"]))


def test_everything_opens(f):
    f.good("verify")


def test_the_fixture_has_what_it_should(f):
    listed = [json.loads(line) for line in f.good("list", "latest").splitlines()]
    assert {"lists", "inline"} <= {entry.get("how") for entry in listed}
    assert any(entry.get("holes") for entry in listed)
    for folder in "checkpoints", "doomed", "drills", "sessions", "epochs":
        assert f.files(folder), folder


def test_foreign_objects_are_ignored(f):
    f = f.copy()
    for name in "note.txt", "index/short", "packs/zz/" + "a" * 64, "later/thing", "epochs/01":
        (f.repository / name).parent.mkdir(exist_ok=True)
        (f.repository / name).write_bytes(b"foreign")
    f.good("verify")


def test_a_second_access_object_of_somebody_else_is_skipped(f):
    f = f.copy()
    stranger = f.repository / "access" / ("0" * 64 + ".age")
    stranger.write_bytes(pyrage.encrypt(b"\x01\0\0\0\xa0", [pyrage.x25519.Identity.generate().to_public()]))
    rename_to_hash(stranger)
    f.good("verify")


def test_a_forged_access_object_is_dropped_by_the_fingerprint(f):
    f = f.copy()
    known = known_identity(f)
    theirs = bytes.fromhex(json.loads((f.repository / "format.json").read_text())["repository"])
    for repository, generation, epochs in (theirs, 99, [1]), (bytes(16), 99, [1]), (theirs, 99, []):
        access = {
            0: repository,
            1: b"r" * 32,
            2: bytes(32),
            3: bytes(32),
            5: [],
            6: generation,
            7: 0,
            4: [{0: number, 1: bytes(32), 2: bytes(32)} for number in epochs],
        }
        body = cbor2.dumps(access)
        forged = f.repository / "access" / ("0" * 64 + ".age")
        forged.write_bytes(pyrage.encrypt(len(body).to_bytes(4, "little") + body, [known.to_public()]))
        rename_to_hash(forged)
    f.good("verify")
    # Without the fingerprint the highest generation wins, and is found out by the epoch that its root key did not sign.
    f.bad("epochs/1: it does not open", "list", key=["--identity", f.identity])


def known_identity(f):
    line = next(line for line in f.identity.read_text().splitlines() if line.startswith("AGE-SECRET-KEY-1"))
    return pyrage.x25519.Identity.from_str(line)


def prepare_epoch_2(f, metadata=None, accepted=None):
    """What the removal of a recipient writes first: an access object with another epoch. Returns what comes next."""
    plain = pyrage.decrypt(f.files("access")[0].read_bytes(), [known_identity(f)])
    access = cbor2.loads(plain[4 : 4 + int.from_bytes(plain[:4], "little")])
    private, metadata = os.urandom(32), metadata or access[4][0][1]
    access[4].append({0: 2, 1: metadata, 2: private})
    access[6] += 1
    body = cbor2.dumps(access)
    new = f.repository / "access" / ("0" * 64 + ".age")
    new.write_bytes(pyrage.encrypt(len(body).to_bytes(4, "little") + body, [known_identity(f).to_public()]))
    rename_to_hash(new)
    commitment = blake3(metadata, derive_key_context="homelab-dr v1 metadata key commitment").digest()
    fields = {0: 2, 1: sodium.crypto_scalarmult_base(private), 2: commitment, 3: bytes(32), 4: 0, 5: 0}
    body = cbor2.dumps(fields | ({6: accepted} if accepted else {}))
    signed = nacl.signing.SigningKey(access[1]).sign(b"homelab-dr v1 epoch\0" + access[0] + body).signature
    body = cbor2.dumps({0: body, 1: signed})
    epoch, nonce = (2).to_bytes(4, "little"), os.urandom(24)
    plain = (len(body).to_bytes(4, "little") + body).ljust(4096 - 45, b"\0")
    associated = b"homelab-dr\x01" + access[0] + epoch + b"\x16" + bytes(32)
    sealed = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, associated, nonce, metadata)
    return b"\x01" + epoch + nonce + sealed


def test_a_removal_of_a_recipient_is_followed(f):
    f = f.copy()
    record = prepare_epoch_2(f)
    writer = ["--writer-key", f.writer_key]
    # Cut off after the access object: the epoch has not begun.
    for begun in False, True:
        if begun:
            (f.repository / "epochs/2").write_bytes(record)
        f.good("verify")
        f.good("list", "latest", key=writer)
    flip(f.repository / "epochs/2", 100)
    f.bad("epochs/2: it does not open", "list")
    f.bad("epoch 2 began", "list", key=writer)


def test_another_metadata_key_retires_the_writer_key(f):
    f = f.copy()
    record = prepare_epoch_2(f, os.urandom(32))
    (f.repository / "epochs/2").write_bytes(record)
    f.good("verify")
    f.bad("epoch 2 began", "list", key=["--writer-key", f.writer_key])


def test_records_of_epochs_that_are_not_accepted_count_for_nothing(f):
    for accepted in None, 1, 2:
        copy = f.copy()
        record = prepare_epoch_2(copy, os.urandom(32), accepted)
        (copy.repository / "epochs/2").write_bytes(record)
        assert (copy.good("list") == b"") == (accepted == 2)
        # Packs are read whatever their epoch.
        copy.good("verify")


def test_a_planted_epoch_of_a_high_number_costs_nothing(f):
    f = f.copy()
    (f.repository / "epochs/4294967295").write_bytes((f.repository / "epochs/1").read_bytes())
    f.bad("epoch 4294967295 began", "list", key=["--writer-key", f.writer_key])


def test_a_pack_shows_no_seal(f):
    """What a blob's clear head would be occurs nowhere: the bytes that are at its place are masked (§4.2, §4.3)."""
    for pack in f.files("packs"):
        data = pack.read_bytes()
        start = 4 + 116 * int.from_bytes(data[2:4], "little")
        assert data[start : start + 5] != b"\x01\x01\0\0\0", "a metadata head in clear"
        assert data[start + 3 : start + 9] != bytes(6), "a counter in clear"


def test_a_lost_or_damaged_session_is_found_in_the_packs(f):
    f = f.copy()
    sessions = f.files("sessions")
    sessions[0].unlink()
    sessions[1].write_bytes(sessions[2].read_bytes())
    for snapshot in f.expected["snapshots"]:
        target = f.target()
        f.run("restore", snapshot["id"], target)
        same(as_far_as_allowed(see(target)), as_far_as_allowed(snapshot["entries"]))


def test_without_a_fingerprint_it_warns(f):
    done = f.run("list", key=["--identity", f.identity])
    assert done.returncode == 0 and f.fingerprint.replace("-", "") in done.stderr.decode(), done.stderr
    loud = f"  {f.fingerprint.upper().replace('-', '')} "
    f.good("list", key=["--identity", f.identity, "--fingerprint", loud])


# What must be refused.


def test_a_changed_byte_in_a_pack(f):
    largest = max(f.files("packs"), key=lambda path: path.stat().st_size)
    wholes = {entry.get("blake3") for snapshot in f.expected["snapshots"] for entry in snapshot["entries"]}
    for pack in f.files("packs"):
        size = pack.stat().st_size
        for at in 0, 200, size // 2, size - 60, size - 1:
            copy = f.copy()
            flip(copy.repository / pack.relative_to(f.repository), at)
            copy.bad("the bytes are not those of its name", "verify")
            if pack == largest and at == 200:
                target = f.target()
                copy.bad("the sealed bytes have changed", "restore", f.expected["snapshots"][0]["id"], target)
                restored = {entry.get("blake3") for entry in see(target)}
                assert restored <= wholes, "a wrong file was left behind"
            shutil.rmtree(copy.repository)


def test_a_changed_pack_with_the_name_that_fits(f):
    f = f.copy()
    for pack in f.files("packs"):
        flip(pack, 200)
        rename_to_hash(pack)
    f.bad("No such file", "restore", "latest", f.target())


def test_a_truncated_index(f):
    for renamed in False, True:
        for length in 0, 44, 1000:
            copy = f.copy()
            for index in copy.files("index"):
                index.write_bytes(index.read_bytes()[:length])
                if renamed:
                    rename_to_hash(index)
            says = "the bytes are not" if not renamed else "no seal" if length < 45 else "it does not open"
            copy.bad(says, "list")


def test_no_index(f):
    f = f.copy()
    shutil.rmtree(f.repository / "index")
    f.bad("it is in no pack", "list", "latest")


def test_a_wrong_identity(f):
    file = f.work / "other-identity.txt"
    file.write_text(str(pyrage.x25519.Identity.generate()))
    f.bad("no access object opens", "list", key=["--identity", file])


def test_a_wrong_fingerprint(f):
    wrong = f.fingerprint[:-1] + ("a" if f.fingerprint[-1] != "a" else "b")
    for key in ["--identity", f.identity], ["--writer-key", f.writer_key]:
        f.bad("the fingerprint is", "list", key=[*key, "--fingerprint", wrong])


def test_a_wrong_writer_key(f):
    line = f.writer_key.read_text().strip()
    swapped = line[:-1] + ("a" if line[-1] != "a" else "e")
    changed = line[:60] + ("a" if line[60] != "a" else "b") + line[61:]
    for text, says in (swapped, "checksum"), (changed, "checksum"), ("", "no writer key"), (line[:100], "checksum"):
        file = f.work / "other-writer-key.txt"
        file.write_text(text)
        f.bad(says, "list", key=["--writer-key", file])


def test_a_writer_key_reads_no_content(f):
    path = next(e["path"] for e in f.expected["snapshots"][-1]["entries"] if e.get("size"))
    f.bad(
        "private key of epoch 1 is not there",
        "cat",
        "latest",
        unquote_to_bytes(path),
        key=["--writer-key", f.writer_key],
    )


def test_another_format_file(f):
    for member, value, says in (
        ("magic", "other", "no repository"),
        ("version", 2, "version 2"),
        ("repository", "00" * 16, "of another repository"),
    ):
        copy = f.copy()
        file = copy.repository / "format.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {member: value}))
        copy.bad(says, "list")


def test_another_epoch_record(f):
    f = f.copy()
    flip(f.repository / "epochs/1", 100)
    f.bad("epochs/1: it does not open", "list")
    (f.repository / "epochs/1").write_bytes(f.files("snapshots")[0].read_bytes())
    f.bad("epochs/1: it does not open", "list")
    (f.repository / "epochs/1").unlink()
    f.bad("epochs/1", "list")


def test_an_epoch_that_no_key_knows(f):
    f = f.copy()
    (f.repository / "epochs/2").write_bytes((f.repository / "epochs/1").read_bytes())
    f.bad("epoch 2 began", "list", key=["--writer-key", f.writer_key])
    assert b"epoch 2" in f.run("list").stderr


def test_an_object_in_the_place_of_another_kind(f):
    for source, target in (
        ("snapshots", "index"),
        ("index", "snapshots"),
        ("checkpoints", "doomed"),
        ("doomed", "drills"),
        ("drills", "verified"),
    ):
        copy = f.copy()
        (copy.repository / target).mkdir(exist_ok=True)
        shutil.copy(copy.files(source)[0], copy.repository / target)
        copy.bad("it does not open", "verify")


def test_a_removed_snapshot(f):
    f = f.copy()
    (f.repository / "snapshots" / f.expected["snapshots"][0]["id"]).unlink()
    f.bad("records of the chain are gone", "verify")


def test_sessions_that_are_exchanged(f):
    f = f.copy()
    first, second, *_ = f.files("sessions")
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    f.bad("the wrap of another session", "verify")


def test_what_is_not_there(f):
    f.bad("no such path", "cat", "latest", "no/such/file")
    f.bad("a directory, not a file", "cat", "latest", "small")
    f.bad("0 snapshots are called", "list", "zz")


def main():
    tests = {name: test for name, test in globals().items() if name.startswith("test_")}
    fixtures = sorted(FIXTURES.glob("v1-*"))
    assert fixtures, f"no frozen repository of version 1 in {FIXTURES}"
    if not ROOT:
        print("NOT TESTED without root: device nodes and owners")
    # A repository without a drill was made for one change of the format and has little else: it is read, and others are damaged.
    read = list(tests)[: list(tests).index("test_everything_opens") + 1]
    runs = [(path, name) for path in fixtures for name in (tests if (path / "repository/drills").exists() else read)]
    failed = 0
    for path, name in runs:
        with tempfile.TemporaryDirectory() as work:
            try:
                tests[name](Fixture(path, Path(work)))
                print(f"test {path.name} {name} ... ok", flush=True)
            except Exception:
                failed += 1
                print(f"test {path.name} {name} ... FAILED\n{traceback.format_exc()}", flush=True)
    passed = len(runs) - failed
    print(f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed; 0 ignored")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
