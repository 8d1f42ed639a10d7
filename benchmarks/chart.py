"""The goals as a picture: a bar for each, as long as the share of it that was reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.figures import Figure, Result, amount

#: What is more than this is drawn no longer.
MOST = 2.0
_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 1040, 420, 260, 26, 56
_SPAN = _WIDTH - _LEFT - _RIGHT

# Light and dark by the reader's system; both on a ground of their own, whatever page it is in.
_STYLE = """
  .ground { fill: #ffffff } .text { fill: #1f2328 } .quiet { fill: #59636e }
  .met { fill: #2f81f7 } .missed { fill: #d1242f } .line { stroke: #59636e; stroke-dasharray: 4 3 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .text { fill: #e6edf3 } .quiet { fill: #9198a1 }
    .missed { fill: #f85149 } .line { stroke: #9198a1 }
  }
  text { font: 13px system-ui, sans-serif } .head { font-weight: 600 }"""


def chart(results: Sequence[Result]) -> str:
    """An SVG of every figure that has a goal, scenario by scenario."""
    with_goals = [(result, [f for f in result.figures if f.goal]) for result in results]
    shown = [(result.title, figures) for result, figures in with_goals if figures]
    height = _TOP + _ROW * sum(len(figures) + 1 for _, figures in shown) + 16
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        "<title>What was measured, as a share of each goal</title>",
        f"<style>{_STYLE}\n</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{height}"/>',
        *_axis(height),
    ]
    top = _TOP
    for title, figures in shown:
        lines.append(_text(12, top + 17, "text head", title))
        for number, figure in enumerate(figures, 1):
            lines += _bar(figure, top + number * _ROW)
        top += (len(figures) + 1) * _ROW
    return "\n".join([*lines, "</svg>", ""])


def _axis(height: int) -> Iterator[str]:
    goal = _LEFT + _SPAN / MOST
    yield _text(12, 24, "text head", "What was measured, as a share of each goal")
    yield _text(goal, 44, "quiet", "goal", anchor="middle")
    yield f'<line class="line" x1="{goal:g}" y1="50" x2="{goal:g}" y2="{height - 8}"/>'


def _bar(figure: Figure, top: int) -> Iterator[str]:
    assert figure.goal is not None
    reached = figure.goal.reached(figure.judged)
    length = max(min(reached, MOST) / MOST * _SPAN, 2)
    kind = "met" if figure.is_met else "missed"
    yield _text(_LEFT - 8, top + 17, "text", figure.name, anchor="end")
    yield (
        f'<rect class="{kind}" x="{_LEFT}" y="{top + 4}" width="{length:.1f}" height="{_ROW - 8}"'
        f' rx="2"/>'
    )
    unit = figure.unit if figure.ratio is None else "×"
    label = f"{amount(figure.judged, unit)} ({figure.goal}) {figure.verdict}"
    more = "→ " if reached > MOST else ""
    yield _text(_LEFT + _SPAN + 12, top + 17, "quiet", more + label)


def _text(x: float, y: float, kind: str, text: str, anchor: str = "start") -> str:
    shown = text.replace("`", "")
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(shown)}</text>'
