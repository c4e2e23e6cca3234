#!/usr/bin/env python3
"""Converts criterion's estimates to benches/results/<adapter>.md and .json:

    bench_table.py CRITERION RESULTS ADAPTERS [PYTORCH]

PYTORCH is the output of benches/peers/pytorch.py. `<training step>.plan.json` files in CRITERION are the output of
`wgpt plan --check --json`: where each step's time is spent.
"""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

GROUPS = ["roofline", "training step", "decode", "matmul", "attention", "rows", "flat"]
PEERS = ["wgpt", "burn", "forge-ml"]
ROOF = {"FLOP/s": "multiply-add", "B/s": "copy kernel"}


def unit(group, name, kind):
    """The unit that a benchmark's throughput counts."""
    if kind == "Elements":
        if group.startswith(("matmul", "attention", "multiply-add")) or "multiply-add" in name:
            return "FLOP/s"
        return "tokens/s" if group in ("training step", "decode") else "/s"
    return "B/s"


def processor():
    """The processor's name, as far as the system knows it, its family, and whether it has AVX-512."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    first = dict(re.findall(r"^(.*?)\s*: (.*)$", text.split("\n\n")[0], re.M))
    name = first.get("model name") or platform.machine()
    family = f"family {first['cpu family']}, " if "cpu family" in first else ""
    flags = first.get("flags", "").split()
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    return f"{os.cpu_count()} threads of {name} ({family}{vectors})" if flags else f"{os.cpu_count()} threads of {name}"


def versions(peers):
    """The compiler, and the libraries that are compared."""
    found = [subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.split(" (")[0]]
    if peers:
        lock = Path("benches/peers/Cargo.lock").read_text()
        for name in ("burn", "forge-ml"):
            found += [f"{name} {version}" for version in re.findall(rf'name = "{name}"\nversion = "(.*)"', lock)]
        torch = [row["version"] for row in peers if "version" in row]
        found += [f"PyTorch {torch[0]}"] if torch else []
    return ", ".join(found)


def order(row):
    return GROUPS.index(row["group"]) if row["group"] in GROUPS else len(GROUPS)


def ratio(value):
    """Two significant digits."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def peers_table(rows):
    """The same work by several libraries: times, the ratio of each to wgpt's, and the share of the roofline."""
    cases = {}
    for row in rows:
        cases.setdefault(row["group"], {})[row["name"]] = row
    roofs = {"FLOP/s": cases.get("multiply-add", {}).get("wgpt", {}).get("rate"),
             "B/s": next((case["wgpt"]["rate"] for name, case in cases.items() if name.startswith("copy kernel")), None)}
    peers = PEERS + sorted({row["name"] for row in rows} - set(PEERS))
    lines = ["## peers", "", "The same work by other libraries (benches/peers), case after case in one process on one adapter; PyTorch is native code",
             "beside it, right after. Ratios are the other's time divided by wgpt's: above 1 wgpt is faster.", "",
             "| what | " + " | ".join(peers) + " | " + " | ".join(f"{peer} / wgpt" for peer in peers[1:]) + " | wgpt of the roofline |",
             "|---|" + "---|" * (2 * len(peers))]
    for name, case in sorted(cases.items(), key=lambda item: not item[0].startswith("training")):
        ours = case["wgpt"]
        times = [f"{case[peer]['seconds'] * 1e3:.2f} ms" if peer in case else "" for peer in peers]
        ratios = [f"{ratio(case[peer]['seconds'] / ours['seconds'])}" if peer in case else "" for peer in peers[1:]]
        roof = roofs.get(ours["unit"])
        share = f"{100 * ours['rate'] / roof:.0f} %" if roof and ours["rate"] else ""
        lines.append("| " + " | ".join([name, *times, *ratios, share]) + " |")
    return lines + [""]


def scaled(rate, unit):
    """A rate with a prefix that keeps it readable."""
    if unit in ("FLOP/s", "B/s"):
        return f"{rate * 1e-9:.1f} G{unit}" if rate >= 1e8 else f"{rate * 1e-6:.1f} M{unit}"
    return f"{rate:,.0f} {unit}"


def short(kernel):
    """A variant without the constants that are irrelevant to its speed."""
    words = [re.sub(r"=vec4<(f\d+)>", r"=\1", word) for word in kernel.split(" ")]
    plain = ("=false", "_element=f32", "result=f32", " element=f32", "element=f32")
    return " ".join(word for word in words if not word.endswith(plain) and not word.startswith(("rows=", "elements=")))


