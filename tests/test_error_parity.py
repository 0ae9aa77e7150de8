"""What catches PyTorch's error of a wrong argument catches rondeau's too, as the page for PyTorch's users says."""

import numpy as np
import pytest

from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import functional
from rondeau.tensor import ArgumentTypeError, ArgumentValueError
from rondeau.train import optim

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


class Ours:
    """The namespace that a program reads under rondeau."""

    m, nn, F, optim = rt, nn, functional, optim

    @staticmethod
    def randn(*shape, dtype="float32"):
        return rt.tensor(np.random.default_rng(0).normal(size=shape), dtype=dtype)

    @staticmethod
    def ids(values):
        return rt.tensor(values, dtype="int64")


class Theirs:
    """The same namespace under PyTorch."""

    m, nn, F, optim = torch, torch.nn, torch.nn.functional, torch.optim

    @staticmethod
    def randn(*shape, dtype="float32"):
        return torch.randn(*shape, dtype=getattr(torch, dtype))

    @staticmethod
    def ids(values):
        return torch.tensor(values, dtype=torch.int64)


def _with_gradient(x):
    x.requires_grad_()
    return x


SHAPES = {
    "linear": lambda of: of.nn.Linear(3, 4)(of.randn(2, 5)),
    "linear of one number": lambda of: of.nn.Linear(3, 4)(of.randn(2, 3).sum()),
    "lstm's features": lambda of: of.nn.LSTM(3, 4)(of.randn(5, 2, 7)),
    "lstm's dimensions": lambda of: of.nn.LSTM(3, 4)(of.randn(5, 2, 7, 3)),
    "lstm's state": lambda of: of.nn.LSTM(3, 4)(of.randn(5, 2, 3), (of.randn(1, 9, 4), of.randn(1, 9, 4))),
    "gru's state": lambda of: of.nn.GRU(3, 4)(of.randn(5, 2, 3), of.randn(1, 9, 4)),
    "rnn's state": lambda of: of.nn.RNN(3, 4)(of.randn(5, 2, 3), of.randn(1, 2, 9)),
    "lstm cell": lambda of: of.nn.LSTMCell(3, 4)(of.randn(2, 7)),
    "gru cell": lambda of: of.nn.GRUCell(3, 4)(of.randn(2, 3), of.randn(9, 4)),
    "conv1d": lambda of: of.nn.Conv1d(3, 4, 2)(of.randn(2, 5, 8)),
    "conv2d": lambda of: of.nn.Conv2d(3, 4, 2)(of.randn(2, 5, 8, 8)),
    "max_pool2d": lambda of: of.F.max_pool2d(of.randn(4), 2),
    "batch norm": lambda of: of.nn.BatchNorm1d(3)(of.randn(2, 5)),
    "layer norm": lambda of: of.nn.LayerNorm(3)(of.randn(2, 5)),
    "cross entropy": lambda of: of.F.cross_entropy(of.randn(4, 3), of.ids([0, 1])),
    "nll": lambda of: of.F.nll_loss(of.randn(4, 3), of.ids([0, 1])),
    "bce": lambda of: of.F.binary_cross_entropy_with_logits(of.randn(4), of.randn(3)),
    "broadcast": lambda of: of.randn(2, 3) + of.randn(4),
    "matmul": lambda of: of.randn(2, 3) @ of.randn(4, 2),
    "reshape": lambda of: of.randn(2, 3).reshape(4, 2),
    "view": lambda of: of.randn(2, 3).view(5),
    "expand": lambda of: of.randn(2, 3).expand(4, 3),
    "backward of several numbers": lambda of: _with_gradient(of.randn(3)).backward(),
    "item of several numbers": lambda of: of.randn(3).item(),
}
VALUES = {
    "dropout's probability": lambda of: of.nn.Dropout(1.5),
    "functional dropout's probability": lambda of: of.F.dropout(of.randn(3), 1.5),
    "lstm's dropout": lambda of: of.nn.LSTM(3, 4, 2, dropout=1.5),
    "lstm's hidden size": lambda of: of.nn.LSTM(3, 0),
    "lstm's projection": lambda of: of.nn.LSTM(3, 4, proj_size=4),
    "rnn's nonlinearity": lambda of: of.nn.RNN(3, 4, nonlinearity="sin"),
    "a loss's reduction": lambda of: of.F.mse_loss(of.randn(3), of.randn(3), reduction="average"),
    "an embedding's padding": lambda of: of.F.embedding(of.ids([1]), of.randn(3, 2), padding_idx=7),
    "the scope of a packed length": lambda of: of.nn.utils.rnn.pack_padded_sequence(
        of.randn(5, 2, 3), [5, 0]
    ),
    "unsorted lengths": lambda of: of.nn.utils.rnn.pack_padded_sequence(of.randn(5, 2, 3), [3, 5]),
    "a learning rate": lambda of: of.optim.SGD([_with_gradient(of.randn(3))], lr=-1.0),
}
DTYPES = {
    "linear": lambda of: of.nn.Linear(3, 4)(of.randn(2, 3, dtype="float64")),
    "lstm": lambda of: of.nn.LSTM(3, 4)(of.randn(5, 2, 3, dtype="float64")),
    "gru": lambda of: of.nn.GRU(3, 4)(of.randn(5, 2, 3, dtype="float64")),
    "embedding": lambda of: of.F.embedding(of.randn(2), of.randn(3, 2)),
    "conv2d": lambda of: of.nn.Conv2d(3, 4, 2)(of.randn(2, 3, 8, 8, dtype="float64")),
    "matmul": lambda of: of.randn(2, 3) @ of.randn(3, 2, dtype="float64"),
    "cross entropy": lambda of: of.F.cross_entropy(of.ids([[1, 2]]), of.ids([0])),
    "a gradient of integers": lambda of: _with_gradient(of.ids([1, 2])),
}
INDICES = {
    "embedding": lambda of: of.F.embedding(of.ids([7]), of.randn(3, 2)),
    "a class": lambda of: of.F.cross_entropy(of.randn(1, 3), of.ids([7])),
    "a row": lambda of: of.randn(3, 2)[5],
    "a dimension": lambda of: of.randn(3, 2).sum(5),
}
NAMES = {
    "both names of a dimension": lambda of: of.randn(3, 2).sum(dim=0, axis=0),
    "a device": lambda of: of.m.device("tpu"),
    "a default dtype": lambda of: of.m.set_default_dtype(of.m.int32),
    "a default device": lambda of: of.m.set_default_device("tpu"),
    "a type": lambda of: of.randn(2).type("torch.QuaternionTensor"),
    "a constructor's tensor": lambda of: of.m.LongTensor(of.randn(2)),
    "a constructor's number": lambda of: of.m.FloatTensor(2.5),
    "a constructor's size": lambda of: of.m.LongTensor(-1),
    "a constructor's values": lambda of: of.m.ByteTensor([300]),
    "a Variable of a list": lambda of: of.m.autograd.Variable([1.0]),
    "a Variable of integers": lambda of: of.m.autograd.Variable(of.ids([1]), requires_grad=True),
    "data": lambda of: setattr(of.randn(2), "data", [1.0, 2.0]),
    "an attribute of arrays": lambda of: of.randn(2).data.astype("float64"),
}
CALLS = {f"{kind}: {name}": call for kind, calls in
         (("shape", SHAPES), ("value", VALUES), ("dtype", DTYPES), ("index", INDICES), ("name", NAMES))
         for name, call in calls.items()}  # fmt: skip


