"""Plots of what `compare_with_torch.py` and `shakespeare.py` measured, as SVG, for the documentation.

    python tools/plot_comparison.py docs/explanation/data docs/explanation

The first folder holds the files that --json wrote, under the names of their tables; what is not there is not drawn.
Written are ``ratios.svg`` (`layers`, and `loops`: PyTorch's time over rondeau's), ``roofline.svg`` (`parts`: what
each part reaches of what the machine allows), ``parts.svg`` (`parts`: where the time goes) and ``training.svg``
(`shakespeare`: held-out loss over wall time).
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Row = Mapping[str, Any]

MARKERS = "osD^vP*X"
STYLE: Any = {
    "svg.hashsalt": "rondeau",  # with no date, the same rows give the same file
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
LOOPS = {"eager": "eager loop", "compiled": "torch.compile of the loop"}


def most_threads(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the largest number of threads."""
    most = max(row["threads"] for row in rows)
    return [row for row in rows if row["threads"] == most]


def values(rows: Sequence[Row], name: str) -> list[Any]:
    """Return the different values of a figure, in the order in which they come.

    >>> values([{"cell": "RNN"}, {"cell": "GRU"}, {"cell": "RNN"}], "cell")
    ['RNN', 'GRU']
    """
    return list(dict.fromkeys(row[name] for row in rows))


def ratios(layers: Sequence[Row], loops: Sequence[Row]) -> Figure:
    """Draw PyTorch's time over rondeau's as bars, with the range over the pairs.

    Parameters
    ----------
    layers, loops : sequence of dict
        Rows of these tables; one of them may be empty.
    """
    groups: list[tuple[str, str, Sequence[Row]]] = []
    for threads in values(layers, "threads"):
        rows: Sequence[Row] = [row for row in layers if row["threads"] == threads]
        groups.append((f"torch.nn's layer, threads: {threads}", "ratio", rows))
    for threads in values(loops, "threads"):
        for name, title in LOOPS.items():
            rows = [row for row in loops if row["threads"] == threads and row.get(name) is not None]
            if rows:
                groups.append((f"{title}, threads: {threads}", name, rows))
    figure = Figure(figsize=(8, 2.1 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), squeeze=False)[:, 0]
    sizes = values([*layers, *loops], "size")
    for axes, (title, name, rows) in zip(panels, groups, strict=True):
        cells = values(rows, "cell")
        width = 0.8 / len(sizes)
        for row in rows:
            number = sizes.index(row["size"])
            left = cells.index(row["cell"]) + (number - (len(sizes) - 1) / 2) * width
            low, high = row[f"{name}_range"]
            reach = [[row[name] - low], [high - row[name]]]
            axes.bar(
                left, row[name], 0.9 * width, yerr=reach, color=f"C{number}", error_kw={"linewidth": 0.8}
            )
            axes.annotate(f"{row[name]:.1f}", (left, high), ha="center", va="bottom", fontsize=7)
        axes.axhline(1, color="black", linewidth=0.8)
        axes.set_xticks(range(len(cells)), cells)
        axes.set_xlim(-0.5, len(cells) - 0.5)
        axes.set_ylabel("PyTorch / rondeau")
        axes.set_title(title, loc="left", fontsize=9)
    marks = [
        Line2D([], [], marker="s", linestyle="", color=f"C{k}", label=size) for k, size in enumerate(sizes)
    ]
    figure.legend(handles=marks, ncols=4, loc="outside lower center")
    return figure