def plan_table(name, plan):
    """Where a step's time is spent: kernels, slowest first, with the share of the roofline that each reaches."""
    check = plan["check"]
    lines = [f"## where the step {name} goes", "",
             f"`wgpt plan --check`: {plan['dispatches']} dispatches, planned {plan['seconds'] * 1e3:.0f} ms, measured "
             f"{check['measured']['seconds'] * 1e3:.0f} ms ({100 * check['time_error']:+.1f} %), memory off by {100 * check['memory_error']:.1f} %. "
             f"Roofs: {plan['roofs']['flop'] * 1e-9:.0f} GFLOP/s, {plan['roofs']['bytes'] * 1e-9:.1f} GB/s.", "",
             "| kernel | dispatches | time | of the step | rate | of the roofline |", "|---|---|---|---|---|---|"]
    for share in plan["kernels"]:
        if share["seconds"] < 0.002 * plan["seconds"]:
            continue
        rate, kind = (share["flop"], "FLOP/s") if share["flop"] else (share["bytes"], "B/s")
        lines.append(f"| {short(share['kernel'])} | {share['dispatches']} | {share['seconds'] * 1e3:.2f} ms | {100 * share['seconds'] / plan['seconds']:.1f} % "
                     f"| {scaled(rate / share['seconds'], kind)} | {100 * share['of_roofline']:.0f} % |")
    return lines + [""]


criterion, results, adapters = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])["adapters"]
wanted = os.environ.get("WGPT_ADAPTER", "")
adapter = next((name for name in adapters if wanted.lower() in name.lower()), adapters[0])
rows = []
for file in sorted(criterion.glob("**/new/estimates.json")):
    benchmark = json.loads((file.parent / "benchmark.json").read_text())
    seconds = json.loads(file.read_text())["median"]["point_estimate"] * 1e-9
    kind, amount = next(iter((benchmark.get("throughput") or {}).items()), (None, None))
    group, name = benchmark["group_id"], benchmark["function_id"]
    rows.append({"group": group, "name": re.sub(r" \(elements are \w+\)", "", name), "seconds": seconds,
                 "rate": None if amount is None else amount / seconds, "unit": unit(group, name, kind)})
peers = [row for row in rows if row["name"] in PEERS]
peers += json.loads(Path(sys.argv[4]).read_text()) if len(sys.argv) > 4 else []
rows = [row for row in rows if row["name"] not in PEERS]
rows.sort(key=order)
roofs = {u: next((row["rate"] for row in rows if row["name"].startswith(start)), None) for u, start in ROOF.items()}

results.mkdir(parents=True, exist_ok=True)
name = re.sub(r"[^a-z0-9]+", "-", adapter.split("(")[0].lower()).strip("-")
command = "scripts/bench --peers" if peers else "scripts/bench"
report = {"adapter": adapter, "command": command, "roofline": roofs, "benches": rows, "peers": peers}
(results / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
lines = [f"# {adapter}", "", f"Medians of `{command}`. The last column is the share of the roofline measured in the same run: the rate of",
         "multiply-adds in registers for kernels that count FLOP, of a copying kernel for those that count bytes (above 100 %",
         "where the data stays in a cache).", "", f"Processor: {processor()}. Compiled with {versions(peers)}.", ""]
if peers:
    lines += peers_table(peers)
for group in dict.fromkeys(row["group"] for row in rows):
    lines += [f"## {group}", "", "| what | time | rate | of the roofline |", "|---|---|---|---|"]
    for row in (row for row in rows if row["group"] == group):
        roof = roofs.get(row["unit"])
        rate = "" if row["rate"] is None else scaled(row["rate"], row["unit"])
        share = f"{100 * row['rate'] / roof:.0f} %" if roof and group != "roofline" else ""
        lines.append(f"| {row['name']} | {row['seconds'] * 1e3:.3f} ms | {rate} | {share} |")
    lines.append("")
for file in sorted(criterion.glob("*.plan.json"), reverse=True):
    lines += plan_table(file.name.removesuffix(".plan.json"), json.loads(file.read_text()))
(results / f"{name}.md").write_text("\n".join(lines))
print(results / f"{name}.md")
