"""Graphviz source of recorded graphs."""

import shutil

import pytest

from rondeau import tensor as rt


@pytest.fixture
def end():
    x = rt.ones(2, requires_grad=True)
    w = rt.ones(2, dtype="float64", requires_grad=True)
    return x, w, ((x * w).tanh() + x.exp()).sum()


def test_source(end):
    x, w, y = end
    assert rt.draw_graph(y, names={"x": x, 'the "w"': w}).splitlines() == [
        "digraph {",
        "    rankdir=LR",
        r'    n0 [label="x\nfloat32 (2)" shape=ellipse]',
        r'    n1 [label="the \"w\"\nfloat64 (2)" shape=ellipse]',
        '    n2 [label="to" shape=box]',
        '    n3 [label="mul" shape=box]',
        '    n4 [label="tanh" shape=box]',
        '    n5 [label="exp" shape=box]',
        '    n6 [label="to" shape=box]',
        '    n7 [label="add" shape=box]',
        '    n8 [label="sum" shape=box]',
        "    n0 -> n2",
        "    n2 -> n3",
        "    n1 -> n3",
        "    n3 -> n4",
        "    n0 -> n5",
        "    n5 -> n6",
        "    n4 -> n7",
        "    n6 -> n7",
        "    n7 -> n8",
        "}",
    ]


def test_a_leaf_that_died_and_one_without_a_name():
    y = rt.ones(1, requires_grad=True) * 2
    assert 'label="leaf" shape=ellipse' in rt.draw_graph(y)
    x = rt.ones((), requires_grad=True)
    assert r'label="leaf\nfloat32 ()"' in rt.draw_graph(x)


def test_a_graph_of_100_000_nodes_is_drawn():
    y = x = rt.ones(1, requires_grad=True)
    for _ in range(100_000):
        y = y + 1
    assert rt.draw_graph(y, names={"x": x}).count("->") == 100_000


def test_files(end, tmp_path):
    for suffix in (".dot", ".gv"):
        source = rt.draw_graph(end[2], tmp_path / f"graph{suffix}")
        assert (tmp_path / f"graph{suffix}").read_text() == source + "\n"
    with pytest.raises(ValueError, match=r"ends in \.dot, \.gv or \.svg, got .*graph\.png"):
        rt.draw_graph(end[2], tmp_path / "graph.png")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's program dot is not installed")
def test_svg(end, tmp_path):
    rt.draw_graph(end[2], tmp_path / "graph.svg")
    assert "<svg" in (tmp_path / "graph.svg").read_text()


def test_svg_without_dot(end, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match=r"needs the program 'dot' of Graphviz.*\.dot file"):
        rt.draw_graph(end[2], tmp_path / "graph.svg")


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="no graph to draw"):
        rt.draw_graph(rt.ones(1))
