"""Every write of the library into a tensor's memory is a change in place, and whatever backward reads notices it."""

import inspect

import numpy as np
import pytest

from rondeau import nn, train
from rondeau import tensor as rt

F = nn.functional

# --------------------------------------------------------------------------------------------- what writes


def noticed(write, *tensors):
    """Assert that a backward recorded before `write` is refused for each of the tensors."""
    ends = [(tensor * rt.ones_like(tensor, requires_grad=True)).sum() for tensor in tensors]
    before = [tensor.detach().numpy().copy() for tensor in tensors]
    write()
    for tensor, end, values in zip(tensors, ends, before, strict=True):
        assert values.dtype != tensor.dtype or values.tobytes() != tensor.detach().numpy().tobytes(), (
            "nothing was written"
        )
        with pytest.raises(RuntimeError, match="changed in place after it was used"):
            end.backward()


OPTIMISERS = [
    optimiser
    for optimiser in (getattr(train.optim, name) for name in train.optim.__all__)
    if inspect.isclass(optimiser) and not inspect.isabstract(optimiser)
]


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda optimiser: optimiser.__name__)
@pytest.mark.parametrize("layout", ["C", "F"])
def test_an_optimiser_s_step(optimiser, layout):
    ones = rt.ones(3, 2) if layout == "C" else rt.ones(2, 3).T
    w = rt.Tensor(ones, requires_grad=True)
    w.grad = rt.ones(3, 2)
    noticed(optimiser([w], lr=0.1).step, w)


def test_a_step_of_an_optimiser_of_one_s_own():
    class Descent(train.optim.Optimizer):
        def check_options(self, group):
            pass

        def update(self, data, gradient, group, state):
            data -= gradient

    w = rt.ones(2, requires_grad=True)
    w.grad = rt.ones(2)
    noticed(Descent([w], {}).step, w)


def test_old_activations_and_new_weights_as_torch():
    torch = pytest.importorskip("torch")
    for m, layers, optim in ((rt, nn, train.optim), (torch, torch.nn, torch.optim)):
        layer = layers.Linear(2, 2, bias=False)
        x = m.ones(1, 2, requires_grad=True)
        y = layer(x)
        layer.weight.sum().backward()
        optim.SGD(layer.parameters(), lr=1.0).step()
        with pytest.raises(RuntimeError, match="changed in place" if m is rt else "inplace operation"):
            y.sum().backward()


INITIALISERS = [name for name in nn.init.__all__ if name.endswith("_") and name != "forget_bias_"]


@pytest.mark.parametrize("name", INITIALISERS)
def test_an_initialiser(name):
    w = rt.full((3, 3), 9.0)
    arguments = (0.5,) if name == "constant_" else ()
    noticed(lambda: getattr(nn.init, name)(w, *arguments), w)


def test_forget_bias():
    layer = nn.LSTM(2, 3)
    noticed(lambda: nn.init.forget_bias_(layer), layer.bias_ih_l0, layer.bias_hh_l0)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(2, 3),
        nn.Embedding(4, 3, padding_idx=1),
        nn.Conv1d(2, 3, 2),
        nn.LSTM(2, 3),
        nn.GRUCell(2, 3),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_new_initial_values(layer):
    noticed(layer.reset_parameters, *layer.parameters())


def test_loaded_weights(tmp_path):
    layer, other = nn.Linear(2, 3), nn.Linear(2, 3)
    noticed(lambda: layer.load_state_dict(other.state_dict()), layer.weight, layer.bias)
    nn.save_safetensors(nn.Linear(2, 3).state_dict(), tmp_path / "weights.safetensors")
    noticed(lambda: layer.load_state_dict(tmp_path / "weights.safetensors"), layer.weight, layer.bias)


def test_weights_in_another_dtype():
    layer = nn.Linear(2, 3)
    noticed(layer.double, layer.weight, layer.bias)
    noticed(layer.float, layer.weight, layer.bias)


def test_vector_to_parameters():
    layer = nn.Linear(1, 2)
    noticed(lambda: nn.utils.vector_to_parameters(rt.zeros(4), layer.parameters()), *layer.parameters())


@pytest.mark.parametrize(
    "clip",
    [lambda w: nn.utils.clip_grad_norm_(w, 0.5), lambda w: nn.utils.clip_grad_value_(w, 0.5)],
    ids=["norm", "value"],
)
def test_clipped_gradients(clip):
    w = rt.ones(3, requires_grad=True)
    w.grad = rt.full((3,), 2.0)
    noticed(lambda: clip(w), w.grad)


def test_accumulated_gradients():
    w = rt.ones(3, requires_grad=True)
    w.sum().backward()
    noticed(w.sum().backward, w.grad)


