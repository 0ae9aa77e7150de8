"""`orthogonal`, `weight_norm` and `spectral_norm` against PyTorch's, on recurrent layers and others."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comparing import assert_close, assert_same_bits
from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.nn import cell_math as m
from rondeau.nn.utils import parametrizations, parametrize
from rondeau.train import optim

torch = pytest.importorskip("torch")
theirs_of = torch.nn.utils.parametrizations

RECURRENT = {
    "LSTM": ((3, 5), {"num_layers": 2, "bidirectional": True, "proj_size": 2}),
    "GRU": ((3, 4), {"num_layers": 2}),
    "RNN": ((4, 4), {"bidirectional": True}),
}
OTHERS = {"Linear": (4, 3), "Embedding": (5, 3), "Conv1d": (2, 3, 2), "Conv2d": (2, 3, 2)}
INPUTS = {"Linear": (6, 4), "Conv1d": (2, 2, 5), "Conv2d": (2, 2, 4, 5)}
PARAMETRIZATIONS = [
    ("orthogonal", {"orthogonal_map": "cayley"}),
    ("orthogonal", {}),
    ("orthogonal", {"orthogonal_map": "matrix_exp"}),
    ("orthogonal", {"orthogonal_map": "householder", "use_trivialization": False}),
    ("weight_norm", {}),
    ("weight_norm", {"dim": None}),
    ("weight_norm", {"dim": 1}),
    ("spectral_norm", {"n_power_iterations": 2}),
    ("spectral_norm", {"dim": 1}),
]


def pair(kind, *sizes, **options):
    """Return the layer of both libraries; the weights are loaded after they have been parametrised."""
    ours = getattr(nn, kind)(*sizes, dtype="float64", **options)
    return ours, getattr(torch.nn, kind)(*sizes, dtype=torch.float64, **options)


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def assert_trains_like_torch(ours, theirs, array, steps=2):
    """Load PyTorch's state; compare outputs, gradients and, after steps of Adam, the state; PyTorch loads ours."""
    ours.load_state_dict(theirs.state_dict())
    mine = optim.Adam(ours.parameters(), lr=0.01)
    reference = torch.optim.Adam(theirs.parameters(), lr=0.01)
    for step in range(steps):
        is_index = array.dtype.kind == "i"
        x, expected_x = rt.tensor(array), torch.from_numpy(array)
        if not is_index:
            x, expected_x = x.requires_grad_(), expected_x.clone().requires_grad_()
        result = ours(x)
        with (
            torch.nn.utils.parametrize.cached()
        ):  # otherwise a recurrent layer computes its weights more than once
            expected = theirs(expected_x)
        result, expected = (r[0] if isinstance(r, tuple) else r for r in (result, expected))
        assert_close(result, expected, of_largest=1e-9, what=f"output {step}")
        cotangent = drawn(step, *result.shape)
        mine.zero_grad()
        reference.zero_grad()
        result.backward(rt.tensor(cotangent))
        expected.backward(torch.from_numpy(cotangent))
        if not is_index:
            assert_close(x.grad, expected_x.grad, of_largest=1e-9, what=f"gradient of the input {step}")
        gradients = {name: p.grad for name, p in ours.named_parameters()}
        for name, p in theirs.named_parameters():
            # What only decides signs gets no gradient, but for rounding.
            assert_close(gradients.pop(name), p.grad, of_largest=1e-8, least=1.0, what=f"{name} {step}")
        assert not gradients
        mine.step()
        reference.step()
    state = ours.state_dict()
    assert sorted(state) == sorted(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        assert_close(state[name], value, of_largest=1e-6, what=f"state {name}")
    theirs.load_state_dict({name: torch.from_numpy(value.numpy().copy()) for name, value in state.items()})


@settings(max_examples=12)
@given(
    kind=st.sampled_from(sorted(RECURRENT)),
    chosen=st.lists(st.sampled_from(range(len(PARAMETRIZATIONS))), min_size=3, max_size=3),
    data=st.data(),
)
def test_recurrent_layers_train_like_torchs(kind, chosen, data):
    sizes, options = RECURRENT[kind]
    ours, theirs = pair(kind, *sizes, **options)
    names = data.draw(st.lists(st.sampled_from(sorted(n for n, _ in ours.named_parameters() if "weight" in n)),
                               min_size=3, max_size=3, unique=True))  # fmt: skip
    for which, name in zip(chosen, names, strict=True):
        function, arguments = PARAMETRIZATIONS[which]
        for library, layer in ((parametrizations, ours), (theirs_of, theirs)):
            getattr(library, function)(layer, name, **arguments)
    assert_trains_like_torch(ours, theirs, drawn(1, 4, 2, sizes[0]))


@pytest.mark.parametrize("which", range(len(PARAMETRIZATIONS)))
@pytest.mark.parametrize("kind", OTHERS)
def test_other_layers_train_like_torchs(kind, which):
    ours, theirs = pair(kind, *OTHERS[kind])
    function, arguments = PARAMETRIZATIONS[which]
    if function == "orthogonal" and kind.startswith("Conv"):
        arguments = {"orthogonal_map": "cayley"}  # a batch of matrices
    for library, layer in ((parametrizations, ours), (theirs_of, theirs)):
        getattr(library, function)(layer, **arguments)
    array = np.array([[0, 4, 2], [2, 2, 1]]) if kind == "Embedding" else drawn(2, *INPUTS[kind])
    assert_trains_like_torch(ours, theirs, array)


def test_vectors_and_chains_train_like_torchs():
    ours, theirs = pair("LSTM", 3, 4)
    for library, layer in ((parametrizations, ours), (theirs_of, theirs)):
        library.spectral_norm(layer, "bias_hh_l0")
        library.weight_norm(layer, "bias_ih_l0")
        library.weight_norm(layer, "weight_hh_l0")
        library.spectral_norm(layer, "weight_hh_l0")
    assert_trains_like_torch(ours, theirs, drawn(3, 4, 2, 3))


@given(
    n=st.integers(1, 6),
    k=st.integers(1, 6),
    batch=st.sampled_from([(), (2,)]),
    orthogonal_map=st.sampled_from(["cayley", "matrix_exp", "householder"]),
    use_trivialization=st.booleans(),
)
@example(n=1, k=1, batch=(), orthogonal_map="householder", use_trivialization=False)
def test_any_original_gives_an_orthogonal_matrix(n, k, batch, orthogonal_map, use_trivialization):
    module = nn.Module()
    module.weight = nn.Parameter(rt.randn(*batch, n, k, dtype="float64"))
    before = module.weight.detach().clone()
    parametrizations.orthogonal(module, "weight", orthogonal_map, use_trivialization=use_trivialization)
    if (
        use_trivialization or orthogonal_map == "householder"
    ):  # begins with the Q of the weight's QR decomposition
        tall = before.mT.numpy() if n < k else before.numpy()
        q, r = np.linalg.qr(tall)
        q = q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
        assert_close(module.weight.mT if n < k else module.weight, q, atol=1e-12)
    original = module.parametrizations.weight.original
    with rt.no_grad():
        original += original.new_tensor(drawn(4, *batch, n, k)).tril(-1)
    W = module.weight
    product = W.mT @ W if n >= k else W @ W.mT
    assert_close(product, np.broadcast_to(np.eye(min(n, k)), product.shape), atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("orthogonal_map", ["cayley", "matrix_exp", "householder"])
def test_an_orthogonal_matrix_can_be_assigned(orthogonal_map, shape):
    layer = parametrizations.orthogonal(nn.Linear(*shape[::-1], dtype="float64"), "weight", orthogonal_map)
    value = nn.init.orthogonal_(rt.empty(*shape, dtype="float64"))
    layer.weight = value
    assert_close(layer.weight, value, atol=1e-13)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize(
    "options", [{}, {"orthogonal_map": "householder", "use_trivialization": False}], ids=str
)
def test_a_matrix_of_less_than_full_rank_becomes_orthogonal(shape, options):
    weight = np.random.default_rng(0).standard_normal(shape)
    weight[0], weight[:, 0] = 0, 0
    for value in (weight, 0 * weight):
        layer = nn.Linear(*shape[::-1], dtype="float64")
        layer.weight = nn.Parameter(value)
        Q = parametrizations.orthogonal(layer, **options).weight.detach().numpy()
        tall = Q if shape[0] >= shape[1] else Q.T
        assert_close(tall.T @ tall, np.eye(min(shape)), atol=1e-14)


def test_reflectors_are_lapacks():
    ours, theirs = pair("Linear", 3, 5)
    theirs.load_state_dict({"weight": torch.from_numpy(drawn(5, 5, 3)), "bias": torch.zeros(5)})
    ours.load_state_dict(theirs.state_dict())
    for library, layer in ((parametrizations, ours), (theirs_of, theirs)):
        library.orthogonal(layer, use_trivialization=False)
    assert_close(ours.parametrizations.weight.original, theirs.parametrizations.weight.original, atol=1e-12)
    ours.weight = rt.tensor(drawn(6, 5, 3))
    theirs.weight = torch.from_numpy(drawn(6, 5, 3))
    assert_close(ours.weight, theirs.weight, atol=1e-12)


def test_a_map_without_a_base_cannot_be_assigned():
    layer = parametrizations.orthogonal(nn.Linear(3, 3), "weight", "cayley", use_trivialization=False)
    with pytest.raises(
        NotImplementedError,
        match="is not inverted, so the weight cannot be assigned: pass use_trivialization=True",
    ):
        layer.weight = rt.eye(3)


def test_the_largest_singular_value_is_one():
    rt.manual_seed(3)
    layer = parametrizations.spectral_norm(nn.GRU(5, 6, dtype="float64"), "weight_hh_l0", 30)
    assert_close(np.linalg.norm(layer.weight_hh_l0.detach().numpy(), 2), np.array(1.0), atol=1e-3)
    layer.eval()
    assert rt.gradcheck(lambda w: layer.parametrizations.weight_hh_l0[0](w),
                        (rt.randn(18, 6, dtype="float64", requires_grad=True),))  # fmt: skip


@nn.recurrent_cell(gates=("h",), states=("h",), inputs={"dt": "step"})
def decaying(x, r, s, u):
    """A state that decays with time."""
    return m.exp(-u.dt) * s.h + m.tanh(x.h + r.h)


def test_a_layer_makes_one_power_iteration_a_call():
    layer = parametrizations.spectral_norm(nn.LSTM(3, 4), "weight_ih_l0")
    norm = layer.parametrizations.weight_ih_l0[0]
    counted = []
    norm._iterate = lambda matrix, count: counted.append(count)
    x = rt.randn(5, 2, 3)
    layer(x)
    layer(x, layer.begin_state(2), lengths=[5, 3])
    layer.all_states(nn.utils.rnn.pack_padded_sequence(x, [5, 2]))
    assert counted == [1, 1, 1]
    layer.stepper()(x[0])
    layer.eval()
    layer(x)
    assert counted == [1, 1, 1]
    timed = parametrizations.spectral_norm(nn.Recurrent(decaying, 3, 4), "weight_ih_l0")
    timed.parametrizations.weight_ih_l0[0]._iterate = lambda matrix, count: counted.append(count)
    timed(x, inputs={"dt": rt.ones(5, 2)}, lengths=[5, 3])
    assert counted.pop() == 1
    assert counted == [1, 1, 1]
    cell = parametrizations.spectral_norm(nn.LSTMCell(3, 4), "weight_ih")
    cell.parametrizations.weight_ih[0]._iterate = lambda matrix, count: counted.append("cell")
    cell(x[0])
    assert counted[3:] == ["cell"]


@pytest.mark.parametrize("name", ["cayley", "matrix_exp", "householder"])
def test_higher_derivatives_go_through_the_maps(name):
    module = nn.Module()
    module.weight = nn.Parameter(rt.tensor(0.3 * drawn(7, 4, 3)))
    parametrizations.orthogonal(module, "weight", name)
    maps = module.parametrizations.weight[0]
    x = rt.tensor(np.where(np.eye(4, 3) > 0, 1.0, 0.3 * drawn(8, 4, 3)), requires_grad=True)
    # The diagonal only decides signs in the reflectors: keep it out of the differences.
    off = rt.tensor(1.0 - np.eye(4, 3))
    fixed = rt.tensor(np.eye(4, 3))
    assert rt.gradcheck(lambda w: maps(w * off + fixed), (x,))
    assert rt.gradgradcheck(lambda w: maps(w * off + fixed), (x,))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: parametrizations.orthogonal(nn.Linear(2, 2), "weigth"),
            ValueError,
            "no parameter or buffer named",
        ),
        (lambda: parametrizations.orthogonal(nn.Linear(2, 2), "bias"), ValueError, "a matrix or a batch"),
        (
            lambda: parametrizations.orthogonal(nn.Linear(2, 2), "weight", "qr"),
            ValueError,
            "one of matrix_exp, cay",
        ),
        (
            lambda: parametrizations.weight_norm(nn.Linear(2, 2), dim=2),
            ValueError,
            "dim must be from -2 to 1 for a weight of shape .2, 2., got 2",
        ),
        (
            lambda: parametrizations.weight_norm(nn.Linear(2, 2), dim=1.0),
            TypeError,
            "an integer or None, got 1.0",
        ),
        (
            lambda: parametrizations.spectral_norm(nn.Linear(2, 2), dim=-3),
            ValueError,
            "dim must be from -2 to 1 for a weight of shape .2, 2., got -3",
        ),
        (
            lambda: parametrizations.spectral_norm(nn.Linear(2, 2), dim="0"),
            TypeError,
            "an integer or None, got '0'",
        ),
        (
            lambda: parametrizations.spectral_norm(nn.Linear(2, 2), n_power_iterations=0),
            ValueError,
            "n_power_iterations must be",
        ),
        (
            lambda: parametrizations.weight_norm(parametrizations.spectral_norm(nn.Linear(2, 2))),
            ValueError,
            "weight_norm makes two originals, so it must be the first parametrisation of 'weight'",
        ),
        (
            lambda: parametrizations.weight_norm(rt.ones(2)),
            TypeError,
            "module must be an nn.Module, got Tensor",
        ),
    ],
)
def test_mistakes_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_orthogonal_weight_of_another_shape_is_refused():
    layer = parametrizations.orthogonal(nn.Linear(3, 3))
    with pytest.raises(ValueError, match=r"shape \(3, 3\) was given shape \(2, 2\)"):
        layer.weight = rt.eye(2)


