"""Puts the runs of the step `scaling` into a table of figures, in the place of older ones of the same point. A point
at which spans were lost is left out: what is not sent costs less.

    python3 scaling.py DIRECTORY FIGURES
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

from callgrind import instructions

HEADS = ["axis", "contender", "x", "instructions", "main_of"]
AXES = ["depth", "open", "fields", "late", "threads"]


def date_of_main():
    command = ["git", "log", "-1", "--format=%cd", "--date=format:%Y-%m-%dT%H:%M"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main(directory, figures):
    points = {}
    if figures.exists():
        with open(figures, newline="") as file:
            points = {(row["axis"], row["contender"], int(row["x"])): row for row in csv.DictReader(file)}
    date, wrong = date_of_main(), []
    for path in sorted(directory.glob("*.json")):
        name, axis, x = path.stem.rsplit(".", 2)
        run = json.loads(path.read_text() or "{}")
        if not run:
            wrong.append(f"{path.stem}: failed")
            continue
        if "received" in run and run["received"]["spans"] != run["produced"] - run["left_open"]:
            wrong.append(f"{path.stem}: {run['received']['spans']} of {run['produced']} spans arrived")
            continue
        cost = sum(instructions(path.with_suffix(".out")).values()) / run["figures"]["counted"]
        points[axis, name, int(x)] = {"axis": axis, "contender": name, "x": int(x), "instructions": round(cost),
                                      "main_of": date}
    ordered = sorted(points, key=lambda key: (AXES.index(key[0]), key[1], key[2]))
    with open(figures, "w", newline="") as file:
        table = csv.DictWriter(file, HEADS, lineterminator="\n")
        table.writeheader()
        table.writerows(points[key] for key in ordered)
    print(f"\n### {figures.name}: instructions a span\n")
    for axis in AXES:
        xs = sorted({key[2] for key in ordered if key[0] == axis})
        if not xs:
            continue
        print(f"\n| {axis} | " + " | ".join(map(str, xs)) + " |")
        print("|" + " --- |" * (len(xs) + 1))
        for name in dict.fromkeys(key[1] for key in ordered if key[0] == axis):
            cells = [points.get((axis, name, x)) for x in xs]
            print(f"| {name} | " + " | ".join(f"{int(c['instructions']):,}" if c else "–" for c in cells) + " |")
    if wrong:
        print("\nLeft out: " + "; ".join(wrong) + ".")


main(Path(sys.argv[1]), Path(sys.argv[2]))
