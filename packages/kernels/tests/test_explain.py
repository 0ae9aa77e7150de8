"""What a cell says of itself."""

from rondeau.kernels.explain import explain
from rondeau.kernels.recurrent.target import source_of


def test_a_cell_is_explained_from_graph_to_source(cells):
    for cell in cells.values():
        text = explain(cell)
        assert text.startswith(
            f"Cell {cell.name}: gates {', '.join(cell.gates)}; states {', '.join(cell.states)}"
        )
        assert str(cell.graph) in text
        for direction in ("forward", "backward"):
            for line in source_of(cell, direction).splitlines():
                assert line.partition("(storage,")[0] in text
        found = [
            text.index(f"{k}. {word}") for k, word in enumerate(("Graph", "Schedule", "Source"), start=1)
        ]
        assert found == sorted(found)


def test_parameters_and_scalars_are_named(cells):
    title = explain(cells["everything"]).splitlines()[0]
    assert title == "Cell everything: gates a, b, c; states h, k; parameters gain, bias; scalars strength"


def test_the_schedule_of_a_gru(cells):
    text = explain(cells["gru"])
    assert "fills a slot for every gate: r, z, n\n" in text
    assert (
        "Recurrent products of the first state h before the step: r, z into the gate's slot; n into a second slot\n"
    ) in text
    assert "Forward leaves in the slots for backward: r: %8 sigmoid; z: %10 sigmoid; n: %13 tanh; " in text
    assert "n (second): %" in text
    assert "products between them" not in text
    assert "passes" not in text


def test_products_of_values_phases_and_carries(cells):
    text = explain(cells["chained"])
    assert "(mixed): c, d into a second slot\n" in text
    assert "(second): a into the gate's slot\n" in text
    assert "Forward runs in 3 phases, with products between them\n" in text
    assert "Backward runs in 3 phases, with products between them\n" in text
    assert "values per unit from pass to pass\n" in text


def test_sums_and_cells_without_products(cells):
    assert "No recurrent products: every unit sees only its own past\n" in explain(cells["alone"])
    assert "Forward makes 5 passes over the units, with sums between them\n" in explain(cells["normalised"])
