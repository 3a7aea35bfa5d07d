"""The programs under measurement, each behind the same few steps.

A step is a list of commands: what a person would type, nothing cached or
warmed beforehand. Their times are summed, since a step that needs two commands
costs two commands.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
REPO_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Missing(Exception):
    """A program that is not here and could not be installed: says what to do."""


def _output(argv, **more):
    return subprocess.run(argv, check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **more).stdout.strip()


def _apt(*packages):
    if os.geteuid() != 0:
        raise Missing(f"install it first: sudo apt-get install {' '.join(packages)}")
    subprocess.run(["apt-get", "install", "-y", "-q", *packages], check=True, stdout=sys.stderr)


def debian(suite, package, program, tools_dir):
    """A program out of a package of another suite, unpacked in the work directory: nothing is installed.
    The archive is the one this machine's apt is set to."""
    path = os.path.join(tools_dir, "bin", program)
    if os.path.exists(path):
        return path
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Component: main"]
    found = [uri for uri in _output(targets).split() if "security" not in uri]
    if not found:
        raise Missing(f"apt has no archive of Debian to take {package} from: put {program} into {path}")
    with tempfile.TemporaryDirectory() as work:
        for folder in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(work, folder))
        with open(os.path.join(work, "sources.list"), "w") as f:
            f.write(f"deb [signed-by={KEYRING}] {found[0]} {suite} main\n")
        options = [f"-oDir::Etc::SourceList={work}/sources.list", "-oDir::Etc::SourceParts=/dev/null",
                   f"-oDir::State::Lists={work}/lists", f"-oDir::Cache={work}/cache", "-oAPT::Sandbox::User=root"]
        for step in (["update"], ["download", f"{package}/{suite}"]):
            subprocess.run(["apt-get", "-q", *options, *step], check=True, stdout=sys.stderr, cwd=work)
        [deb] = [name for name in os.listdir(work) if name.endswith(".deb")]
        subprocess.run(["dpkg-deb", "-x", deb, "files"], check=True, cwd=work)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.move(os.path.join(work, "files/usr/bin", program), path)
    return path


def crate(name, version, program, tools_dir, *features):
    """A cargo package of a pinned version, kept in the work directory."""
    path = os.path.join(tools_dir, "bin", program)
    if not os.path.exists(path):
        subprocess.run(["cargo", "install", "--locked", "--root", tools_dir, "--target-dir",
                        os.path.join(tools_dir, "build"), f"--features={','.join(features)}",
                        f"{name}@{version}"], check=True)
        shutil.rmtree(os.path.join(tools_dir, "build"), ignore_errors=True)
    return path


class Tool:
    """One program and one repository of its own below `base`."""

    name = ""

    def __init__(self, program, base):
        self.program = program
        self.repo = os.path.join(base, self.name, "repo")
        self.cache = os.path.join(base, self.name, "cache")
        self.home = os.path.join(base, self.name, "home")

    def environment(self):
        """Nothing of the caller's: a setting left in a shell must not decide a race."""
        return {"PATH": os.environ["PATH"], "HOME": self.home, "LANG": "C.UTF-8",
                "XDG_CACHE_HOME": self.cache, "XDG_CONFIG_HOME": self.home}

    def version(self):
        return _output([self.program, "--version"]).splitlines()[0]

    def describe(self):
        return self.version()

    def init(self):
        os.makedirs(self.home)
        self.create()

    def _quiet(self, *argv):
        return _output([self.program, *argv], env=self.environment())

    def delete(self):
        shutil.rmtree(os.path.dirname(self.repo), ignore_errors=True)


class HomelabDr(Tool):
    name = "homelab-dr"

    @classmethod
    def install(cls, tools_dir):
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(REPO_ROOT, "target"))
        subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "homelab-dr"],
                       cwd=REPO_ROOT, check=True)
        return os.path.join(target, "release", "homelab-dr")

    def environment(self):
        return super().environment() | {
            "HOMELAB_DR_REPO": self.repo,
            "HOMELAB_DR_WRITER_KEY_FILE": os.path.join(self.home, "writer.key"),
            "HOMELAB_DR_IDENTITY_FILE": os.path.join(self.home, "id.txt")}

    def create(self):
        said = self._quiet("keys", "new", "--out", os.path.join(self.home, "id.txt"))
        recipients = re.findall(r"\bage1[0-9a-z]{20,}", said)
        if not recipients:
            raise RuntimeError(f"`keys new` printed no recipient: {said!r}")
        self._quiet("init", "--repo", self.repo, "--recipient", recipients[-1],
                    "--writer-key", os.path.join(self.home, "writer.key"))

    def backup(self, path):
        return [["backup", path, "--source", "bench"]]

    def first(self):
        """The id of the oldest snapshot."""
        told = json.loads(self._quiet("snapshots", "--json"))["snapshots"]
        return min(told, key=lambda one: one["started"])["id"]

    def restore(self, target):
        return [["restore", "latest", "--target", target]]

    def check(self):
        return [["check", "--read-data"]]

    def prune(self):
        # The first prune marks, and one after the grace deletes.
        prune = ["prune", "--grace", "0s", "--yes"]
        return [["forget", "--keep-last", "1", "--yes"], prune, prune]


