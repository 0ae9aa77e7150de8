"""`Stepper`: the layer's own one-step call and the head's, to the bit; a frozen snapshot; refusals."""

import re

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import nn
from rondeau import tensor as rt

I, H, V, B = 3, 5, 4, 2  # noqa: E741 - the field's letter


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def assert_same_step(ours, theirs):
    """Compare what a step returned, tensors without a history."""
    assert all(isinstance(a, rt.Tensor) and not a.requires_grad for a in ours)
    assert_same_bits(ours, theirs)


def drawn(*shape, seed=0):
    return rt.tensor(np.random.default_rng(seed).standard_normal(shape, np.float32))


LAYERS = {
    "gru": lambda: nn.GRU(I, H),
    "lstm": lambda: nn.LSTM(I, H, 2, batch_first=True, dropout=0.5),
    "projected": lambda: nn.LSTM(I, H, 2, proj_size=4),
    "heads": lambda: nn.Recurrent(nn.cells.slstm, I, 6, num_heads=2),
    "regularised": lambda: nn.GRU(I, H, recurrent_dropout=0.5, zoneout=0.25, weight_dropout=0.5),
    "without recurrent matrices": lambda: nn.Recurrent(nn.cells.indrnn, I, H, bias=False),
    "two phases": lambda: nn.Recurrent(nn.cells.gru_original, I, H, recompute_every=3),
    "sums": lambda: nn.Recurrent(nn.cells.lstm_layer_norm, I, H),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    rt.manual_seed(0)
    return LAYERS[request.param]()


def step_of(layer, x, state, head=None):
    """The layer's own step, in evaluation."""
    layer.eval()
    ids = x.dtype.kind == "i"
    batched = x.ndim == (1 if ids else 2)
    time = 1 if layer.batch_first and batched else 0
    output, state = layer(x.unsqueeze(time), state)
    y = output.squeeze(time)
    layer.train()
    return (y if head is None else head(y), state)


@pytest.mark.parametrize("kind", ["rows", "a row", "ids", "an id"])
def test_a_step_is_that_of_the_layer_in_evaluation(layer, kind):
    x = {"rows": drawn(B, I), "a row": drawn(I), "ids": rt.tensor([2, 0]), "an id": rt.tensor(1)}[kind]
    for head in (
        None,
        nn.Linear(layer.proj_size or layer.hidden_size, V),
        nn.Linear(layer.proj_size or layer.hidden_size, V, bias=False),
    ):
        stepper = layer.train().stepper(head)
        state = None
        for _ in range(3):
            y, after = stepper(x, state)
            expected, expected_state = step_of(layer, x, state, head)
            assert isinstance(after, tuple) == isinstance(expected_state, tuple)
            assert_same_step((y, *parts(after)), (expected, *parts(expected_state)))
            state = after
        assert layer.training


@pytest.mark.parametrize("kind", ["rows", "a row", "ids", "an id"])
def test_a_run_is_its_steps(layer, kind):
    """Sequences have the batch where the layer has it."""
    steps = 4
    x = {
        "rows": drawn(steps, B, I),
        "a row": drawn(steps, I),
        "ids": rt.tensor([[2, 0], [1, 1], [0, 2], [1, 0]]),
        "an id": rt.tensor([1, 0, 2, 1]),
    }[kind]
    turned = layer.batch_first and kind in ("rows", "ids")
    for head in (None, nn.Linear(layer.proj_size or layer.hidden_size, V)):
        stepper, state, expected = layer.stepper(head), None, []
        for x_t in x:
            y, state = stepper(x_t, state)
            expected.append(y)
        found, after = stepper.run(x.transpose(0, 1) if turned else x)
        assert_same_step(
            (found.transpose(0, 1) if turned else found, *parts(after)), (rt.stack(expected), *parts(state))
        )
        if not turned:
            _, begun = stepper.run(x[:3])
            assert_same_step(_flat(stepper.run(x[3:].numpy(), begun)), (found[3:], *parts(after)))


def test_arrays_and_integers_are_taken_too():
    stepper = nn.LSTM(I, H).stepper()
    _, state = stepper(drawn(B, I))
    again, after = stepper(drawn(B, I).numpy(), tuple(part.numpy() for part in state))
    assert_same_step((again, *after), [*_flat(stepper(drawn(B, I), state))])
    for one in (1, np.int32(1), np.array(1)):
        assert_same_step(_flat(stepper(one)), _flat(stepper(rt.tensor(1))))
    alone = nn.GRU(I, H).stepper()
    _, state = alone(2)
    assert_same_step(_flat(alone(1, state.numpy())), _flat(alone(1, state)))


def _flat(result):
    return result[0], *parts(result[1])


def test_later_changes_of_parameters_are_not_seen():
    layer, head = nn.LSTM(I, H), nn.Linear(H, V)
    stepper = layer.stepper(head)
    before = _flat(stepper(drawn(B, I)))
    for parameter in (*layer.parameters(), *head.parameters()):
        nn.init.constant_(parameter, 0.5)
    assert_same_step(_flat(stepper(drawn(B, I))), before)
    assert layer.stepper(head)(drawn(B, I))[0].numpy().tobytes() != before[0].numpy().tobytes()


def test_states_are_the_callers():
    """A search keeps several states, continues each of them, and reorders their rows."""
    layer = nn.GRU(I, H)
    stepper = layer.stepper()
    _, first = stepper(drawn(B, I))
    kept = first.numpy().copy()
    one, two = stepper(drawn(B, I, seed=1), first), stepper(drawn(B, I, seed=2), first)
    assert_same_step(_flat(one), _flat(step_of(layer, drawn(B, I, seed=1), first)))
    assert_same_step(_flat(two), _flat(step_of(layer, drawn(B, I, seed=2), first)))
    assert_same_bits(first, kept)
    beam = first[:, [1, 1, 0]]
    assert_same_step(_flat(stepper(drawn(3, I), beam)), _flat(step_of(layer, drawn(3, I), beam)))


@pytest.mark.parametrize("cell", ["lstm", "gru_original", "lstm_layer_norm"])
def test_any_number_of_threads_gives_the_same_bits(cell, monkeypatch):
    monkeypatch.setattr("rondeau.kernels.runtime.threads.PARALLEL_FROM", 0)
    layer, head = nn.Recurrent(getattr(nn.cells, cell), I, 130, 2), nn.Linear(130, 70)
    stepper = layer.stepper(head)
    before, found = rt.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            rt.set_num_threads(threads)
            _, state = stepper(drawn(1, I))
            found.append(_flat(stepper(drawn(1, I), state)))
    finally:
        rt.set_num_threads(before)
    assert_same_step(found[0], found[1])
    assert_same_step(found[0], found[2])


@pytest.mark.parametrize("embedding_size", [None, 6])
@pytest.mark.parametrize("recurrent", ["gru", "lstm"])
def test_a_language_model_reads_a_token_a_call(recurrent, embedding_size):
    rt.manual_seed(0)
    model = nn.LanguageModel(V, recurrent, H, 2, embedding_size, dropout=0.5)
    stepper = model.stepper()
    assert model.training
    model.eval()
    ids = np.random.default_rng(0).integers(0, V, (B, 6))
    state = expected_state = None
    for t in range(6):
        logits, state = stepper(ids[:, t], state)
        expected, expected_state = model(ids[:, t : t + 1], expected_state)
        assert_same_step((logits, *parts(state)), (expected, *parts(expected_state)))
    found, after = stepper.run(ids)
    assert found.shape == (B, 6, V)
    assert_same_step((found[:, -1], *parts(after)), (logits, *parts(state)))
    alone, after = stepper.run(ids[1])
    assert_same_step((alone, *parts(after)), (found[1], *(part[:, 1] for part in parts(state))))
    logits, state = stepper(int(ids[0, 0]))
    expected, expected_state = model(ids[:1, :1])
    assert_same_step(
        (logits[None], *(part[:, None] for part in parts(state))), (expected, *parts(expected_state))
    )


def test_refusals():
    layer = nn.LSTM(I, H)
    stepper = layer.stepper()
    embedded = nn.LanguageModel(V, "gru", H, embedding_size=3).stepper()
    state = stepper(drawn(B, I))[1]
    for call, error, message in (
        (lambda: nn.GRU(I, H, bidirectional=True).stepper(), ValueError, "cannot run step by step"),
        (
            lambda: layer.stepper(nn.Linear(H + 1, V)),
            ValueError,
            "weight of the head must have shape (4, 5), got (4, 6)",
        ),
        (
            lambda: layer.stepper(nn.Linear(H, V, dtype="float64")),
            TypeError,
            "weight of the head must be float32",
        ),
        (
            lambda: nn.Stepper(layer, embedding=nn.Embedding(V, 2)),
            ValueError,
            "vectors of the layer's input_size=3, got 2",
        ),
        (
            lambda: nn.Stepper(layer, embedding=nn.Embedding(V, I, dtype="float64")),
            TypeError,
            "embedding must be float32, like the layer's weights, got float64: convert it, with "
            "embedding.to('float32')",
        ),
        (lambda: stepper("a"), TypeError, "x_t must be a Tensor, an array or an id, got str"),
        (lambda: stepper(True), TypeError, "got bool"),
        (lambda: stepper(I), IndexError, "x must be ids from 0 to 2"),
        (lambda: stepper(2**70), IndexError, "out of range"),
        (lambda: stepper(drawn(B, I + 1)), ValueError, "x must have shape (2, 3), got (2, 4)"),
        (
            lambda: stepper(drawn(1, B, I)),
            ValueError,
            "x_t must be (B, I) or (I,), the input of one step, got shape (1, 2, 3); for several steps, call run()",
        ),
        (
            lambda: stepper(np.zeros((2, B), int)),
            ValueError,
            "x_t must be ids (B,) or one id, the input of one step",
        ),
        (lambda: stepper.run([1.0]), TypeError, "x must be a Tensor or an array, got list"),
        (
            lambda: stepper(drawn(B, I), state[0]),
            ValueError,
            "states must be one array per state (h, c), got 1",
        ),
        (
            lambda: stepper(drawn(B + 1, I), state),
            ValueError,
            "state h must have shape (1, 3, 5), got (1, 2, 5)",
        ),
        (
            lambda: stepper(drawn(I), state),
            ValueError,
            "state must have shape (L, H), because x_t has no batch dimension, got (1, 2, 5)",
        ),
        (
            lambda: stepper(drawn(I), stepper(drawn(1, I))[1]),
            ValueError,
            "state must have shape (L, H), because x_t has no batch dimension, got (1, 1, 5)",
        ),
        (
            lambda: stepper(drawn(I), tuple(part[:, 0] for part in stepper(drawn(1, I))[1])[:1]),
            ValueError,
            "states must be one array per state (h, c), got 1",
        ),
        (
            lambda: stepper(drawn(I), ([[0.0]], [[0.0]])),
            TypeError,
            "state h must be a numpy array, got list",
        ),
        (lambda: stepper(drawn(B, I), {}), ValueError, "states must be one array per state (h, c), got 1"),
        (lambda: layer.stepper({}), TypeError, "head must be an nn.Linear or None, got dict"),
        (
            lambda: layer.stepper(nn.Embedding(V, H)),
            TypeError,
            "head must be an nn.Linear or None, got Embedding",
        ),
        (
            lambda: nn.Stepper(layer, None, nn.Linear(V, I)),
            TypeError,
            "embedding must be an nn.Embedding or None, got Linear",
        ),
        (lambda: nn.Stepper(nn.GRU), TypeError, "nn.GRU or nn.LSTM, got the class GRU"),
        (
            lambda: nn.Stepper(nn.Linear(V, I)),
            TypeError,
            "layer must be an nn.Recurrent, nn.RNN, nn.GRU or nn.LSTM, got Linear",
        ),
        (lambda: embedded(drawn(B, 3)), TypeError, "x_t must be ids"),
        (lambda: embedded.run(drawn(B, 2, 3)), TypeError, "x must be ids, integers of shape (B, T)"),
        (
            lambda: embedded.run(np.array([[0, V]])),
            IndexError,
            "x: id 4 is out of range: there are 4 rows, 0 to 3",
        ),
        (
            lambda: stepper.run(drawn(I)),
            ValueError,
            "x must be (T, I), or the same with a batch dimension, got shape (3,); for one step, call the stepper",
        ),
        (
            lambda: stepper.run(2),
            ValueError,
            "x must be ids (T,), or the same with a batch dimension, got shape ()",
        ),
        (lambda: stepper.run(drawn(0, B, I)), ValueError, "with at least one step, got shape (0, 2, 3)"),
        (
            lambda: stepper.run(drawn(4, B, I + 1)),
            ValueError,
            "x must be (T, B, I) with I = 3, got shape (4, 2, 4)",
        ),
        (
            lambda: stepper.run(drawn(4, I), state),
            ValueError,
            "state must have shape (L, H), because x has no batch dimension, got (1, 2, 5)",
        ),
        (lambda: embedded(V), IndexError, "id 4 is out of range: there are 4 rows, 0 to 3"),
    ):
        with pytest.raises(error, match=re.escape(message)):
            call()


def rounded(weight):
    """What int8 with a scale a row stands for, in float32."""
    weight = weight.detach().numpy()
    scale = np.abs(weight).max(axis=1, keepdims=True) / np.float32(127)
    return nn.Parameter(np.rint(weight / scale).astype(np.float32) * scale)


@pytest.mark.parametrize("options", [{}, {"embedding_size": 40, "num_layers": 2}], ids=str)
def test_weights_in_int8(options):
    """Logits are those of the rounded weights, and a text is as likely as before."""
    rt.manual_seed(0)
    model = nn.LanguageModel(50, "lstm", 40, tie_weights="embedding_size" in options, **options)
    for parameter in model.parameters():
        parameter.data = parameter.detach() * 3.0
    ids = np.random.default_rng(0).integers(0, 50, (20, 3))

    def logits(stepper):
        found, state = [], None
        for step in ids:
            y, state = stepper(step, state)
            found.append(y.numpy())
        return np.stack(found)

    plain, stepped = logits(model.stepper()), logits(model.stepper("int8"))
    model.head.weight = rounded(
        model.head.weight
    )  # the embedding stays as it is, even where it shares this weight
    for name, weight in list(model.recurrent.named_parameters()):
        if name.startswith("weight_"):
            setattr(model.recurrent, name, rounded(weight))
    expected = logits(model.stepper())
    cost = np.abs(plain - expected).max()
    assert np.abs(stepped - expected).max() <= cost / 20

    def loss(found):
        return nn.functional.cross_entropy(
            rt.tensor(found.reshape(-1, 50)), rt.tensor(ids.reshape(-1))
        ).item()

    assert abs(loss(stepped) / loss(plain) - 1) < 0.005


def test_weights_in_int8_are_refused_where_they_cannot_be(device_stand_in):
    layer = nn.LSTM(I, H, dtype="float64")
    for call, error, message in (
        (
            lambda: nn.GRU(I, H).stepper(weights="int4"),
            ValueError,
            "weights must be float32 or int8, got 'int4'",
        ),
        (
            lambda: layer.stepper(weights="int8"),
            TypeError,
            "weights in int8 need layers of float32, got float64",
        ),
        (
            lambda: nn.GRU(I, H).to("cuda").stepper(weights="int8"),
            TypeError,
            "weights in int8 are for stepping on the CPU, got weights on cuda",
        ),
    ):
        with pytest.raises(error, match=re.escape(message)):
            call()
    assert layer.stepper()(rt.ones(B, I, dtype="float64"))[0].dtype == np.float64


def watched(module):
    module.register_forward_hook(lambda *_: None)
    return module


def replaced(module):
    module.forward = lambda *given: given
    return module


class OwnLinear(nn.Linear):
    def forward(self, input):
        return 2 * super().forward(input)


class OwnLayer(nn.GRU):
    def forward(self, *given):
        return super().forward(*given)


class OwnModel(nn.LanguageModel):
    def forward(self, *given):
        return super().forward(*given)


def with_dropout(module):
    model = nn.LanguageModel(V, "gru", H)
    model.dropout = module
    return model


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: nn.GRU(I, H).stepper(OwnLinear(H, V)), "head, OwnLinear, has a forward of its own"),
        (lambda: nn.GRU(I, H).stepper(replaced(nn.Linear(H, V))), "head, Linear, has a forward of its own"),
        (lambda: nn.GRU(I, H).stepper(watched(nn.Linear(H, V))), "head, Linear, has forward hooks"),
        (lambda: OwnLayer(I, H).stepper(), "layer, OwnLayer, has a forward of its own"),
        (lambda: watched(nn.GRU(I, H)).stepper(), "layer, GRU, has forward hooks"),
        (
            lambda: nn.Stepper(nn.GRU(I, H), embedding=watched(nn.Embedding(V, I))),
            "embedding, Embedding, has forward hooks",
        ),
        (lambda: OwnModel(V, "gru", H).stepper(), "the model, OwnModel, has a forward of its own"),
        (lambda: with_dropout(nn.Tanh()).stepper(), "dropout, Tanh, has a forward of its own"),
        (lambda: with_dropout(watched(nn.Dropout())).stepper(), "dropout, Dropout, has forward hooks"),
        (lambda: with_dropout(watched(nn.Identity())).stepper(), "dropout, Identity, has forward hooks"),
    ],
)
def test_what_a_stepper_would_leave_out_is_refused(make, said):
    with pytest.raises(TypeError, match=f"^{said}, which a stepper would"):
        make()


def test_nothing_may_take_the_place_of_dropout():
    model = with_dropout(nn.Identity())
    logits, _ = model(rt.tensor([[1]]))
    assert_same_bits(model.stepper()(rt.tensor([1]))[0], logits)


def test_weights_are_computed_at_the_highest_precision():
    rt.manual_seed(0)
    head = nn.utils.parametrizations.spectral_norm(nn.Linear(H, 40))
    layer = nn.GRU(I, H)
    with rt.float32_matmul_precision("medium"):
        stepper = layer.stepper(head)
    head.eval()
    assert_same_step(_flat(stepper(drawn(B, I))), _flat(step_of(layer, drawn(B, I), None, head)))
