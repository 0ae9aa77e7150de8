"""`plot_graph`: what stands in the picture and where."""

import itertools

import matplotlib
import matplotlib.pyplot as plt
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
    arrows = [text for text in ax.texts if not text.get_text()]
    assert arrows
    assert all(arrow.xyann[0] < arrow.xy[0] for arrow in arrows)
    for x in {x for x, _ in places}:
        heights = sorted(y for at, y in places if at == x)
        assert all(high - low > 0.99 for low, high in itertools.pairwise(heights))


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
