#!/usr/bin/env python3
"""Draws what a command printed as an SVG, for the README.

usage: sluicectl show | docs/images/render.py 'sluicectl show' > docs/images/show.svg
"""

import sys
from html import escape

CHAR, LINE, PAD = 7.25, 17, 16
TEXT, DIM, BACK = "#d7dce2", "#7f8a97", "#161b22"


def main() -> None:
    lines = [line.rstrip("\n").expandtabs() for line in sys.stdin]
    title = f"$ {sys.argv[1]}"
    width = max(len(line) for line in [title, *lines]) * CHAR + 2 * PAD
    height = (len(lines) + 1) * LINE + 2 * PAD
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}">')
    print(f'<rect width="100%" height="100%" rx="6" fill="{BACK}"/>')
    print('<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="12" xml:space="preserve">')
    for number, line in enumerate([title, *lines]):
        y = PAD + 12 + number * LINE
        body, mark, comment = line.partition("  # ")
        colour = DIM if number == 0 else TEXT
        text = f'<text x="{PAD}" y="{y}" fill="{colour}">{escape(body)}'
        if mark:
            text += f'<tspan fill="#8fbf7f">{escape(mark + comment)}</tspan>'
        print(text + "</text>")
    print("</g>\n</svg>")


main()
