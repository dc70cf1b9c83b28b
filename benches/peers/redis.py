"""The redis part of the comparison: `line` makes one result of a run, `report` the table of all."""

import csv
import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

OUT = Path(sys.argv[2])
TICK_NS = 10_000_000


def line():
    mode, round_, counts = sys.argv[3:6]
    with open(OUT / "redis.csv", newline="") as file:
        tests = {row["test"]: row for row in csv.DictReader(file)}
    if set(tests) != {"SET", "GET"}:
        sys.exit(f"redis {mode}: {(OUT / 'redis.csv').read_text()}")
    result = json.loads((OUT / "redis.result").read_text())
    received, made, account = json.loads(counts)["spans"], result["made"], result["account"]
    faults = []
    if account:
        if account["seen"] != made:
            faults.append(f"{made} made, {account['seen']} seen")
        if account["delivered"] + account["given_up"] != account["seen"]:
            faults.append(f"{account['seen']} seen, not all accounted for")
        if not account["delivered"] <= received <= account["delivered"] + account["unconfirmed"]:
            faults.append(f"{received} arrived, {account['delivered']} delivered")
    print(json.dumps({
        "mode": mode,
        "round": int(round_),
        "ticks": result["cpu_ns"] / TICK_NS,
        # Of as many SETs as GETs.
        "rps": 2 / sum(1 / float(test["rps"]) for test in tests.values()),
        "p99": max(float(test["p99_latency_ms"]) for test in tests.values()),
        "made": made,
        "received": received,
        "account": account and account["summary"],
        "faults": faults,
    }))
    if faults:
        sys.exit(f"redis {mode}: {'; '.join(faults)}")


def report():
    rounds = defaultdict(dict)
    for text in (OUT / "redis.jsonl").read_text().splitlines():
        run = json.loads(text)
        rounds[run["round"]][run["mode"]] = run
    modes = list(dict.fromkeys(mode for runs in rounds.values() for mode in runs))
    print("\n### The server of mini-redis\n")
    print("| mode | CPU ticks | above fmt | requests/s | ×fmt | p99 ms | spans made | arrived | made = delivered + dropped, arrived = delivered |")
    print("|---|---|---|---|---|---|---|---|---|")
    for mode in modes:
        pairs = [(r[mode], r["fmt"]) for r in rounds.values() if mode in r and "fmt" in r]
        if not pairs:
            continue
        runs = [run for run, _ in pairs]
        ticks, rps, p99 = (median(run[key] for run in runs) for key in ("ticks", "rps", "p99"))
        above = median(run["ticks"] - base["ticks"] for run, base in pairs)
        ratio = median(run["rps"] / base["rps"] for run, base in pairs)
        arrived = median(run["received"] / run["made"] for run in runs)
        faults = "; ".join(fault for run in runs for fault in run["faults"])
        says = "–" if not runs[0]["account"] else faults or "exact in each round"
        print(f"| {mode} | {ticks:.0f} | {round(above)} | {rps:,.0f} | {ratio:.2f}× | {p99:.2f} | "
              f"{runs[-1]['made']:,} | {arrived:.1%} | {says} |")
    print(f"\nMedians of {len(rounds)} rounds; differences and ratios within a round; a tick is 10 ms.")


{"line": line, "report": report}[sys.argv[1]]()