def roofline(parts: Sequence[Row]) -> Figure:
    """Draw each part's arithmetic per second over its arithmetic per byte, under what the machine allows.

    The roofs: the peak of multiply-adds that load nothing, and reading from memory and from a core's cache at full
    speed (Williams, Waterman, Patterson, "Roofline: an insightful visual performance model", 2009). A part without
    products, or whose time is lost in the noise, has no place there.
    """
    rows = most_threads(parts)
    cells, sizes, names = values(rows, "cell"), values(rows, "size"), list(rows[0]["parts"])
    columns = min(3, len(cells))
    figure = Figure(figsize=(3 * columns + 0.5, 3 * -(-len(cells) // columns) + 1), layout="constrained")
    panels = figure.subplots(-(-len(cells) // columns), columns, squeeze=False, sharex=True, sharey=True)
    peak = max(row["peak_gflops"] for row in rows)
    reach = [1.0, 500.0]
    reached = [part["gflops"] for row in rows for part in row["parts"].values() if part["gflops"]]
    bottom = min(peak / 10, 0.8 * min(reached))
    for axes in panels.flat[len(cells) :]:
        axes.set_visible(False)
    for axes, cell in zip(panels.flat, cells, strict=False):
        axes.plot(reach, [peak, peak], color="black", linewidth=1)
        for name, style in (("memory_bandwidth", "-"), ("cache_bandwidth", ":")):
            slope = rows[0][name] / 1e9
            knee = peak / slope
            axes.plot([reach[0], knee], [reach[0] * slope, peak], color="grey", linestyle=style, linewidth=1)
        for row in rows:
            if row["cell"] != cell:
                continue
            marker = MARKERS[sizes.index(row["size"]) % len(MARKERS)]
            for number, name in enumerate(names):
                part = row["parts"][name]
                if part["gflops"]:
                    axes.plot(part["intensity"], part["gflops"], marker, color=f"C{number}", markersize=5)
            axes.plot(row["intensity"], row["gflops"], marker, color="black", markersize=5)
        axes.set(xscale="log", yscale="log", xlim=reach, ylim=(bottom, 1.4 * peak), title=cell)
        axes.set_xlabel("flops per byte")
        axes.set_ylabel("GFLOP/s")
    marks = [
        *(
            Line2D([], [], marker="o", linestyle="", color=f"C{k}", label=name)
            for k, name in enumerate(names)
        ),
        Line2D([], [], marker="o", linestyle="", color="black", label="whole step"),
        *(
            Line2D([], [], marker=MARKERS[k % len(MARKERS)], linestyle="", color="grey", label=size)
            for k, size in enumerate(sizes)
        ),
        Line2D([], [], color="black", label="peak"),
        Line2D([], [], color="grey", label="memory"),
        Line2D([], [], color="grey", linestyle=":", label="cache"),
    ]
    figure.legend(handles=marks, ncols=4, loc="outside lower center", title=f"threads: {rows[0]['threads']}")
    return figure


def shares(parts: Sequence[Row]) -> Figure:
    """Draw each part's share of a training step's time as stacked bars."""
    rows = most_threads(parts)
    names = list(rows[0]["parts"])
    figure = Figure(figsize=(8, 0.26 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    left = [0.0] * len(rows)
    for name in names:
        taken = [max(0.0, row["parts"][name]["share"]) for row in rows]
        axes.barh(range(len(rows)), taken, left=left, label=name)
        left = [begin + share for begin, share in zip(left, taken, strict=True)]
    axes.set_yticks(range(len(rows)), [f"{row['cell']} {row['size']}" for row in rows])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel=f"share of the time of a training step, threads: {rows[0]['threads']}")
    figure.legend(ncols=3, loc="outside upper center")
    return figure


def training(runs: Sequence[Row]) -> Figure:
    """Draw each run's held-out loss in nats per character over its seconds, a colour for each cell."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    cells = values(runs, "cell")
    for run in runs:
        for library, line, curve in zip(("rondeau", "PyTorch"), ("-", ":"), run["curves"], strict=True):
            seconds, nats = zip(*curve, strict=True)
            name = f"{run['cell'].upper()}, {library}" if run["seed"] == runs[0]["seed"] else None
            axes.plot(seconds, nats, line, color=f"C{cells.index(run['cell'])}", marker=".", label=name)
    axes.set_xlabel("wall time of training in seconds")
    axes.set_ylabel("held-out loss in nats per character")
    axes.legend(frameon=False)
    return figure


def rows_of(folder: Path, table: str) -> list[Row]:
    """Return a table's rows, none if its file is not there."""
    file = folder / f"{table}.json"
    return json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []


def main(arguments: list[str] | None = None) -> None:
    """Draw what there are rows for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="the folder with the rows, a file for each table")
    parser.add_argument("output", type=Path, help="the folder for the plots")
    options = parser.parse_args(arguments)
    tables = ("layers", "loops", "parts", "shakespeare")
    layers, loops, parts, runs = (rows_of(options.data, table) for table in tables)
    drawings: dict[str, Callable[[], Figure]] = {}
    if layers or loops:
        drawings["ratios"] = lambda: ratios(layers, loops)
    if parts:
        drawings["roofline"] = lambda: roofline(parts)
        drawings["parts"] = lambda: shares(parts)
    if runs:
        drawings["training"] = lambda: training(runs)
    if not drawings:
        raise SystemExit(
            f"{options.data} holds none of {', '.join(f'{table}.json' for table in tables)}: "
            "make one with compare_with_torch.py layers --json"
        )
    options.output.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        for name, draw in drawings.items():
            file = options.output / f"{name}.svg"
            draw().savefig(file, metadata={"Date": None})
            print(file)


if __name__ == "__main__":
    main()
