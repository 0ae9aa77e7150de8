"""`plot_graph`: what stands in the picture and where."""

import itertools

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

from rondeau import tensor as rt


@pytest.fixture(autouse=True)
def _no_window():
    matplotlib.use("Agg")
    yield
    plt.close("all")


def labels_and_places(ax):
    found = [text for text in ax.texts if text.get_text()]
    return [text.get_text() for text in found], [text.get_position() for text in found]


def test_single_numbers_show_their_value_and_gradient_and_others_their_shape():
    a, b = rt.tensor(3.0, requires_grad=True), rt.ones(2, requires_grad=True)
    out = (a * b).sum()
    out.backward(retain_graph=True)
    labels, _ = labels_and_places(rt.plot_graph(out, names={"a": a, "b": b}))
    assert set(labels) == {"a = 3\ngrad 2", "b\nfloat32 (2)", "mul", "sum"}


def ends(ax):
    """Return where the arrows begin and end, in pixels of the drawn picture."""
    ax.figure.canvas.draw()
    arrows = [text.arrow_patch for text in ax.texts if not text.get_text()]
    assert arrows
    paths = [arrow.get_transform().transform_path(arrow.get_path()).vertices for arrow in arrows]
    # The shaft comes before the head, whose outermost point is the tip.
    return [(path[0], path[path[:, 0].argmax()]) for path in paths]


def test_arrows_begin_and_end_at_the_boxes_however_wide_these_are():
    x, weight = rt.ones(1, requires_grad=True), rt.ones(1, requires_grad=True)
    out = (x * weight * 2).exp()
    ax = rt.plot_graph(out, names={"x": x, "a_weight_with_a_long_name": weight})
    arrows = ends(ax)
    boxes = [text.get_bbox_patch().get_window_extent() for text in ax.texts if text.get_text()]
    for tail, tip in arrows:
        assert min(np.hypot(tail[0] - box.x1, tail[1] - (box.y0 + box.y1) / 2) for box in boxes) < 4
        assert min(np.hypot(tip[0] - box.x0, tip[1] - (box.y0 + box.y1) / 2) for box in boxes) < 4
        assert tip[0] - tail[0] > 10


def test_the_first_of_two_leaves_is_on_top():
    x, y = rt.ones(1, requires_grad=True), rt.ones(1, requires_grad=True)
    ax = rt.plot_graph(x + y, names={"x": x, "y": y})
    ax.figure.canvas.draw()
    tops = {text.get_text()[0]: text.get_window_extent().y1 for text in ax.texts if text.get_text()}
    assert tops["x"] > tops["y"]


def test_edges_run_to_the_right_and_no_two_nodes_share_a_place():
    a, b = (rt.tensor(v, requires_grad=True) for v in (-4.0, 2.0))
    c = a + b
    d = a * b + b**3
    for _ in range(3):
        c = c + (c + (-a)).relu()
        d = d + d * 2 + (b - a)
    ax = rt.plot_graph((c - d) ** 2)
    _, places = labels_and_places(ax)
    assert len({(round(x, 3), round(y, 3)) for x, y in places}) == len(places)
    tails, tips = zip(*ends(ax), strict=True)
    assert all(tail[0] < tip[0] for tail, tip in zip(tails, tips, strict=True))
    for x in {x for x, _ in places}:
        heights = sorted(y for at, y in places if at == x)
        assert all(high - low > 0.99 for low, high in itertools.pairwise(heights))


def test_edges_do_not_run_behind_boxes_that_they_have_nothing_to_do_with():
    weight = rt.tensor(0.8, requires_grad=True)
    state = rt.tensor(0.5)
    for _ in range(3):
        state = (weight * state + 1).tanh()
    ax = rt.plot_graph(state, names={"w": weight})
    ax.figure.canvas.draw()
    boxes = [text.get_bbox_patch().get_window_extent() for text in ax.texts if text.get_text()]
    arrows = [text.arrow_patch for text in ax.texts if not text.get_text()]
    for arrow in arrows:
        # What is filled is a head; the shaft is the longest piece of the path.
        path = arrow.get_transform().transform_path(arrow.get_path())
        line = max(path.to_polygons(closed_only=False), key=lambda piece: np.ptp(piece[:, 0]))
        line = np.concatenate([np.linspace(start, end, 50) for start, end in itertools.pairwise(line)])
        met = [box for box in boxes if any(box.contains(x, y) for x, y in line)]
        assert len(met) <= 2
        assert all(box.x1 < line[:, 0].min() + 5 or box.x0 > line[:, 0].max() - 5 for box in met)


def test_a_tensor_used_twice_by_one_operation_has_two_edges():
    x = rt.ones(2, requires_grad=True)
    arrows = [text for text in rt.plot_graph(x * x).texts if not text.get_text()]
    bends = {arrow.arrow_patch.get_connectionstyle().rad for arrow in arrows}
    assert len(arrows) == len(bends) == 2


def test_it_draws_where_it_is_told_and_needs_a_graph():
    _, ax = plt.subplots()
    assert rt.plot_graph(rt.ones(1, requires_grad=True) * 2, ax) is ax
    with pytest.raises(ValueError, match="there is no graph to draw"):
        rt.plot_graph(rt.ones(1))