def test_orthogonal_may_follow_another_parametrization():
    layer = nn.Linear(3, 3, dtype="float64")
    parametrizations.weight_norm(layer)
    parametrizations.orthogonal(layer, "weight", "cayley")
    assert_close(layer.weight.T @ layer.weight, np.eye(3), atol=1e-12)
    assert parametrize.is_parametrized(layer, "weight")


def test_the_bits_do_not_depend_on_the_number_of_threads(set_num_threads):
    layer = nn.LSTM(8, 24)
    parametrizations.orthogonal(layer, "weight_hh_l0", "cayley")
    parametrizations.orthogonal(layer, "weight_ih_l0")
    parametrizations.weight_norm(layer, "bias_ih_l0")
    x, found = rt.randn(6, 5, 8), []
    for n in (1, 2, 3):
        set_num_threads(n)
        y, _ = layer(x)
        found.append((y, rt.grad(y.square().sum(), list(layer.parameters()))))
    assert_same_bits(found[1], found[0])
    assert_same_bits(found[2], found[0])


class StopAt(train.Callback):
    def on_step(self, trainer):
        if trainer.step == 7:
            trainer.stop("stopped")


def training(*callbacks):
    """Return a training of a language model with weights of every kind, and their average."""
    rt.manual_seed(1)
    model = nn.LanguageModel(5, "lstm", 4, embedding_size=3, weight_dropout=0.1)
    parametrizations.orthogonal(model.recurrent, "weight_hh_l0", "cayley")
    parametrizations.spectral_norm(model.recurrent, "weight_ih_l0")
    parametrizations.weight_norm(model.head)
    batches = data.SequentialBatches(data.TokenStream([0, 1, 2, 3, 4, 2] * 40, 5), 3, 5, seed=2)
    return train.Trainer(
        model,
        optim.Adam(model.parameters(), lr=0.01),
        batches,
        max_steps=12,
        averaged=0.9,
        callbacks=callbacks,
    )


def test_a_training_resumes_with_the_same_bits():
    whole = training()
    whole.fit()
    stopped = training(StopAt())
    stopped.fit()
    kept = stopped.snapshot()
    arrays = {stem: {name: a.copy() for name, a in group.items()} for stem, group in kept.arrays.items()}
    resumed = training()
    resumed.restore(train.Snapshot(arrays, kept.state))
    resumed.fit()
    assert resumed.step == 12
    assert_same_bits(resumed.model.state_dict(), whole.model.state_dict())
    averaged = whole.evaluated_model
    assert_same_bits(resumed.evaluated_model.state_dict(), averaged.state_dict())
    for model in (whole.model, averaged):
        W = model.recurrent.weight_hh_l0
        assert_close(W.T @ W, np.eye(4), atol=1e-5)
    ids, averaged = rt.tensor([[1]]), averaged.eval()
    assert_same_bits(averaged.stepper()(1)[0], averaged(ids)[0][0])
