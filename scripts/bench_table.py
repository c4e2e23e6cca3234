#!/usr/bin/env python3
"""Converts criterion's estimates to benches/results/<adapter>.md and .json:

    bench_table.py CRITERION RESULTS ADAPTERS [PYTORCH]

PYTORCH is the output of benches/peers/pytorch.py. CRITERION may also hold what else was measured (scripts/gpu):

    <training step>.plan.json    `wgpt plan --check --json`: where each step's time is spent
    steps.json                   `benches/peers/pytorch.py --step`: that step by PyTorch
    smollm2.json                 `wgpt generate --json`
    doctor.json, tuner.json      `wgpt doctor --json`, and with `--tuner`

Beside each kernel of a step stands what its hot loop would allow, where the laboratory (docs/lab.md) knows the GPU's kind.
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


# The laboratory's GPU for an adapter's name; the nearest that it has for generations that it has not.
LABORATORY = [
    (r"RTX 40\d\d|\bAda\b|\bL40?S?\b", "ada"),
    (r"RTX 20\d\d|GTX 16|Tesla T4|Quadro RTX", "turing"),
    (r"RTX (PRO )?[5-9]0\d\d|\bG?B[123]00", "blackwell"),
    (r"NVIDIA.*(RTX (30\d\d|A\d)|A100|\bA\d0|H[12]00)", "ampere"),
    (r"RX 9\d\d\d|GFX12", "gfx1201"),
    (r"RX 7\d\d\d|NAVI3|7[468]0M|GFX11", "navi31"),
    (r"RX 6\d\d\d|NAVI2|6[168]0M|GFX10", "navi21"),
    (r"Arc.*B\d\d|BMG", "bmg"),
    (r"Arc.*A\d\d|DG2", "dg2"),
    (r"Adreno", "adreno740"),
    (r"Apple", "m1"),
    (r"Mali", "mali-g610"),
]


def laboratory(results, adapter):
    """The laboratory's GPU of the adapter's kind, and the share of the peak that each variant's hot loop allows there."""
    gpu = next((gpu for pattern, gpu in LABORATORY if re.search(pattern, adapter, re.I)), None)
    file = results / "lab" / f"{gpu}.json"
    if gpu is None or not file.exists():
        return gpu, {}
    variants = json.loads(file.read_text())["variants"]
    return gpu, {row["variant"]: row["bound"] for row in variants if row.get("bound")}


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


def allowed(bound):
    """What the laboratory says of a kernel, in words."""
    return f"{100 * bound['share']:.0f} % of {bound['of']}" if bound else ""


def plan_table(name, plan, gpu, bounds):
    """Where a step's time is spent: kernels, slowest first, with the share of the roofline that each reaches."""
    check = plan["check"]
    lines = [f"## where the step {name} goes", "",
             f"`wgpt plan --check`: {plan['dispatches']} dispatches, planned {plan['seconds'] * 1e3:.0f} ms, measured "
             f"{check['measured']['seconds'] * 1e3:.0f} ms ({100 * check['time_error']:+.1f} %), memory off by {100 * check['memory_error']:.1f} %. "
             f"Roofs: {plan['roofs']['flop'] * 1e-9:.0f} GFLOP/s, {plan['roofs']['bytes'] * 1e-9:.1f} GB/s."]
    lines += [f"The last column is what the laboratory says of the kernel's hot loop, compiled by Mesa for {gpu}."] if bounds else []
    lines += ["", "| kernel | dispatches | time | of the step | rate | of the roofline |" + (" the loop allows |" if bounds else ""),
              "|---|---|---|---|---|---|" + ("---|" if bounds else "")]
    for share in plan["kernels"]:
        if share["seconds"] < 0.002 * plan["seconds"]:
            continue
        rate, kind = (share["flop"], "FLOP/s") if share["flop"] else (share["bytes"], "B/s")
        lines.append(f"| {short(share['kernel'])} | {share['dispatches']} | {share['seconds'] * 1e3:.2f} ms | {100 * share['seconds'] / plan['seconds']:.1f} % "
                     f"| {scaled(rate / share['seconds'], kind)} | {100 * share['of_roofline']:.0f} % |"
                     + (f" {allowed(bounds.get(share['kernel']))} |" if bounds else ""))
    return lines + [""]


def steps_table(plans, others):
    """A training step by wgpt and by PyTorch."""
    ours = {name: plan["check"]["measured"]["seconds"] for name, plan in plans.items()}
    tokens = next(iter(plans.values()))["tokens"]
    lines = ["## the same training step by PyTorch", "", f"{tokens} tokens a step; the last column is the time divided by wgpt's in f32.", "",
             "| what | time | tokens/s | / wgpt |", "|---|---|---|---|"]
    named = [(f"wgpt: {name}", seconds) for name, seconds in ours.items()] + [(row["name"], row["seconds"]) for row in others]
    first = next(iter(ours.values()))
    lines += [f"| {name} | {seconds * 1e3:.1f} ms | {tokens / seconds:,.0f} | {ratio(seconds / first)} |" for name, seconds in named]
    return lines + [""]


def remarks(doctor, tuner, smollm2):
    """What else was found out, in sentences."""
    lines = []
    if doctor:
        end = " when it was stopped" if doctor["stopped"] else ""
        lines += [f"- `wgpt doctor`: {doctor['passed']} kernels right, {doctor['failed']} wrong{end}."]
        lines += [f"  - wrong: {row['kernel']} {row['variant']}" for row in doctor["kernels"] if not row["pass"]]
    if tuner:
        lines += [f"- `wgpt doctor --tuner`: {len(tuner['findings'])} choices, {tuner['over']} over {tuner['most']} times the best; the worst "
                  f"takes {tuner['worst']:.3f} times as long as the best."]
    if smollm2:
        lines += [f"- SmolLM2-135M (Q4_1): reads {smollm2['prompt_tokens'] / smollm2['prompt_seconds']:,.0f} tokens/s, writes "
                  f"{smollm2['tokens_per_second']:,.1f} tokens/s, one text at a time."]
    return lines + [""] if lines else []


def kept(name):
    """What a part of scripts/gpu printed, if it came to its end."""
    file = criterion / name
    return json.loads(file.read_text()) if file.exists() else None


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
plans = {file.name.removesuffix(".plan.json"): json.loads(file.read_text()) for file in sorted(criterion.glob("*.plan.json"), reverse=True)}
others, smollm2, doctor, tuner = (kept(f"{part}.json") for part in ("steps", "smollm2", "doctor", "tuner"))
command = "scripts/bench --peers" if peers else "scripts/gpu" if doctor or tuner else "scripts/bench"
report = {"adapter": adapter, "command": command, "roofline": roofs, "benches": rows, "peers": peers}
report |= {"steps": plans, "pytorch_steps": others, "smollm2": smollm2, "tuner": tuner} if command == "scripts/gpu" else {}
(results / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
lines = [f"# {adapter}", "", f"Medians of `{command}`. The last column is the share of the roofline measured in the same run: the rate of",
         "multiply-adds in registers for kernels that count FLOP, of a copying kernel for those that count bytes (above 100 %",
         "where the data stays in a cache).", "", f"Processor: {processor()}. Compiled with {versions(peers)}.", ""]
lines += remarks(doctor, tuner, smollm2)
if plans and others:
    lines += steps_table(plans, others)
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
gpu, bounds = laboratory(results, adapter)
for step, plan in plans.items():
    lines += plan_table(step, plan, gpu, bounds)
(results / f"{name}.md").write_text("\n".join(lines))
print(results / f"{name}.md")