def test_running_statistics():
    layer = nn.BatchNorm1d(2)
    x = rt.tensor([[1.0, 2.0], [3.0, 5.0]])
    noticed(lambda: layer(x), layer.running_mean, layer.running_var)
    noticed(layer.reset_parameters, layer.running_mean, layer.running_var)


def test_writing_to_data_by_hand_is_none():
    """As PyTorch's `.data`: the update line of the texts."""
    w = rt.tensor([1.0, 2.0], requires_grad=True)
    y = (w * w).sum()
    w.grad = rt.ones(2)
    w.data -= 1.0 * w.grad
    y.backward()
    assert w.grad.tolist() == [1, 3]


def test_tensors_over_the_memory_of_a_parameter():
    layer = nn.Linear(2, 2)
    x = rt.zeros(3)
    for other, write in (
        (layer.state_dict()["weight"], layer.reset_parameters),
        (layer.weight.detach(), layer.reset_parameters),
        (nn.Parameter(x), lambda: x.add_(1)),
        (x, lambda: nn.init.zeros_(nn.Parameter(x))),
    ):
        noticed(write, other)
    table = rt.zeros(3, 2)
    noticed(lambda: table.add_(1), nn.Embedding.from_pretrained(table).weight)


# ------------------------------------------------------------------------------------------ what backward reads


def floats(random, *shape):
    return rt.Tensor(random.standard_normal(shape), requires_grad=True)


def constants(random, *shape):
    return rt.Tensor(np.abs(random.standard_normal(shape)) + 0.5)


def ids(random, below, *shape):
    return rt.Tensor(random.integers(0, below, shape))


def mask(random, *shape):
    return rt.Tensor(random.random(shape) > 0.5)


def written(x, index, value):
    y = x * 1
    y[index] = value
    return y


#: The tensors of a call, as functions of a generator, and the call.
READS = {
    "max": ([(floats, 3, 4)], lambda x: tuple(x.max(1))),
    "min": ([(floats, 3, 4)], lambda x: tuple(x.min(0, keepdim=True))),
    "sort": ([(floats, 3, 4)], lambda x: tuple(x.sort(1))),
    "topk": ([(floats, 3, 4)], lambda x: tuple(x.topk(2, 1))),
    "where": ([(mask, 3, 4), (floats, 3, 4), (floats, 4)], rt.where),
    "masked_fill": ([(floats, 3, 4), (mask, 3, 4), (floats,)], rt.masked_fill),
    "masked_select": ([(floats, 3, 4), (mask, 3, 4)], rt.masked_select),
    "clamp": ([(floats, 3, 4), (constants, 4), (floats, 3, 4)], rt.clamp),
    "gather": ([(floats, 3, 4), (ids, 4, 3, 2)], lambda x, i: x.gather(1, i)),
    "index_select": ([(floats, 3, 4), (ids, 3, 5)], lambda x, i: rt.index_select(x, 0, i)),
    "scatter_add": ([(floats, 3, 4), (ids, 4, 3, 2), (floats, 3, 2)], lambda x, i, s: x.scatter_add(1, i, s)),
    "index_add": ([(floats, 3, 4), (ids, 3, 5), (floats, 5, 4)], lambda x, i, s: rt.index_add(x, 0, i, s)),
    "getitem": ([(floats, 3, 4), (ids, 3, 5), (ids, 4, 5)], lambda x, i, j: x[i, j]),
    "getitem of a mask": ([(floats, 3, 4), (mask, 3, 4)], lambda x, at: x[at]),
    "setitem": ([(floats, 3, 4), (ids, 3, 2), (floats, 2, 4)], written),
    "setitem of a mask": ([(floats, 3, 4), (mask, 3, 4), (floats,)], written),
    "einsum": ([(floats, 3, 4), (floats, 4, 2)], lambda a, b: rt.einsum("ij,jk->ik", a, b)),
    "matmul": ([(floats, 2, 3, 4), (floats, 4, 2)], rt.matmul),
    "linear": ([(floats, 3, 4), (floats, 2, 4), (floats, 2)], F.linear),
    "embedding": ([(ids, 5, 3, 2), (floats, 5, 4)], F.embedding),
    "cross_entropy": (
        [(floats, 3, 4), (ids, 4, 3), (constants, 4)],
        lambda x, y, w: F.cross_entropy(x, y, weight=w, label_smoothing=0.1),
    ),
    "nll_loss": ([(floats, 3, 4), (ids, 4, 3), (constants, 4)], lambda x, y, w: F.nll_loss(x, y, weight=w)),
    "binary_cross_entropy": (
        [(floats, 3, 4), (constants, 3, 4), (constants, 3, 4)],
        lambda x, y, w: F.binary_cross_entropy(x.sigmoid(), y.sigmoid(), weight=w),
    ),
    "binary_cross_entropy_with_logits": (
        [(floats, 3, 4), (constants, 3, 4), (constants, 3, 4), (constants, 4)],
        lambda x, y, w, p: F.binary_cross_entropy_with_logits(x, y, weight=w, pos_weight=p),
    ),
    "mse_loss": ([(floats, 3, 4), (floats, 3, 4)], F.mse_loss),
    "l1_loss": ([(floats, 3, 4), (floats, 3, 4)], F.l1_loss),
    "smooth_l1_loss": ([(floats, 3, 4), (floats, 3, 4)], F.smooth_l1_loss),
    "kl_div": ([(floats, 3, 4), (floats, 3, 4)], lambda x, y: F.kl_div(x, y, reduction="sum")),
    "layer_norm": ([(floats, 3, 4), (floats, 4), (floats, 4)], lambda x, w, b: F.layer_norm(x, (4,), w, b)),
    "batch_norm": (
        [(floats, 5, 4), (constants, 4), (constants, 4), (floats, 4), (floats, 4)],
        lambda x, m, v, w, b: F.batch_norm(x, m, v, w, b, training=True),
    ),
    "batch_norm in evaluation": (
        [(floats, 5, 4), (constants, 4), (constants, 4), (floats, 4), (floats, 4)],
        F.batch_norm,
    ),
    "conv1d": ([(floats, 2, 3, 8), (floats, 4, 3, 3), (floats, 4)], F.conv1d),
    "conv2d": ([(floats, 2, 3, 6, 6), (floats, 4, 3, 3, 3), (floats, 4)], F.conv2d),
    "max_pool2d": ([(floats, 2, 3, 6, 6)], lambda x: F.max_pool2d(x, 2, return_indices=True)),
    "avg_pool2d": ([(floats, 2, 3, 6, 6)], lambda x: F.avg_pool2d(x, 2)),
    "dropout": ([(floats, 30, 4)], F.dropout),
    "packed": (
        [(floats, 3, 2, 4)],
        lambda x: nn.utils.rnn.pad_packed_sequence(nn.utils.rnn.pack_padded_sequence(x, [3, 2]))[0],
    ),
}


