"""What the program makes of a long line to a bucket: 50 ms a request, 20 MB/s.

    tests/bench/line                           builds the release program; 1 GiB of random bytes
    tests/bench/line --program PATH --size 64MiB
    tests/bench/line --snapshots 50            how many there are when a repository is opened

The server is s3s-fs (a cargo package, installed once), the line a proxy on loopback (proxy.py).
What is reckoned with is what passed the proxy, so what is sent twice counts for nothing. Exit: 0
measured; 1 a run failed or gave other bytes, or with --strict the line was not kept full; 2 usage.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import measure  # noqa: E402
import proxy  # noqa: E402
import tools  # noqa: E402

ROUND_TRIP_S = 0.050
BYTES_PER_S = 20e6
FULL = 0.90
KEY, SECRET = "bench", "bench-secret"


def parse_size(text):
    for suffix, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if text.endswith(suffix):
            return int(float(text[:-3]) * factor)
    return int(text)


class Server:
    """s3s-fs on loopback, in the memory or on the disk where `root` is."""

    def __init__(self, program, root):
        os.makedirs(os.path.join(root, "bench"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        argv = [program, "--access-key", KEY, "--secret-key", SECRET, "--host", "127.0.0.1", "--port", str(self.port), root]
        self.log = open(os.path.join(root, "..", "server.log"), "wb")
        self.process = subprocess.Popen(argv, stdout=self.log, stderr=self.log)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the S3 server does not answer")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


class Bucket(tools.HomelabDr):
    """The program with its repository at the far end of the line."""

    def __init__(self, program, base, port):
        super().__init__(program, base)
        self.repo = f"s3://bench/repo?endpoint=http://127.0.0.1:{port}&region=test"

    def environment(self):
        return super().environment() | {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}


class Bench:
    def __init__(self, program, work, server_program):
        self.work = work
        self.server = Server(server_program, os.path.join(work, "store"))
        self.line = proxy.Line(("127.0.0.1", self.server.port), ROUND_TRIP_S, BYTES_PER_S).start()
        self.tool = Bucket(program, work, self.line.port)
        self.rows = []

    def run(self, *argv):
        """What one command cost, and what passed the line."""
        before = self.line.counts()
        cost = measure.measure([self.tool.program, *argv], self.tool.environment(), os.path.join(self.work, "log"))
        after = self.line.counts()
        return cost | {name: after[name] - before[name] for name in after}

    def row(self, name, cost, way=None):
        full = cost[way] / BYTES_PER_S / cost["wall_s"] if way else None
        share = f"{100 * full:.0f} %" if way else ""
        print(f"| {name} | {cost['wall_s']:.2f} | {cost['cpu_s']:.2f} | {cost['requests']} | {cost['up'] / 1e6:.2f} "
              f"| {cost['down'] / 1e6:.2f} | {share} | {cost['peak_kib'] / 1024:.0f} |", flush=True)
        return full

    def stop(self):
        self.line.stop()
        self.server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program")
    parser.add_argument("--work", default=os.path.join(tools.REPO_ROOT, "target", "bench"))
    parser.add_argument("--size", type=parse_size, default=1 << 30)
    parser.add_argument("--snapshots", type=int, default=30)
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    program = os.path.abspath(args.program) if args.program else tools.HomelabDr.install(None)
    server = tools.crate("s3s-fs", "0.14.1", "s3s-fs", os.path.join(args.work, "tools"), "binary")
    with tempfile.TemporaryDirectory(prefix="line.", dir=args.work) as work:
        source = os.path.join(work, "source")
        os.makedirs(source)
        with open(os.path.join(source, "random"), "wb") as out:
            for _ in range(args.size >> 20):
                out.write(os.urandom(1 << 20))
        bench = Bench(program, work, server)
        try:
            return steps(bench, source, args)
        finally:
            bench.stop()


def steps(bench, source, args):
    bench.tool.init()
    print(f"{args.size >> 20} MiB of random bytes; {ROUND_TRIP_S * 1000:.0f} ms a request, {BYTES_PER_S / 1e6:.0f} MB/s\n")
    print("| step | wall s | CPU s | requests | MB up | MB down | of the line | peak MiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    backup = ["backup", source, "--source", "bench"]
    full = [bench.row("backup", bench.run(*backup), "up")]
    target = os.path.join(bench.work, "target")
    full.append(bench.row("restore", bench.run("restore", "latest", "--target", target), "down"))
    # Bytes and names; times of the root are its own.
    subprocess.run(["diff", "-r", source, target], check=True)
    shutil.rmtree(target)
    bench.row("nothing changed", bench.run(*backup))
    for number in range(args.snapshots - 2):
        with open(os.path.join(source, f"note {number}"), "w", encoding="utf-8") as out:
            out.write(f"{number}\n")
        bench.run(*backup)
    bench.row(f"one more of {args.snapshots}", bench.run(*backup))
    for name, argv in [("ls", ["ls", "latest"]), ("snapshots", ["snapshots"]), ("diff", ["diff", bench.tool.first(), "latest"]),
                       ("restore of one file", ["restore", "latest:/note 0", "--target", target])]:
        bench.row(f"{name}, the first time", bench.run(*argv))
        bench.row(f"{name}, again", bench.run(*argv))
    met = min(full) >= FULL
    print(f"\nthe line is kept full, {100 * FULL:.0f} % in backup and restore: {'met' if met else '**not met**'}")
    return 1 if args.strict and not met else 0


if __name__ == "__main__":
    sys.exit(main())
