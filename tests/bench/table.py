"""What benches tell: rows of one table, in Markdown, as README has it."""

import statistics
from collections.abc import Sequence

NOTHING = "-"


def head() -> None:
    """Print the names of the columns."""
    row("what", "seen", beside="beside", there="seen there", ratio="ratio (least to most)", aim="aim")
    row(*["---"] * 2, beside="---", there="---", ratio="---", aim="---")


def row(
    what: str,
    seen: str,
    *,
    beside: str = NOTHING,
    there: str = NOTHING,
    ratio: str = NOTHING,
    aim: str = NOTHING,
) -> None:
    """Print a row."""
    print(f"| {' | '.join((what, seen, beside, there, ratio, aim))} |", flush=True)


def compared(
    what: str, pairs: Sequence[tuple[float, float]], form: str, *, beside: str, aim: str = NOTHING, seen: str = ""
) -> None:
    """Print the medians of what was measured, ours and theirs by turns, and the median of their ratios.

    `form` says a figure, such as "{:.1f} ms"; `seen` is what else is to be said of ours.
    """
    ours, theirs = (form.format(statistics.median(figures)) for figures in zip(*pairs, strict=True))
    ratio = spread([mine / other for mine, other in pairs], "{:.2f}")
    row(what, f"{ours}{seen}", beside=beside, there=theirs, ratio=ratio, aim=aim)


def spread(figures: Sequence[float], form: str) -> str:
    """Say a median, and from where to where the figures go."""
    median, least, most = (form.format(of(figures)) for of in (statistics.median, min, max))
    return f"{median} ({least} to {most})"
