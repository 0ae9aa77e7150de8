import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import functional as F  # noqa: N812 - the usual name


@pytest.mark.parametrize("padding_idx", [None, 0, 3, -1])
@pytest.mark.parametrize("shape", [(), (1,), (50,), (4, 7), (2, 3, 4), (0,), (3, 0)])
def test_agrees_with_torch(close, torch, dtype, shape, padding_idx):
    rng = np.random.default_rng(7)
    table = rng.standard_normal((9, 5)).astype(dtype)
    ids = rng.integers(0, 9, shape)
    cotangent = rng.standard_normal((*shape, 5)).astype(dtype)
    ours, theirs = (
        rt.tensor(table.copy(), requires_grad=True),
        torch.from_numpy(table.copy()).requires_grad_(),
    )
    result = F.embedding(rt.as_tensor(ids), ours, padding_idx)
    expected = torch.nn.functional.embedding(torch.from_numpy(np.asarray(ids)), theirs, padding_idx)
    close(result.detach().numpy(), expected.detach().numpy(), "result")
    result.backward(rt.as_tensor(cotangent))
    expected.backward(torch.from_numpy(cotangent))
    close(ours.grad.numpy(), theirs.grad.numpy(), "gradient")


@pytest.mark.parametrize("padding_idx", [None, 2])
def test_first_and_second_derivatives_by_central_differences(padding_idx):
    ids = rt.tensor([0, 2, 2, 1, 0, 2])
    table = rt.tensor(np.random.default_rng(0).standard_normal((4, 3)), requires_grad=True)
    if padding_idx is None:
        assert rt.gradcheck(lambda table: F.embedding(ids, table), [table])
    assert rt.gradgradcheck(lambda table: F.embedding(ids, table, padding_idx).tanh(), [table])


def test_gradient_adds_up_where_an_id_repeats():
    table = rt.zeros(3, 2, requires_grad=True)
    F.embedding(rt.tensor([2, 0, 2]), table).backward(rt.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]]))
    assert table.grad.tolist() == [[3.0, 4.0], [0.0, 0.0], [11.0, 22.0]]


@pytest.mark.host_only("a GPU adds in another order")
def test_gradient_is_the_plain_sum_in_ascending_order():
    rng = np.random.default_rng(3)
    ids, rows = rng.integers(0, 11, 3000), rng.standard_normal((3000, 33)).astype(np.float32)
    table = rt.zeros(11, 33, requires_grad=True)
    F.embedding(rt.as_tensor(ids), table).backward(rt.as_tensor(rows))
    expected = np.zeros((11, 33), np.float32)
    for at, row in zip(ids, rows, strict=True):
        expected[at] += row
    assert_same_bits(table.grad, expected)


def test_padding_starts_as_zeros_and_stays():
    layer = nn.Embedding(5, 3, padding_idx=-2)
    assert layer.padding_idx == 3
    assert layer.weight.tolist()[3] == [0.0, 0.0, 0.0]
    layer(rt.tensor([3, 3, 1])).sum().backward()
    assert layer.weight.grad.tolist()[3] == [0.0, 0.0, 0.0]
    assert layer.weight.grad.tolist()[1] == [1.0, 1.0, 1.0]


def test_state_dict_of_torch(torch):
    theirs = torch.nn.Embedding(4, 2, padding_idx=0)
    ours = nn.Embedding(4, 2, padding_idx=0)
    ours.load_state_dict(theirs.state_dict())
    ids = [[0, 3], [1, 1]]
    assert ours(rt.tensor(ids)).tolist() == theirs(torch.tensor(ids)).tolist()


def test_initial_values_are_standard_normal():
    rt.manual_seed(1)
    values = nn.Embedding(300, 100).weight.detach().numpy()
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02


def test_from_pretrained():
    table = rt.tensor([[1.0, 2.0], [3.0, 4.0]])
    frozen = nn.Embedding.from_pretrained(table)
    assert not frozen.weight.requires_grad
    assert frozen(rt.tensor([1])).tolist() == [[3.0, 4.0]]
    assert nn.Embedding.from_pretrained(table, freeze=False).weight.requires_grad
    with pytest.raises(ValueError, match=r"shape \(num_embeddings, embedding_dim\), got \(3,\)"):
        nn.Embedding.from_pretrained(rt.ones(3))


@pytest.mark.host_only("ids are arrays of NumPy's")
def test_numpy_ids_and_narrow_integers():
    layer = nn.Embedding(4, 2)
    ids = np.array([1, 3])
    assert layer(ids).tolist() == layer(rt.as_tensor(ids)).tolist() == layer(ids.astype(np.uint8)).tolist()


@pytest.mark.parametrize(("ids", "wrong"), [([0, 5], 5), ([-1], -1), ([2, 9, 1], 9)])
def test_ids_outside_the_table(ids, wrong):
    with pytest.raises(IndexError, match=f"id {wrong} is out of range: there are 5 rows, 0 to 4"):
        nn.Embedding(5, 2)(rt.tensor(ids)).tolist()  # on a GPU, an error when something is read


def test_float_ids_are_refused():
    with pytest.raises(TypeError, match=r"ids must be integers, got float32; use ids.long\(\)"):
        nn.Embedding(5, 2)(rt.tensor([1.0]))


def test_table_of_half_precision():
    with pytest.raises(TypeError, match="weight must be float32 or float64, got float16"):
        F.embedding(rt.tensor([0]), rt.ones(2, 2, dtype="float16"))


def test_padding_outside_the_table():
    with pytest.raises(ValueError, match="padding_idx 5 is out of range for an embedding of 5 rows"):
        nn.Embedding(5, 2, padding_idx=5)


def test_table_that_is_no_matrix():
    with pytest.raises(ValueError, match=r"weight must have shape \(V, E\), got \(3,\)"):
        F.embedding(rt.tensor([0]), rt.ones(3))


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
def test_one_hot_agrees_with_torch(torch, shape):
    classes = np.random.default_rng(0).integers(0, 6, shape)
    ours = F.one_hot(rt.as_tensor(classes), 6)
    theirs = torch.nn.functional.one_hot(torch.from_numpy(np.asarray(classes)), 6)
    assert ours.dtype == np.int64
    assert_same_bits(ours, theirs)


def test_one_hot_finds_the_number_of_classes():
    assert F.one_hot(rt.tensor([1, 2])).tolist() == [[0, 1, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match="pass num_classes"):
        F.one_hot(rt.as_tensor(np.zeros(0, np.int64)))
    with pytest.raises(IndexError, match="id 3 is out of range: there are 3 rows"):
        F.one_hot(rt.tensor([3]), 3).tolist()


def test_repr():
    assert repr(nn.Embedding(3, 4)) == "Embedding(3, 4)"
    assert repr(nn.Embedding(3, 4, padding_idx=1)) == "Embedding(3, 4, padding_idx=1)"


@pytest.mark.host_only("ids are an array of NumPy's")
def test_backward_uses_the_ids_that_forward_was_given():
    table = rt.tensor(np.zeros((3, 2)), requires_grad=True)
    ids = np.array([0, 2, 2])
    rows = F.embedding(ids, table)
    ids[:] = 10**12
    rows.sum().backward()
    assert table.grad.tolist() == [[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]
