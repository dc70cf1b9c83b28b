#!/usr/bin/env python3
"""Draws the plots of docs/fleet.md from the figures that the simulation writes.

    mkdir -p target/fleet
    cargo test --all-features --lib simulation
    python3 docs/fleet/plot.py target/fleet docs/fleet
"""

import csv
import pathlib
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 60, 20, 40, 50
COLOURS = ["#1f6feb", "#d1242f", "#1a7f37", "#9a6700"]


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


class Plot:
    """A plot of lines as SVG. `xs` and `ys` are the marks of the axes; the outer ones are the ends."""

    def __init__(self, title, x_label, y_label, xs, ys, positions=None):
        self.xs, self.ys = xs, ys
        self.positions = positions or {x: x for x in xs}
        self.out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="22" font-size="14" font-weight="bold">{title}</text>',
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{x_label}</text>',
            f'<text x="14" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" transform="rotate(-90 14 {(TOP + HEIGHT - BOTTOM) / 2})">{y_label}</text>',
        ]
        for x in xs:
            self.out.append(f'<text x="{self.x(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x:g}</text>')
        for y in ys:
            at = self.y(y)
            self.out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#d0d7de"/>')
            self.out.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{y:g}</text>')
        self.lines = 0

    def x(self, value):
        first, last = self.positions[self.xs[0]], self.positions[self.xs[-1]]
        return LEFT + (self.positions.get(value, value) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        return HEIGHT - BOTTOM - (value - self.ys[0]) / (self.ys[-1] - self.ys[0]) * (HEIGHT - TOP - BOTTOM)

    def line(self, name, xs, ys, dashed=False):
        colour = COLOURS[self.lines % len(COLOURS)]
        points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, ys))
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        x = LEFT + 10 + 150 * self.lines
        self.out.append(f'<line x1="{x}" x2="{x + 20}" y1="{TOP - 4}" y2="{TOP - 4}" stroke="{colour}" stroke-width="2"{dash}/>')
        self.out.append(f'<text x="{x + 26}" y="{TOP}">{name}</text>')
        self.lines += 1

    def mark(self, x, text):
        at = self.x(x)
        self.out.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP + 8}" y2="{HEIGHT - BOTTOM}" stroke="#8c959f" stroke-dasharray="2 3"/>')
        self.out.append(f'<text x="{at + 4:.1f}" y="{HEIGHT - BOTTOM - 6}" fill="#57606a">{text}</text>')

    def write(self, path):
        path.write_text("\n".join(self.out + ["</svg>", ""]))


def main(figures, pages):
    balance = read(figures / "balance.csv")
    plot = Plot("Batches of a collector, 10,000 processes, 30 collectors", "seconds", "share, the mean is 1",
                [0, 60, 120, 180, 240], [0.7, 0.85, 1, 1.15, 1.3])
    plot.line("the most", balance["seconds"], balance["most"])
    plot.line("the least", balance["seconds"], balance["least"])
    for at, text in ((60, "one goes"), (120, "one comes"), (180, "the first is back")):
        plot.mark(at, text)
    plot.write(pages / "balance.svg")

    slow = read(figures / "slow.csv")
    plot = Plot("A slow collector among 30", "latency of a request in s; a process has a batch every 5 s",
                "its share, the mean is 1", [0, 10, 20, 30, 40], [0, 0.25, 0.5, 0.75, 1, 1.25])
    plot.line("share", slow["latency"], slow["share"])
    plot.write(pages / "slow.svg")

    moves = read(figures / "moves.csv")
    positions = {x: n for n, x in enumerate(moves["collectors"])}
    plot = Plot("Traces that move with trace affinity", "collectors", "part of all traces",
                list(positions), [0, 0.1, 0.2, 0.3, 0.4], positions)
    plot.line("one goes", moves["collectors"], moves["leaves"])
    plot.line("one comes", moves["collectors"], moves["joins"])
    plot.line("the least: 1/n", moves["collectors"], moves["ideal_leaves"], dashed=True)
    plot.write(pages / "moves.svg")

    parted = read(figures / "parted.csv")
    plot = Plot("Divided traces while 10,000 processes learn of a 31st collector", "seconds after it comes",
                "part of all traces", [-5, 0, 10, 20, 30, 35], [0, 0.01, 0.02, 0.03, 0.04])
    plot.line("traces of 4 processes", parted["seconds"], parted["parted"])
    plot.write(pages / "parted.svg")

    shedding = read(figures / "shedding.csv")
    times = shedding["seconds"]
    phases = ((30, "twice as much"), (90, "four times as much"), (150, "half again"))
    plot = Plot("Whole traces while 10,000 processes record too much", "seconds", "part of all traces",
                [0, 60, 120, 180, 240], [0, 0.25, 0.5, 0.75, 1])
    plot.line("at best", times, shedding["could"], dashed=True)
    plot.line("with shedding", times, shedding["with"])
    plot.line("without", times, shedding["without"])
    for at, text in phases:
        plot.mark(at, text)
    plot.write(pages / "shedding.svg")

    plot = Plot("The steps of the threshold in 10,000 processes", "seconds", "step; four halve what is kept",
                [0, 60, 120, 180, 240], [0, 4, 8, 12, 16])
    plot.line("the highest", times, shedding["most"])
    plot.line("the median", times, shedding["median"])
    plot.line("the lowest", times, shedding["least"])
    for at, text in phases:
        plot.mark(at, text)
    plot.write(pages / "levels.svg")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
