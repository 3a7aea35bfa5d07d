"""What a backup of the objects of a cluster costs: CPU seconds and peak memory.

    tests/bench/cluster                          builds the release program, 10,000 objects
    tests/bench/cluster --program PATH           one that is there already
    tests/bench/cluster --objects 1000 --rounds 1

The API server is a process of its own (api_server.py); the client's path is the real one,
over HTTP with a kubeconfig. Exit: 0 measured; 1 a run failed, or with --strict a bound was
missed; 2 usage.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import measure  # noqa: E402
import tools  # noqa: E402

CPU_SECONDS_MAX = 10
PEAK_MIB_MAX = 150


class Cluster:
    """A server with objects, and the program with a configuration for it."""

    def __init__(self, program, work, objects, secrets):
        argv = [sys.executable, "-B", os.path.join(HERE, "api_server.py"), str(objects), str(secrets)]
        self.server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        address = self.server.stdout.readline().strip()
        self.kubeconfig = os.path.join(work, "kubeconfig")
        with open(self.kubeconfig, "w", encoding="utf-8") as f:
            f.write("apiVersion: v1\nkind: Config\ncurrent-context: x\n"
                    f"clusters: [{{name: x, cluster: {{server: '{address}'}}}}]\n"
                    "users: [{name: x, user: {token: t}}]\n"
                    "contexts: [{name: x, context: {cluster: x, user: x}}]\n")
        self.tool = tools.HomelabDr(program, work)
        self.config = os.path.join(work, "homelab-dr.yaml")
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(f"sources:\n  cluster: {{resources: {{kubeconfig: '{self.kubeconfig}', volumes-elsewhere: true}}}}\n")
        self.log = os.path.join(work, "log")

    def __enter__(self):
        self.tool.init()
        return self

    def __exit__(self, *_):
        self.server.stdin.close()
        self.server.wait()

    def backup(self):
        environment = self.tool.environment() | {"HOMELAB_DR_CONFIG": self.config}
        return measure.measure_all([[self.tool.program, "backup"]], environment, self.log)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program")
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--secrets", type=int, default=50, help="of 900 KiB, besides")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()
    program = os.path.abspath(args.program) if args.program else tools.HomelabDr.install(None)
    samples = {"first backup": [], "nothing changed": []}
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory(prefix="homelab-dr-bench.") as work:
            with Cluster(program, work, args.objects, args.secrets) as cluster:
                for runs in samples.values():
                    runs.append(cluster.backup())
    print(f"{args.objects} objects of 2 KiB and {args.secrets} of 900 KiB, medians of {args.rounds}\n")
    print("| step | CPU s | wall s | peak MiB |\n| --- | ---: | ---: | ---: |")
    met = True
    for name, runs in samples.items():
        cpu, wall, peak = (statistics.median(run[key] for run in runs) for key in ("cpu_s", "wall_s", "peak_kib"))
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {peak / 1024:.0f} |")
        met &= max(run["cpu_s"] for run in runs) <= CPU_SECONDS_MAX
        met &= max(run["peak_kib"] for run in runs) <= PEAK_MIB_MAX * 1024
    print(f"\nbounds: {CPU_SECONDS_MAX} s of CPU, {PEAK_MIB_MAX} MiB: {'met' if met else '**not met**'}")
    return 1 if args.strict and not met else 0


if __name__ == "__main__":
    sys.exit(main())
