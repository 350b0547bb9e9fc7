# SPDX-License-Identifier: Apache-2.0
"""The parts of a start as stacked bars: an SVG without a dependency.

Owns: geometry and colours, for light and dark pages. Does not own: the parts
(``phases``). A runtime that tells of no phases is a bar of one part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from boxlite_runtime.bench.phases import Part, parts
from boxlite_runtime.bench.record import Record
from boxlite_runtime.bench.text import wall

WIDTH, LEFT, RIGHT, TOP = 760, 130, 78, 34
BAR, GAP, LEGEND = 30, 16, 20
#: The part's place in the legend -> its colour, told apart on black and white.
#: The engine's parts are grey: they are not the runtime's.
COLOURS = {
    "plan, cgroup, network, share": "#3b6fb6",
    "start of QEMU": "#6aa5d8",
    "going on from the template": "#a9cdea",
    "engine's hooks": "#8a8f98",
    "engine, Create to Start": "#a7acb4",
    "scan of the network": "#2f9e8f",
    "waiting for the guest": "#e08a2e",
    "waiting for the container": "#c2504a",
    "first process": "#8e5ba6",
    "engine, before and after": "#c3c7cd",
}
#: The whole of a runtime whose parts nobody tells.
WHOLE = "#5f6b7a"

STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.small { font-size: 12px; }
.axis { stroke: #d0d7de; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .axis { stroke: #3d444d; }
}"""


@dataclass(frozen=True)
class Bar:
    """One runtime's start. Without parts it is drawn in one piece."""

    label: str
    seconds: float
    parts: tuple[Part, ...] = ()


def bars(records: Sequence[Record]) -> list[Bar]:
    """Return a bar for each runtime of each record of single starts."""
    starts = [
        r for r in records if r.kind == "start" and r.method.get("at once") == "1"
    ]
    found = []
    for record in starts:
        for runtime, seconds in wall(record).items():
            told = parts(record.phases, seconds) if runtime == record.runtime else []
            label = f"{record.engine}, {runtime}" if len(starts) > 1 else runtime
            found.append(Bar(label, seconds, tuple(told)))
    return found


def drawn(found: Sequence[Bar]) -> str:
    """Return the picture of one bar or more."""
    longest = max((bar.seconds for bar in found), default=0.0) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / longest
    bottom = TOP + len(found) * (BAR + GAP)
    # A bar that names its parts in a legend; several do so in one each.
    detailed = [bar for bar in found if bar.parts]
    height = bottom + 22 + sum(_legend_height(bar) for bar in detailed)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}"'
        f' width="{WIDTH}" height="{height:g}" role="img">',
        "<title>Parts of a start, median milliseconds</title>",
        f"<style>\n{STYLE}\n</style>",
        f'<text class="small" x="{LEFT}" y="20">one start, the whole command,'
        " median, in ms</text>",
        *_axis(longest, scale, bottom),
    ]
    for at, bar in enumerate(found):
        lines += _bar(bar, TOP + at * (BAR + GAP), scale)
    y = bottom + 30.0
    for bar in detailed:
        lines += _legend(bar, y, named=len(detailed) > 1)
        y += _legend_height(bar)
    return "\n".join([*lines, "</svg>"]) + "\n"


def step_of(longest: float) -> float:
    """Return the distance of the axis's marks: 1, 2 or 5 times a power of 10."""
    size = 1e-3
    while True:
        for factor in (1, 2, 5):
            if longest / (factor * size) <= 6:
                return factor * size
        size *= 10


def _axis(longest: float, scale: float, bottom: float) -> list[str]:
    step = step_of(longest)
    lines = []
    for number in range(int(longest / step) + 1):
        x = LEFT + number * step * scale
        lines += [
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}"'
            f' y2="{bottom - GAP + 6}"/>',
            f'<text class="small" x="{x:.1f}" y="{bottom + 6}"'
            f' text-anchor="middle">{1000 * number * step:.0f}</text>',
        ]
    return lines


def _bar(bar: Bar, y: float, scale: float) -> list[str]:
    middle = y + BAR / 2 + 5
    lines = [
        f'<text x="{LEFT - 10}" y="{middle:g}" text-anchor="end">'
        f"{escape(bar.label)}</text>"
    ]
    x = float(LEFT)
    for part in bar.parts or (Part("whole", bar.seconds),):
        width = part.seconds * scale
        colour = COLOURS.get(part.name, WHOLE)
        lines.append(
            f'<rect x="{x:.2f}" y="{y:g}" width="{width:.2f}" height="{BAR}"'
            f' fill="{colour}"><title>{escape(_said(part))}</title></rect>'
        )
        x += width
    lines.append(
        f'<text x="{x + 8:.1f}" y="{middle:g}">{1000 * bar.seconds:.0f} ms</text>'
    )
    return lines


def _said(part: Part) -> str:
    return f"{part.name}: {1000 * part.seconds:.0f} ms"


def _legend_height(bar: Bar) -> float:
    return LEGEND * ((len(bar.parts) + 1) // 2 + 1)


def _legend(bar: Bar, y: float, *, named: bool) -> list[str]:
    lines = []
    if named:
        lines.append(
            f'<text x="{LEFT - 10}" y="{y + 10:g}" text-anchor="end">'
            f"{escape(bar.label)}</text>"
        )
    half = (len(bar.parts) + 1) // 2
    for at, part in enumerate(bar.parts):
        x = LEFT + (at // half) * (WIDTH - LEFT) / 2
        top = y + (at % half) * LEGEND
        lines += [
            f'<rect x="{x:g}" y="{top:g}" width="12" height="12"'
            f' fill="{COLOURS.get(part.name, WHOLE)}"/>',
            f'<text class="small" x="{x + 18:g}" y="{top + 11:g}">'
            f"{escape(_said(part))}</text>",
        ]
    return lines