class LargeBlocks(HomelabDr):
    """Ours with the settings of bupstash: pieces of a MiB, and no pack of 3 MiB or more that holds what nobody needs."""

    name = "large-blocks"

    def describe(self):
        return self.name + ": homelab-dr with --block-size 1MiB and --max-unused 0%"

    def backup(self, path):
        return [[*argv, "--block-size", "1MiB"] for argv in super().backup(path)]

    def prune(self):
        return [[*argv, "--max-unused", "0%"] if argv[0] == "prune" else argv for argv in super().prune()]


class Restic(Tool):
    name = "restic"

    @classmethod
    def install(cls, tools_dir):
        # What Debian 12 has is of 2022.
        return debian("trixie", "restic", "restic", tools_dir)

    def environment(self):
        return super().environment() | {
            "RESTIC_REPOSITORY": self.repo, "RESTIC_PASSWORD": "bench",
            "RESTIC_CACHE_DIR": self.cache}

    def version(self):
        return " ".join(_output([self.program, "version"]).split()[:2])

    def describe(self):
        return self.version() + " (repository version 2, compression auto)"

    def create(self):
        self._quiet("init", "--repository-version", "2")

    def backup(self, path):
        return [["backup", "--quiet", path]]

    def restore(self, target):
        return [["restore", "--quiet", "latest", "--target", target]]

    def check(self):
        return [["check", "--quiet", "--read-data"]]

    def prune(self):
        return [["forget", "--quiet", "--keep-last", "1", "--prune"]]


class Rustic(Tool):
    name = "rustic"

    @classmethod
    def install(cls, tools_dir):
        return shutil.which("rustic") or crate("rustic-rs", "0.11.4", "rustic", tools_dir)

    def environment(self):
        return super().environment() | {
            "RUSTIC_REPOSITORY": self.repo, "RUSTIC_PASSWORD": "bench",
            "RUSTIC_CACHE_DIR": self.cache, "RUSTIC_NO_PROGRESS": "true"}

    def create(self):
        self._quiet("init")

    def backup(self, path):
        return [["backup", path]]

    def restore(self, target):
        return [["restore", "latest", target]]

    def check(self):
        return [["check", "--read-data"]]

    def prune(self):
        return [["forget", "--keep-last", "1"], ["prune", "--instant-delete"]]


class Bupstash(Tool):
    name = "bupstash"
    # It has no check: `get` reads, decrypts and verifies what one item refers to.

    @classmethod
    def install(cls, tools_dir):
        found = shutil.which("bupstash")
        if not found and not os.path.exists(os.path.join(tools_dir, "bin", "bupstash")):
            _apt("libsodium-dev", "pkg-config")
        return found or crate("bupstash", "0.12.0", "bupstash", tools_dir)

    def environment(self):
        return super().environment() | {
            "BUPSTASH_REPOSITORY": self.repo,
            "BUPSTASH_KEY": os.path.join(self.home, "key")}

    def create(self):
        self._quiet("new-key", "-o", os.path.join(self.home, "key"))
        self._quiet("init")

    def _items(self):
        """Ids, oldest first."""
        listed = self._quiet("list", "--quiet", "--format=jsonl1")
        return [json.loads(line)["id"] for line in listed.splitlines()]

    def version(self):
        return _output([self.program, "version"])

    def backup(self, path):
        return [["put", "--quiet", "--xattrs", "name=bench", path]]

    def restore(self, target):
        os.mkdir(target)
        return [["restore", "--quiet", "--ownership", "--xattrs", "--into", target,
                 "id=" + self._items()[-1]]]

    def check(self):
        return [["get", "--quiet", "id=" + self._items()[-1]]]

    def prune(self):
        return [["rm", "--quiet", "id=" + item] for item in self._items()[:-1]] + [["gc", "--quiet"]]


PEERS = {tool.name: tool for tool in (Restic, Rustic, Bupstash, LargeBlocks)}