def recurrent(kind, **options):
    layer = kind(4, 5, dtype=rt.float64, **options)
    states = [(floats, (2 if options else 1), 3, 5)] * (2 if kind is nn.LSTM else 1)

    def call(x, *rest):
        state = rest[-len(states) :]
        output, final = layer(x, state if kind is nn.LSTM else state[0])
        return output, *(final if kind is nn.LSTM else (final,))

    return [(floats, 6, 3, 4), *[lambda _random, p=p: p for p in layer.parameters()], *states], call


READS |= {
    kind.__name__ + name: recurrent(kind, **options)
    for kind in (nn.RNN, nn.GRU, nn.LSTM)
    for name, options in (("", {}), (" in two directions", {"bidirectional": True}))
}


def change(tensor):
    with rt.no_grad():
        kind = tensor.dtype.kind
        if kind == "f":
            tensor.mul_(-3.7).add_(0.1)
        else:
            tensor.copy_(~tensor if kind == "b" else (tensor == 0).long())


def gradients(name, changed, create_graph):
    """Return how many tensors a call took and gave, and the gradients after the change of one; None if refused."""
    makers, call = READS[name]
    random = np.random.default_rng(0)
    rt.manual_seed(0)
    given = [maker(random) if callable(maker) else maker[0](random, *maker[1:]) for maker in makers]
    before = [tensor.detach().numpy().copy() for tensor in given]
    returned = call(*given)
    returned = returned if isinstance(returned, tuple) else (returned,)
    tensors = [*given, *returned]
    ends = [tensor for tensor in returned if tensor.requires_grad]
    cotangents = [rt.Tensor(random.standard_normal(end.shape)) for end in ends]
    leaves = [tensor for tensor in given if tensor.requires_grad]
    try:
        if changed is not None:
            change(tensors[changed])
        found = rt.grad(ends, leaves, cotangents, create_graph=create_graph)
    except RuntimeError as error:
        if "changed in place" not in str(error):
            raise
        return len(tensors), None
    finally:
        for tensor, values in zip(given, before, strict=True):
            tensor.data[...] = values  # parameters of a layer serve every call
    return len(tensors), [g.detach().numpy().tobytes() for g in found]


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_change_of_what_a_call_took_or_gave_is_noticed_or_harmless(name, create_graph):
    count, right = gradients(name, None, create_graph)
    refused = 0
    for changed in range(count):
        _, found = gradients(name, changed, create_graph)
        refused += found is None
        assert found in (None, right), f"another gradient after tensor {changed} of {count} was changed"
    assert refused < count, "nothing could be changed: then this would show nothing"