def error_of(call, namespace):
    with pytest.raises(Exception) as caught:  # noqa: PT011 (which class it is, is the question)
        call(namespace)
    return caught.value


@pytest.mark.parametrize("name", CALLS)
def test_what_catches_the_error_of_torch_catches_ours(name):
    theirs, ours = error_of(CALLS[name], Theirs), error_of(CALLS[name], Ours)
    # Nobody catches an AssertionError; a kernel that PyTorch lacks for a dtype is a RuntimeError to a program.
    expected = {AssertionError: ValueError, NotImplementedError: RuntimeError}.get(type(theirs), type(theirs))
    if name in ("dtype: lstm", "dtype: gru"):  # the one place where PyTorch calls a dtype a wrong value
        assert expected is ValueError
        expected = TypeError
    assert isinstance(ours, expected), f"PyTorch: {theirs!r}; rondeau: {ours!r}"


@pytest.mark.parametrize("name", SHAPES | {n: c for n, c in VALUES.items() if n != "a learning rate"})
def test_a_wrong_shape_or_value_is_one_class(name):
    assert isinstance(error_of((SHAPES | VALUES)[name], Ours), ArgumentValueError)


@pytest.mark.parametrize("name", DTYPES)
def test_a_wrong_dtype_is_one_class(name):
    assert isinstance(error_of(DTYPES[name], Ours), ArgumentTypeError)
