"""Line charts as SVG: logarithmic x, linear y from zero, legible on light and dark."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 56, 150, 40, 44
COLOURS = ["#0b6cb8", "#c8501e", "#3f8f3a", "#8650a6", "#7a7a7a"]


def nice(top):
    """Steps for an axis from zero to `top`."""
    rough = top / 5 or 1
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= rough)
    return [n * step for n in range(int(top / step) + 2)]


def number(value):
    for size, unit in ((1_000_000, "M"), (1000, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def lines(title, x_name, y_name, series):
    """`series` is points (x, y) by name, each in order of x."""
    xs = sorted({x for points in series.values() for x, _ in points})
    low, high = math.log10(max(xs[0], 1)), math.log10(max(xs[-1], 1))
    steps = nice(max(y for points in series.values() for _, y in points))
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at_x(x):
        return LEFT + width * ((math.log10(max(x, 1)) - low) / (high - low) if high > low else 0.5)

    def at_y(y):
        return TOP + height * (1 - y / steps[-1])

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="14">{escape(title)}</text>',
    ]
    for step in steps:
        y = at_y(step)
        out.append(f'<line x1="{LEFT}" x2="{LEFT + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{step:g}</text>')
    for x in xs:
        out.append(f'<text x="{at_x(x):.1f}" y="{TOP + height + 18}" text-anchor="middle">{number(x)}</text>')
    out.append(f'<text x="{LEFT + width / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_name)}</text>')
    out.append(f'<text x="14" y="{TOP + height / 2}" text-anchor="middle" transform="rotate(-90 14 {TOP + height / 2})">{escape(y_name)}</text>')
    for n, (name, points) in enumerate(series.items()):
        colour = COLOURS[n % len(COLOURS)]
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        out.append(f'<text x="{LEFT + width + 12}" y="{TOP + 14 + 18 * n}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"
