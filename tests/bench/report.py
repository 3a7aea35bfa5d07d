"""Turns samples into a table, ratios and verdicts. Pure: no clock, no disk.

`samples` is {step: {tool: [{quantity: number}, …]}}, one dict a round.
"""

from statistics import median

OURS = "homelab-dr"

STEPS = {
    "first": "first backup",
    "unchanged": "nothing changed",
    "day-later": "a day later",
    "restore": "restore",
    "check": "check --read-data",
    "prune": "forget + prune",
    "image": "disk image, backup",
    "random": "random bytes, backup",
}
QUANTITIES = {"cpu_s": "CPU s", "wall_s": "wall s", "peak_mib": "peak MiB",
              "added_mb": "MB added", "size_mb": "repository MB", "objects": "objects"}

# (step, quantity, peer, at most this ratio)
RATIO_TARGETS = [
    ("first", "cpu_s", "restic", 0.7),
    ("unchanged", "cpu_s", "restic", 0.3),
    ("day-later", "added_mb", "restic", 0.8),
    ("restore", "wall_s", "restic", 0.8),
    ("check", "cpu_s", "restic", 1.0),
    ("check", "wall_s", "restic", 1.0),
]
PEAK_MIB_MAX = 100  # of our own, in every step


def medians(samples):
    """{(step, quantity, tool): median}"""
    found = {}
    for step, tools in samples.items():
        for tool, rounds in tools.items():
            for quantity in QUANTITIES:
                values = [r[quantity] for r in rounds if quantity in r]
                if values:
                    found[step, quantity, tool] = median(values)
    return found


def _number(value):
    if value is None:
        return "–"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _ratio(a, b):
    return None if a is None or not b else a / b


def table(samples, tools):
    """One row for each step and quantity; ratios are homelab-dr / peer."""
    m = medians(samples)
    peers = [t for t in tools if t != OURS] if OURS in tools else []
    rows = [["step", "", *tools, *(f"÷ {p}" for p in peers)]]
    for step, title in STEPS.items():
        for quantity, unit in QUANTITIES.items():
            values = [m.get((step, quantity, t)) for t in tools]
            if any(v is not None for v in values):
                ratios = [_ratio(m.get((step, quantity, OURS)), m.get((step, quantity, p)))
                          for p in peers]
                shown = [_number(r) if r is None else f"{r:.2f}×" for r in ratios]
                rows.append([title, unit, *map(_number, values), *shown])
                title = ""
    rule = ["---", "---", *["---:"] * (len(rows[0]) - 2)]
    return "\n".join("| " + " | ".join(r) + " |" for r in [rows[0], rule, *rows[1:]])


def verdicts(samples):
    """[{target, measured, met}]; `met` is None where a side was not measured."""
    m = medians(samples)
    out = []
    for step, quantity, peer, limit in RATIO_TARGETS:
        ratio = _ratio(m.get((step, quantity, OURS)), m.get((step, quantity, peer)))
        out.append({"target": f"{STEPS[step]}: {QUANTITIES[quantity]} ≤ {limit} × {peer}",
                    "measured": ratio, "shown": "–" if ratio is None else f"{ratio:.2f} ×",
                    "met": None if ratio is None else ratio <= limit})
    for step, title in STEPS.items():
        # The worst round, not the median: a bound is a bound.
        peaks = [r["peak_mib"] for r in samples.get(step, {}).get(OURS, [])]
        if peaks:
            out.append({"target": f"{title}: peak memory ≤ {PEAK_MIB_MAX} MiB",
                        "measured": max(peaks), "shown": f"{max(peaks):.0f} MiB",
                        "met": max(peaks) <= PEAK_MIB_MAX})
    return out


def verdict_table(found):
    said = {True: "met", False: "**not met**", None: "not measured"}
    lines = ["| target | measured | |", "| --- | ---: | --- |"]
    lines += [f"| {v['target']} | {v['shown']} | {said[v['met']]} |" for v in found]
    return "\n".join(lines)
