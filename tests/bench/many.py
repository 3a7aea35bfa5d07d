"""What a volume of many small files costs: to back up, and to find something in it.

    tests/bench/many                           builds the release program; 1,000,000 files of 1-4 KiB
    tests/bench/many --program PATH --count 10000
    tests/bench/many --peers restic,rustic     besides, for the backups

Exit: 0 measured; 1 a run failed, or with --strict a bound was missed; 2 usage.
"""

import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import measure  # noqa: E402
import tools  # noqa: E402

PEAK_MIB_MAX = 100
LOOK_SECONDS_MAX = 1.0


def some_file(source):
    """The path, below the source, of a file in the middle."""
    folder = ""
    while True:
        names = sorted(os.listdir(os.path.join(source, folder)))
        folder = os.path.join(folder, names[len(names) // 2])
        if not os.path.isdir(os.path.join(source, folder)):
            return folder


class Bench:
    def __init__(self, tool, work):
        self.tool, self.log = tool, os.path.join(work, "log")
        self.met = True

    def row(self, name, commands, seconds_max=None):
        cost = measure.measure_all([[self.tool.program, *argv] for argv in commands], self.tool.environment(), self.log)
        peak = cost["peak_kib"] / 1024
        print(f"| {self.tool.name} | {name} | {cost['wall_s']:.2f} | {cost['cpu_s']:.2f} | {peak:.0f} |", flush=True)
        if self.tool.name == tools.HomelabDr.name:
            self.met &= peak <= PEAK_MIB_MAX and (seconds_max is None or cost["wall_s"] <= seconds_max)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program")
    parser.add_argument("--work", default=os.path.join(tools.REPO_ROOT, "target", "bench"))
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--peers", default="")
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    program = os.path.abspath(args.program) if args.program else tools.HomelabDr.install(None)
    os.makedirs(args.work, exist_ok=True)
    source = os.path.join(args.work, f"small-files-{args.count}")
    if not os.path.exists(source):
        subprocess.run([sys.executable, "-B", os.path.join(HERE, "corpus.py"), "make", "small-files", source + ".new",
                        "--count", str(args.count)], check=True, stdout=subprocess.DEVNULL)
        os.rename(source + ".new", source)
    with tempfile.TemporaryDirectory(prefix="many.", dir=args.work) as work:
        programs = [tools.HomelabDr(program, work)]
        for name in filter(None, args.peers.split(",")):
            peer = {"restic": tools.Restic, "rustic": tools.Rustic, "bupstash": tools.Bupstash}[name]
            programs.append(peer(peer.install(os.path.join(args.work, "tools")), work))
        return steps([Bench(tool, work) for tool in programs], source, args, work)


def steps(benches, source, args, work):
    some = some_file(source)
    print(f"{args.count} files of 1-4 KiB\n\n| program | step | wall s | CPU s | peak MiB |\n| --- | --- | ---: | ---: | ---: |")
    for bench in benches:
        bench.tool.init()
        bench.row("first backup", bench.tool.backup(source))
    for bench in benches:
        bench.row("nothing changed", bench.tool.backup(source))
    with open(os.path.join(source, some), "ab") as out:
        out.write(b"one line more\n")
    for bench in benches:
        bench.row("one file changed", bench.tool.backup(source))
    ours, target = benches[0], os.path.join(work, "target")
    ours.row("ls of a folder", [["ls", "latest:/" + os.path.dirname(some)]], LOOK_SECONDS_MAX)
    ours.row("find of a name", [["find", os.path.basename(some)]])
    ours.row("diff", [["diff", ours.tool.first(), "latest"]], LOOK_SECONDS_MAX)
    ours.row("restore of a file", [["restore", "latest:/" + some, "--target", target]], LOOK_SECONDS_MAX)
    with open(os.path.join(source, some), "rb") as had, open(os.path.join(target, os.path.basename(some)), "rb") as back:
        if had.read() != back.read():
            raise RuntimeError(f"{some} came back otherwise")
    print(f"\nbounds: {PEAK_MIB_MAX} MiB, {LOOK_SECONDS_MAX:.0f} s to look: {'met' if ours.met else '**not met**'}")
    return 1 if args.strict and not ours.met else 0


if __name__ == "__main__":
    sys.exit(main())
