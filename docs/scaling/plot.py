#!/usr/bin/env python3
"""Draws the plots of docs/scaling.md from docs/scaling/figures.csv.

    python3 docs/scaling/plot.py            draws them
    python3 docs/scaling/plot.py --check    ends with 1 if the plots there are not those of the figures
"""

import csv
import math
import pathlib
import sys
from collections import defaultdict

HERE = pathlib.Path(__file__).parent
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 360, 64, 196, 44, 52
# A name in the figures: its name in the plot, its colour, its dash. The ground is white, so that both are seen on any page.
CONTENDERS = {
    "otel-lean": ("tracing-opentelemetry", "#cf222e", ""),
    "fastrace-tracing-lean": ("fastrace-tracing", "#9a6700", ""),
    "fastrace": ("fastrace, its own API", "#9a6700", "2 3"),
    "tracing-otlp-lean": ("tracing-otlp", "#0969da", ""),
    "tracing-otlp-registry": ("tracing-otlp, own registry", "#0969da", "6 4"),
    "floor": ("a layer that does nothing", "#57606a", ""),
}
# The axis in the figures: title, label of x, whether x grows by factors.
PLOTS = {
    "depth": ("A span and an event inside so many entered spans", "entered spans around it", True),
    "open": ("A span and an event beside so many open spans", "open spans beside it", True),
    "fields": ("A span with so many fields", "fields that its callsite declares", False),
    "late": ("A span on which so many attributes are set afterwards", "attributes that no callsite declares, set one by one", False),
    "threads": ("A span of a request on so many threads", "recording threads", True),
}


def read():
    axes = defaultdict(lambda: defaultdict(dict))
    with open(HERE / "figures.csv", newline="") as file:
        for row in csv.DictReader(file):
            axes[row["axis"]][row["contender"]][int(row["x"])] = int(row["instructions"])
    return axes


def marks(most):
    """Round marks of an axis from 0 up to the first one that is not below `most`."""
    step = 10 ** math.floor(math.log10(most / 4))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if most / (step * factor) <= 5)
    return [step * n for n in range(math.ceil(most / step) + 1)]


def apart(places, least=15):
    """The same places, moved down where two are nearer to each other than `least`, and up again at the end."""
    ends = sorted(range(len(places)), key=lambda n: places[n])
    moved = list(places)
    for before, n in zip(ends, ends[1:]):
        moved[n] = max(moved[n], moved[before] + least)
    lowest = HEIGHT - BOTTOM + 4
    for n in reversed(ends):
        moved[n], lowest = min(moved[n], lowest), min(moved[n], lowest) - least
    return moved


def draw(axis, lines):
    title, label, by_factors = PLOTS[axis]
    xs = sorted({x for points in lines.values() for x in points})
    place = (lambda x: math.log(x)) if by_factors else (lambda x: float(x))
    ys = marks(max(y for points in lines.values() for y in points.values()))

    def at_x(x):
        first, last = place(xs[0]), place(xs[-1])
        return LEFT + (place(x) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def at_y(y):
        return HEIGHT - BOTTOM - y / ys[-1] * (HEIGHT - TOP - BOTTOM)

    middle = (TOP + HEIGHT - BOTTOM) / 2
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#1f2328">',
        f'<title>{title}: instructions a span</title>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#ffffff" stroke="#d0d7de"/>',
        f'<text x="{LEFT}" y="24" font-size="14" font-weight="bold">{title}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 14}" text-anchor="middle">{label}</text>',
        f'<text x="16" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 16 {middle:.0f})">instructions a span</text>',
    ]
    for y in ys:
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(y):.1f}" y2="{at_y(y):.1f}" stroke="#d8dee4"/>')
        out.append(f'<text x="{LEFT - 8}" y="{at_y(y) + 4:.1f}" text-anchor="end">{y:,.0f}</text>')
    last_mark = -100.0
    for x in xs:
        if at_x(x) - last_mark >= 22:
            last_mark = at_x(x)
            out.append(f'<text x="{last_mark:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:,}</text>')
    names = [name for name in CONTENDERS if name in lines]
    names_at = apart([at_y(lines[name][max(lines[name])]) + 4 for name in names])
    for name, name_at in zip(names, names_at):
        text, colour, dash = CONTENDERS[name]
        dash = f' stroke-dasharray="{dash}"' if dash else ""
        points = [(at_x(x), at_y(y)) for x, y in sorted(lines[name].items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        x, y = points[-1]
        out.append(f'<line x1="{x + 4:.1f}" y1="{y:.1f}" x2="{WIDTH - RIGHT + 18}" y2="{name_at - 4:.1f}" stroke="{colour}" stroke-width="0.75"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 22}" y="{name_at:.1f}" fill="{colour}">{text}</text>')
    return "\n".join(out + ["</svg>", ""])


def main():
    axes = read()
    drawn = {HERE / f"{axis}.svg": draw(axis, axes[axis]) for axis in PLOTS}
    if "--check" not in sys.argv:
        for path, text in drawn.items():
            path.write_text(text)
        return
    stale = [path.name for path, text in drawn.items() if not path.exists() or path.read_text() != text]
    if stale:
        sys.exit(f"not drawn from figures.csv: {', '.join(stale)}; run python3 docs/scaling/plot.py")
    print(f"{len(drawn)} plots are those of figures.csv")


if __name__ == "__main__":
    main()
