"""Prints the results of run.sh as markdown tables.

    python3 report.py DIRECTORY

Ratios of times are taken inside a round and their median is told: a shared machine changes its
speed between rounds, seldom within one. Instructions and allocations are counts and repeat.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from callgrind import instructions

OUT = Path(sys.argv[1])
ORDER = ["floor-off", "floor", "floor-visit", "tracing-otlp", "tracing-otlp-lean",
         "tracing-otlp-unsampled", "otel", "otel-lean", "fastrace", "fastrace-tracing", "fastrace-tracing-lean"]
ALWAYS = ["request", "tiny", "async", "deep", "wide"]
WORKS = ALWAYS + ["fields", "dynamic", "many", "list", "callsites"]
LOGS = ["floor", "tracing-otlp-logs-only", "tracing-otlp-logs", "otel-logs-only", "otel-logs", "emit"]
RECORDS = 8  # log records in a unit of `logs`


def read_results():
    path = OUT / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.startswith("{")]


RESULTS = read_results()


def runs(mode, **wanted):
    """{contender: [run]} of the runs that have these values."""
    found = defaultdict(list)
    for run in RESULTS:
        if run["mode"] == mode and all(run[k] == v for k, v in wanted.items()):
            found[run["contender"]].append(run)
    return found


def sorted_names(names):
    return [n for n in ORDER if n in names] + sorted(set(names) - set(ORDER))


def table(title, heads, rows, note=""):
    print(f"\n### {title}\n")
    if note:
        print(f"{note}\n")
    print("| " + " | ".join(heads) + " |")
    print("|" + " --- |" * len(heads))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def times(value):
    return "–" if value is None else f"{value:.2f}×"


def in_round(found, name, base, value):
    """The median over the rounds of value(name) / value(base)."""
    bases = {run["round"]: value(run) for run in found.get(base, [])}
    ratios = [value(run) / bases[run["round"]] for run in found[name] if bases.get(run["round"])]
    return median(ratios) if ratios else None


def arrived(run):
    return run["received"]["spans"]


def arrives():
    # Runs of mode cg in results.jsonl are those against the receiver that looks into spans.
    found = runs("cg")
    rows = []
    for name in sorted_names(found):
        run = found[name][-1]
        got, spans = run["received"], run["produced"]
        rows.append([name, number(got["spans"] / spans, 3), number(got["attributes"] / spans, 1),
                     number(got["events"] / spans, 1), number(got["bytes"] / spans),
                     number(got["requests"]), number(got["malformed"])])
    table("What arrives", ["contender", "spans a span made", "attributes a span", "events a span",
                           "OTLP bytes a span", "requests", "malformed"], rows,
          "`request`, 5,000 spans; made: 4.0 attributes and 0.8 events a span.")


def alloc():
    found = {work: runs("alloc", work=work) for work in WORKS}
    heads, works = ["contender"], [work for work in WORKS if work in ALWAYS or found[work]]
    for work in works:
        heads += [f"{work}: calls", f"{work}: bytes", f"{work}: calls, all threads"]
    rows = []
    for name in sorted_names({name for by_name in found.values() for name in by_name}):
        row = [name]
        for work in works:
            last = found[work][name][-1]["figures"] if name in found[work] else {}
            row += [number(last.get("recording_calls"), 2), number(last.get("recording_bytes")),
                    number(last.get("all_calls"), 2)]
        rows.append(row)
    table("Allocations a span", heads, rows,
          "Calls to malloc, calloc and realloc; on the recording thread unless said.")


def hot():
    columns = [("request, 1 thread", dict(work="request", threads=1)),
               ("request, 2 threads", dict(work="request", threads=2)),
               ("tiny, 1 thread", dict(work="tiny", threads=1)),
               ("async, 2 workers", dict(work="async", threads=2))]
    for key, what in [("cpu_ns", "CPU"), ("wall_ns", "Wall time")]:
        found = {head: runs("hot", **wanted) for head, wanted in columns}
        heads, rows = ["contender"], []
        for head, _ in columns:
            heads += [head, "×floor", "×otel", "spread"]
        for name in sorted_names({name for by_name in found.values() for name in by_name}):
            row = [name]
            for head, _ in columns:
                here = found[head]
                values = [run["figures"][key] for run in here[name]]
                of = lambda run: run["figures"][key]
                row += [number(min(values, default=None)), times(in_round(here, name, "floor", of)),
                        times(in_round(here, name, "otel", of)),
                        times(max(values) / min(values)) if values else "–"]
            rows.append(row)
        table(f"{what} on the recording threads, ns a span", heads, rows,
              "Least of the rounds' medians; ratios inside a round; spread: largest over least.")
    lost = [f"{run['contender']} {run['work']} on {run['threads']}: "
            f"{run['produced'] - arrived(run):,} of {run['produced']:,}"
            for run in RESULTS if run["mode"] == "hot" and "received" in run
            and arrived(run) != run["produced"] and not is_unsampled(run)]
    print("\nSpans that did not arrive in these runs: " + ("; ".join(lost) or "none") + ".")


def is_unsampled(run):
    return run.get("ledger", {}).get("unsampled") == run["produced"]


def e2e():
    found = runs("e2e")
    pacing = {run["round"]: run["process_cpu_ns"] / run["produced"]
              for run in found.get("floor-off", [])}

    def cost(run):
        return run["process_cpu_ns"] / run["produced"] - pacing.get(run["round"], 0)

    rows = []
    for name in sorted_names(found):
        best = min(found[name], key=cost)
        costs = [cost(run) for run in found[name]]
        delivered = [arrived(run) / run["produced"] for run in found[name]
                     if "received" in run and not is_unsampled(run)]
        rows.append([
            name, number(cost(best)), times(in_round(found, name, "floor", cost)),
            times(in_round(found, name, "otel", cost)),
            number(best["figures"]["recording_cpu_ns"] / best["produced"]),
            number(min(delivered, default=None), 4), number(best["peak_rss_kib"] / 1024, 1),
            number(arrived(best) / max(best["received"]["requests"], 1)) if delivered else "–",
            times(max(costs) / min(costs)) if min(costs) > 0 else "–"])
    table("Whole process at 50,000 spans a second", ["contender", "CPU ns a span", "×floor",
          "×otel", "recording thread, pacing included", "delivered, worst round", "peak RSS MiB",
          "spans a request", "spread"], rows,
          "From before the pipeline is set up to after its shutdown, less floor-off in the same "
          "round: that is what pacing costs. Least round; ratios inside a round.")


def peak():
    found = runs("peak", work="request")
    sampled = {name: rounds for name, rounds in found.items() if not is_unsampled(rounds[0])}

    def rate(run):
        return arrived(run) / run["seconds"]

    rows = []
    for name in sorted_names(sampled):
        best = max(sampled[name], key=rate)
        rows.append([
            name, number(best["produced"] / best["figures"]["recording_seconds"]),
            number(rate(best)), times(in_round(sampled, name, "otel", rate)),
            f"{100 * (1 - arrived(best) / best['produced']):.1f}%", number(best["seconds"], 1),
            number(best["process_cpu_ns"] / max(arrived(best), 1)),
            number(best["peak_rss_kib"] / 1024)])
    table("Flat out: 2 threads record as fast as they can", ["contender", "made a second",
          "delivered a second", "×otel", "lost", "seconds to the end of shutdown",
          "CPU ns a delivered span", "peak RSS MiB"], rows,
          "Default queues. Best round; delivered is counted by the receiver.")
    rows = []
    for name in sorted_names(found):
        for run in found[name]:
            if "ledger" in run:
                ledger = run["ledger"]
                rows.append([name, number(run["round"]), number(run["produced"]),
                             number(arrived(run)), ledger["summary"],
                             "; ".join(ledger["faults"]) or "exact"])
    if rows:
        table("Every loss counted", ["contender", "round", "made", "received", "its own count",
              "made = delivered + dropped, received = delivered"], rows,
              "Contenders that are not listed keep no account of their spans.")


def callgrind():
    recording, everywhere, incomplete = defaultdict(dict), defaultdict(dict), []
    for small in sorted((OUT / "callgrind").glob("*.1000.json")):
        name, work, _, _ = small.name.rsplit(".", 3)
        if work not in WORKS:
            continue
        large = small.with_name(f"{name}.{work}.3000.json")
        few, many = (instructions(path.with_suffix(".out")) for path in (small, large))
        if not few or not many:
            incomplete.append(f"{name} {work}")
            continue
        for path in (small, large):
            run = json.loads(path.read_text() or "{}")
            lost = not run or ("received" in run and not is_unsampled(run)
                               and arrived(run) != run["produced"])
            if lost and f"{name} {work}" not in incomplete:
                incomplete.append(f"{name} {work}")
        few_spans, many_spans = (json.loads(path.read_text() or "{}").get("produced", 0)
                                 for path in (small, large))
        spans = max(many_spans - few_spans, 1)
        recording[work][name] = (many[1] - few[1]) / spans
        everywhere[work][name] = (sum(many.values()) - sum(few.values())) / spans
    if not recording:
        return
    note = f"Failed or spans missing: {', '.join(incomplete)}." if incomplete else ""
    for title, counts in [("on the recording thread", recording), ("on all threads", everywhere)]:
        heads, rows = ["contender"], []
        works = [work for work in WORKS if work in ALWAYS or work in counts]
        for work in works:
            heads += [work, "×floor", "×otel"]
        for name in sorted_names({name for by_name in counts.values() for name in by_name}):
            row = [name]
            for work in works:
                value = counts[work].get(name)
                row.append(number(value))
                for base in ("floor", "otel"):
                    base = counts[work].get(base)
                    row.append(times(value / base) if value is not None and base else "–")
            rows.append(row)
        table(f"Instructions a span {title}", heads, rows,
              f"The kernel's are not counted. {note}".strip())


def beside(value, other):
    return times(value / other) if value is not None and other else "–"


def logs():
    """A record's price: what `logs` takes more than `quiet`, by the number of records."""
    calls, recording, everywhere = {}, {}, {}
    for name in LOGS:
        few, many = (runs("alloc", work=work).get(name) for work in ("quiet", "logs"))
        if few and many:
            # These figures are by span, 5 in a unit.
            of = lambda key: (many[-1]["figures"][key] - few[-1]["figures"][key]) * 5 / RECORDS
            calls[name] = (of("recording_calls"), of("recording_bytes"), of("all_calls"))
        counts = {}
        for work in ("quiet", "logs"):
            small, large = (instructions(OUT / "callgrind" / f"{name}.{work}.{units}.out")
                            for units in (1000, 3000))
            if small and large:
                counts[work] = ((large[1] - small[1]) / 2000,
                                (sum(large.values()) - sum(small.values())) / 2000)
        if len(counts) == 2:
            recording[name], everywhere[name] = (
                (counts["logs"][i] - counts["quiet"][i]) / RECORDS for i in (0, 1))
    arrived_of = runs("arrives")
    rows = []
    for name in LOGS:
        got = arrived_of[name][-1] if arrived_of.get(name) else None
        records = got["received"]["records"] if got else 0
        call = calls.get(name, (None, None, None))
        rows.append([
            name, number(recording.get(name)), beside(recording.get(name), recording.get("otel-logs")),
            beside(recording.get(name), recording.get("otel-logs-only")),
            number(everywhere.get(name)), beside(everywhere.get(name), everywhere.get("otel-logs")),
            beside(everywhere.get(name), everywhere.get("otel-logs-only")),
            number(call[0], 2), number(call[1]), number(call[2], 2),
            number(got["received"]["record_bytes"] / records if records else None),
            number(got["received"]["record_attributes"] / records if records else None, 1),
            number(records / got["records"] if got and got["records"] else None, 3)])
    table("A log record", ["contender", "instructions, recording thread", "×otel-logs", "×otel-logs-only",
          "all threads", "×otel-logs", "×otel-logs-only", "allocations, recording thread",
          "bytes allocated", "allocations, all threads", "OTLP bytes", "attributes", "arrived"], rows,
          "`logs` less `quiet`, by the number of records.")
    found = runs("peak", work="logs")

    def rate(run):
        return run["received"]["records"] / run["seconds"]

    rows = []
    for name in [name for name in LOGS if name in found]:
        best = max(found[name], key=rate)
        rows.append([
            name, number(best["records"] / best["figures"]["recording_seconds"]), number(rate(best)),
            times(in_round(found, name, "otel-logs", rate)),
            times(in_round(found, name, "otel-logs-only", rate)),
            f"{100 * (1 - best['received']['records'] / best['records']):.1f}%",
            number(best["peak_rss_kib"] / 1024)])
    if rows:
        table("Log records flat out: 2 threads", ["contender", "made a second", "delivered a second",
              "×otel-logs", "×otel-logs-only", "lost", "peak RSS MiB"], rows,
              "Default queues. Best round; delivered is counted by the receiver.")
    rows = [[name, number(run["round"]), number(run["records"]), number(run["received"]["records"]),
             run["ledger"]["records"]["summary"], "; ".join(run["ledger"]["faults"]) or "exact"]
            for name in LOGS for run in found.get(name, []) if "records" in run.get("ledger", {})]
    if rows:
        table("Every log record counted", ["contender", "round", "made", "received", "its own count",
              "made = delivered + dropped, received = delivered"], rows)


for present, section in [(runs("cg"), arrives), (runs("alloc"), alloc), (runs("hot"), hot),
                         (runs("e2e"), e2e), (runs("peak", work="request"), peak),
                         ((OUT / "callgrind").exists(), callgrind), (runs("arrives"), logs)]:
    if present:
        section()
