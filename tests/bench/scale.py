"""What grows with a repository, and how far: the tables of docs/scale.md.

    tests/bench/scale --program PATH                       10 GiB, 100 GiB and 1 TiB
    tests/bench/scale --program PATH --sizes 1GiB,10GiB    a look
    tests/bench/scale --maker PATH                         a built test program that makes the repositories

Repositories are made of chunks that nobody has: real index, trees, snapshot, sessions, and content packs
that are holes in files (src/simulation/scale.rs), so 1 TiB takes some hundred MB of disk. Then the program
is run on them, and the kernel says what it took. What was not measured is computed from the two largest
that were, and says so. Exit: 0 measured; 1 a run failed; 2 usage.
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

UNITS = (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20))
CHUNK_BYTES = 512 << 10
PACK_BYTES = 12 << 20
PAGE = 1000
# As src/store/s3/pages.rs does it.
PAGES_AT_ONCE = 8
CONSTANT = "snapshots"
LIMITS_MIB = [128, 256, 512, 1024, 4096]
COMPUTED = [10 << 40, 100 << 40]
MAKE = ["cargo", "test", "--locked", "--lib", "--"]
MAKER_TEST = ["simulation::scale::a_repository_of_synthetic_chunks", "--exact", "--ignored", "--nocapture"]


def parse_size(text):
    for suffix, factor in UNITS:
        if text.endswith(suffix):
            return int(float(text[:-3]) * factor)
    raise argparse.ArgumentTypeError(f"{text!r} is no size such as 100GiB")


def shown(size):
    return next(f"{size / factor:g} {suffix}" for suffix, factor in UNITS if size >= factor)


def below(folder):
    """Number and bytes of the files below a folder; a hole counts as long as it is."""
    count = size = 0
    # One after another: what this program holds shows in the peaks that it measures.
    for at, _, names in os.walk(folder):
        for name in names:
            count, size = count + 1, size + os.path.getsize(os.path.join(at, name))
    return count, size


class Point:
    """What was measured, or computed, of one size."""

    def __init__(self, size, measured):
        self.size, self.measured, self.values = size, measured, {}


STEPS = [
    ("snapshots", ["snapshots"]),
    ("ls", ["ls", "latest:/album 000000"]),
    ("backup", None),
    ("check", ["check"]),
    ("prune plan", ["prune", "--dry-run", "--allow-older"]),
]


def measured(size, args):
    point = Point(size, True)
    with tempfile.TemporaryDirectory(prefix="scale.", dir=args.work) as work:
        tool = tools.HomelabDr(args.program, work)
        tool.init()
        settings = {"BYTES": str(size), "REPO": tool.repo, "KEY_FILE": os.path.join(tool.home, "writer.key")}
        env = os.environ | {f"HOMELAB_DR_SCALE_{name}": value for name, value in settings.items()}
        made = subprocess.run([*([args.maker] if args.maker else MAKE), *MAKER_TEST], env=env, cwd=tools.REPO_ROOT,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if made.returncode != 0 or "1 passed" not in made.stdout:
            raise RuntimeError(f"the repository of {shown(size)} was not made:\n{made.stdout[-2000:]}")
        segments, index_bytes = below(os.path.join(tool.repo, "index"))
        packs, _ = below(os.path.join(tool.repo, "packs"))
        point.values |= {"packs": packs, "segments": segments, "index MB": index_bytes / 1e6}
        source = os.path.join(work, "source")
        os.makedirs(source)
        with open(os.path.join(source, "note"), "w", encoding="utf-8") as out:
            out.write("a note\n")
        for name, argv in STEPS:
            argv = argv or ["backup", source, "--source", "note"]
            cost = measure.measure([tool.program, *argv], tool.environment(), os.path.join(work, "log"))
            point.values |= {f"{name} s": cost["wall_s"], f"{name} CPU s": cost["cpu_s"], f"{name} MiB": cost["peak_kib"] / 1024}
    return point


def computed(size, points):
    """On the line through the two largest that were measured. What a list of snapshots takes does not depend on the size."""
    point = Point(size, False)
    for name, value in points[-1].values.items():
        point.values[name] = value if name.startswith(CONSTANT) else value + slope(name, points) * (size - points[-1].size)
    return point


def slope(name, points):
    one, two = points[-2:]
    return (two.values[name] - one.values[name]) / (two.size - one.size)


def passes(name, limit_mib, points):
    """The size at which a step takes so much memory, by the same line."""
    last = points[-1]
    return last.size + (limit_mib - last.values[name]) / slope(name, points)


def requests(point):
    """What a backup of little asks of a bucket: of packs a list, three times; of each index segment its bytes."""
    pages = -(-int(point.values["packs"]) // PAGE)
    rounds = 1 + -(-(pages - 1) // PAGES_AT_ONCE) if pages > 1 else 1
    return pages, rounds, int(point.values["segments"])


def table(head, rows):
    print("| " + " | ".join(head) + " |\n| --- | --- |" + " ---: |" * (len(head) - 2))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def show(points):
    seen = list(points)
    points += [computed(size, seen) for size in COMPUTED if size > seen[-1].size]
    how = {True: "measured", False: "computed"}
    number = "{:,.0f}".format
    table(["content", "", "chunks", "packs", "index segments", "index MB"],
          [[shown(p.size), how[p.measured], number(p.size / CHUNK_BYTES), number(p.values["packs"]),
            number(p.values["segments"]), number(p.values["index MB"])] for p in points])
    names = [name for name, _ in STEPS]
    table(["content", "", *[f"{name}: MiB" for name in names]],
          [[shown(p.size), how[p.measured], *[number(p.values[f"{name} MiB"]) for name in names]] for p in points])
    table(["content", "", *[f"{name}: CPU s" for name in names]],
          [[shown(p.size), how[p.measured], *[f"{p.values[f'{name} CPU s']:,.2f}" for name in names]] for p in points])
    table(["content", "", *[f"{name}: wall s" for name in names]],
          [[shown(p.size), how[p.measured], *[f"{p.values[f'{name} s']:,.2f}" for name in names]] for p in seen])
    growing = [name for name in names if name != CONSTANT]
    table(["memory limit", "", *[f"{name}: TiB" for name in growing]],
          [[f"{limit} MiB", "computed", *[f"{passes(f'{name} MiB', limit, seen) / (1 << 40):,.2f}" for name in growing]]
           for limit in LIMITS_MIB])
    table(["content", "", "pages of a list of packs", "rounds for them", "index segments read"],
          [[shown(p.size), "computed", *[number(value) for value in requests(p)]] for p in points])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program")
    parser.add_argument("--maker")
    parser.add_argument("--work", default=os.path.join(tools.REPO_ROOT, "target", "bench"))
    parser.add_argument("--sizes", type=lambda text: [parse_size(one) for one in text.split(",")],
                        default=[10 << 30, 100 << 30, 1 << 40])
    args = parser.parse_args()
    if len(args.sizes) < 2:
        parser.error("two sizes at least: the others are computed from them")
    args.program = os.path.abspath(args.program) if args.program else tools.HomelabDr.install(None)
    os.makedirs(args.work, exist_ok=True)
    points = []
    for size in sorted(args.sizes):
        points.append(measured(size, args))
        print(f"{shown(size)}: {points[-1].values}", file=sys.stderr, flush=True)
    show(points)
    return 0


if __name__ == "__main__":
    sys.exit(main())
