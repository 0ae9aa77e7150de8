"""Training loops as older PyTorch programs write them, run by both libraries from the same numbers."""

from types import SimpleNamespace

import numpy as np
import pytest

from comparing import assert_close
from rondeau import nn
from rondeau import tensor as rt

torch = pytest.importorskip("torch")

OURS = SimpleNamespace(m=rt, nn=nn, Variable=rt.autograd.Variable)
THEIRS = SimpleNamespace(m=torch, nn=torch.nn, Variable=torch.autograd.Variable)


def numbers(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def by_hand(t):
    """Parameters without a module: in place under no_grad, and gradients that are zeroed in place."""
    m = t.m
    w, b = m.tensor(numbers(3, 1), requires_grad=True), m.zeros(1, dtype=m.double, requires_grad=True)
    x, y = m.tensor(numbers(8, 3)), m.tensor(numbers(8, 1))
    for _ in range(3):
        ((m.matmul(x, w) + b - y) ** 2).sum(axis=0).mean().backward()
        with m.no_grad():
            for p in (w, b):
                p -= 0.03 * p.grad / len(x)
                p.grad.zero_()
    return w, b


def through_data(t):
    """The same through ``.data``, in the ways that programs write it."""
    m = t.m
    w = m.tensor(numbers(3, 2), requires_grad=True)
    x = m.tensor(numbers(5, 3))
    for step in range(4):
        (x @ w).tanh().pow(2).sum().backward()
        gradient = w.grad.data
        if step == 0:
            w.data -= 0.1 * gradient
        elif step == 1:
            w.data.add_(gradient, alpha=-0.1)
        elif step == 2:
            w.data = w.data - 0.1 * gradient
        else:
            w.data.mul_(1 - 0.1 * 0.01).sub_(0.1 * gradient)
        w.grad.data.zero_()
        w.data.clamp_(-2, 2)
    return w, w.data.norm()


def recurrent_classifier(t):
    """A recurrent net of linear layers over one-hot characters, its hidden state cut between the pieces."""
    m, Variable = t.m, t.Variable

    class Net(t.nn.Module):
        def __init__(self, inputs, hidden, outputs):
            super().__init__()
            self.hidden = hidden
            self.to_hidden = t.nn.Linear(inputs + hidden, hidden, dtype=m.double)
            self.to_output = t.nn.Linear(hidden, outputs, dtype=m.double)

        def forward(self, x, h):
            h = m.tanh(self.to_hidden(m.cat((x, h), 1)))
            return self.to_output(h), h

    net, loss_of = Net(5, 4, 3), t.nn.CrossEntropyLoss()
    for parameter in net.parameters():
        parameter.data.copy_(m.tensor(0.5 * numbers(*parameter.shape)))
    net.to_output.bias.data.fill_(0)
    losses = []
    hidden = Variable(m.zeros(1, net.hidden).type(m.DoubleTensor))
    for piece, target in (([0, 3, 1], 2), ([4, 4, 2], 0)):
        hidden = Variable(hidden.data)
        for letter in piece:
            line = m.zeros(1, 5, dtype=m.double)
            line[0][letter] = 1
            output, hidden = net(Variable(line), hidden)
        loss = loss_of(output, Variable(m.LongTensor([target])))
        net.zero_grad()
        loss.backward()
        for p in net.parameters():
            p.data.add_(p.grad.data, alpha=-0.2)
        losses.append(loss.item())
        best, place = output.data.topk(1)
    return *net.parameters(), best, place, m.tensor(losses, dtype=m.double)


def embedding_by_type(t):
    """Older constructors and conversions, and a device from a string."""
    m = t.m
    device = m.device("cpu")
    table = t.nn.Embedding(4, 2).to(device)
    table.weight.data = m.FloatTensor(numbers(4, 2).tolist())
    ids = m.LongTensor([[0, 3], [1, 1]]).to(device, non_blocking=True)
    mask = (ids > 0).float()
    with m.inference_mode():
        total = (table(ids) * mask.unsqueeze(-1)).sum(dim=1, keepdim=True).double()
    assert total.device.type == ids.device.type == "cpu"
    return total, mask.type(m.long), ids.int(), total.type("torch.FloatTensor"), m.Tensor([1, 2])


def averaged(t):
    """Running averages of weights, kept beside them and exchanged for them."""
    m = t.m
    layer = t.nn.Linear(3, 1)
    layer.weight.data[:] = m.tensor(numbers(1, 3), dtype=m.float)
    layer.bias.data.zero_()
    average = [p.data.clone() for p in layer.parameters()]
    for step in range(3):
        for p, a in zip(layer.parameters(), average, strict=True):
            p.data += 0.5**step
            a.mul_(0.9).add_(p.data, alpha=0.1)
    for p, a in zip(layer.parameters(), average, strict=True):
        p.data, a.data = a.data, p.data
    return *layer.parameters(), *average


@pytest.mark.parametrize(
    "program", [by_hand, through_data, recurrent_classifier, embedding_by_type, averaged]
)
def test_programs(program):
    ours, theirs = program(OURS), program(THEIRS)
    assert len(ours) == len(theirs)
    for mine, its in zip(ours, theirs, strict=True):
        mine, its = mine.detach().numpy(), its.detach().numpy()
        assert (mine.dtype, mine.shape) == (its.dtype, its.shape)
        assert_close(mine, its, rtol=1e-6 if mine.dtype == np.float32 else 1e-12)
