"""Runs one command and says what it cost: its whole process tree, from the kernel."""

import os
import signal
import subprocess
import threading
import time

# A step that takes longer hangs; a run must end and say which.
COMMAND_SECONDS_MAX = 3600

# Linux hands a child the peak of the process that started it, so a peak can
# not read lower than this program's own. Keep trees and digests out of it.


class CommandFailed(Exception):
    def __init__(self, argv, code, tail):
        super().__init__(f"{' '.join(argv)}: exit {code}\n{tail}")


def measure(argv, env, log_path, cwd="/"):
    """{wall_s, cpu_s, peak_kib} of one command.

    What it says goes to `log_path`; its result (stdout) is not wanted, and one
    step's result is two gigabytes.
    """
    with open(log_path, "wb") as log:
        start = time.monotonic()
        child = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)
        timer = threading.Timer(COMMAND_SECONDS_MAX, os.killpg, (child.pid, signal.SIGKILL))
        timer.start()
        try:
            _, status, used = os.wait4(child.pid, 0)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            os.wait4(child.pid, 0)
            raise
        finally:
            timer.cancel()
            wall = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        with open(log_path, "rb") as log:
            tail = log.read()[-2000:].decode(errors="replace")
        raise CommandFailed(argv, child.returncode, tail)
    return {"wall_s": wall, "cpu_s": used.ru_utime + used.ru_stime, "peak_kib": used.ru_maxrss}


def measure_all(commands, env, log_path):
    """A step of several commands: times add up, the peak is the largest."""
    # What the one before has left to write is not this one's to pay for.
    os.sync()
    load = os.getloadavg()[0]
    runs = [measure(argv, env, log_path) for argv in commands]
    return {"wall_s": sum(r["wall_s"] for r in runs), "cpu_s": sum(r["cpu_s"] for r in runs),
            "peak_kib": max(r["peak_kib"] for r in runs), "load_before": load}


def repository_size(path):
    """(bytes, objects) of everything below a repository."""
    count = total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            total += os.lstat(os.path.join(folder, name)).st_size
            count += 1
    return total, count
