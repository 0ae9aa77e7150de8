"""The worked numbers of programs 12, 13, 15 and 20, which gallery pages show and no package's tests hold."""

import pytest

from comparing import assert_close
from rondeau import nn, train
from rondeau import tensor as rt


def with_weights(module, *weights):
    for parameter, weight in zip(module.parameters(), weights, strict=True):
        parameter.data[...] = weight
    return module


def test_program_12_the_gradient_of_a_line_through_three_points():
    x = rt.tensor([[1.0], [2.0], [3.0]], dtype="float64")
    line = with_weights(nn.Linear(1, 1, dtype="float64"), 0, 0)
    nn.MSELoss()(line(x), x).backward()
    assert line.weight.grad.item() == pytest.approx(-28 / 3, rel=1e-14)
    assert line.bias.grad.item() == pytest.approx(-4, rel=1e-14)


def test_program_12_one_step_on_two_samples():
    X, y = rt.tensor([[1.0, 2.0], [3.0, 4.0]], dtype="float64"), rt.tensor([[10.0], [20.0]], dtype="float64")
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with_weights(network, [[1, -1], [2, 0]], [0.5, -0.5], [[1, 2]], 0)
    optimizer = train.optim.SGD(network.parameters(), lr=0.01)
    loss = nn.MSELoss()(network(X), y) / 2
    loss.backward()
    assert loss.item() == 32.5
    gradients = [parameter.grad.tolist() for parameter in network.parameters()]
    assert gradients == [[[0, 0], [-34, -50]], [0, -16], [[0, -30]], [-8]]
    optimizer.step()
    stepped = [[1, -1, 2.34, 0.5], [0.5, -0.34], [1, 2.3], [0.08]]
    for parameter, expected in zip(network.parameters(), stepped, strict=True):
        assert_close(parameter.detach().numpy().ravel(), expected, rtol=1e-12)
    assert round((nn.MSELoss()(network(X), y) / 2).item(), 6) == 2.280584


def test_program_13_a_sum_at_one_rate_is_the_mean_at_n_times_the_rate():
    x, y = (
        rt.tensor([[1.0], [2.0], [3.0]], dtype="float64"),
        rt.tensor([[2.0], [4.0], [6.0]], dtype="float64"),
    )
    by_sum, by_mean = (with_weights(nn.Linear(1, 1, dtype="float64"), 0.3, -0.2) for _ in range(2))
    for line, reduction, rate in ((by_sum, "sum", 0.01), (by_mean, "mean", 0.03)):
        optimizer = train.optim.SGD(line.parameters(), lr=rate)
        for _ in range(1000):
            optimizer.zero_grad()
            nn.MSELoss(reduction=reduction)(line(x), y).backward()
            optimizer.step()
    for one, other in zip(by_sum.parameters(), by_mean.parameters(), strict=True):
        assert_close(one, other, atol=1e-12)
    assert by_sum(rt.tensor([[4.0]], dtype="float64")).item() == pytest.approx(8, abs=0.01)


@pytest.mark.parametrize(("kernel", "rows"), [(1, 5), (2, 6), (3, 5), (4, 6), (5, 5)])
def test_program_15_half_the_kernel_as_padding_keeps_the_size_under_odd_kernels_alone(kernel, rows):
    assert nn.Conv2d(1, 1, kernel, padding=kernel // 2)(rt.zeros(1, 1, 5, 5)).shape == (1, 1, rows, rows)


def test_program_20_candies():
    p, q = rt.tensor([0.6, 0.2, 0.2], dtype="float64"), rt.tensor([0.5, 0.3, 0.2], dtype="float64")
    cost, least = (nn.functional.cross_entropy(belief.log(), p).item() for belief in (q, p))
    divergence = nn.KLDivLoss(reduction="sum")(q.log(), p).item()
    assert [round(value, 6) for value in (cost, least, divergence)] == [0.978570, 0.950271, 0.028300]
    assert round(nn.functional.cross_entropy(rt.tensor([0.8, 0.2]).log(), rt.tensor(0)).item(), 6) == 0.223144


def test_program_20_likeness_of_three_words():
    vectors = rt.tensor([[0.7, 0.1, 0.9], [0.3, 0.9, 0.4], [0.6, 0.2, 0.8]], dtype="float64")
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    apple, technology, company = unit
    found = [
        round(a.dot(b).item(), 4) for a, b in ((apple, company), (apple, technology), (technology, company))
    ]
    assert found == [0.9938, 0.5601, 0.6476]
