"""Recurrent layers on a GPU as a user sees them, against the CPU: emulated kernels, on arrays of the stand-in."""

import copy
import re

import numpy as np
import pytest
from tools.device_arrays import no_transfers, transfers
from tools.emulated_target import EmulatedKernel

from comparing import assert_close, assert_same_bits
from reference_counts import assert_a_step_leaves_no_cycles
from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.cuda import compiler, tiers
from rondeau.nn import cell_math as m
from rondeau.nn.utils.rnn import pack_padded_sequence

from .recurrent_layers import as_tuple, randn

pytestmark = [
    pytest.mark.usefixtures("device_stand_in"),
    pytest.mark.host_only("the tests name their devices"),
]

T, B, I, H = 3, 3, 2, 4  # noqa: E741 - the letters of the field


@nn.recurrent_cell(
    gates=("h",), states=("h", "c"), params={"rate": nn.init.ones_}, inputs={"dt": "step", "g": "sequence"}
)
def own(x, r, s, p, u):
    c = m.exp(-p.rate * u.dt) * s.c + m.tanh(x.h + r.h)
    return m.sigmoid(c + u.g) * s.h + c, c


def drawn(*shape, seed=0, requires_grad=False):
    """Return a tensor on the default device."""
    return randn(*shape, seed=seed, dtype="float32", requires_grad=requires_grad)


def on_both(make, call):
    """Return what a call of a layer gives, and where all is on a GPU, in tuples of tensors."""
    rt.manual_seed(1)
    layer, found = make(), []
    for device in ("cpu", "cuda"):
        of_device = copy.deepcopy(layer).to(device)
        with rt.device(device):
            rt.manual_seed(2)
            found.append(call(of_device))
        assert all(value.device == device for value in found[-1])
    return found


def assert_like_the_cpu(make, call):
    expected, found = on_both(make, call)
    assert_close(found, expected, rtol=1e-5, atol=2e-6)


def results_of(layer, *arguments, **keywords):
    """Return all that a call of a layer returns."""
    output, states = layer(*arguments, **keywords)
    return (*as_tuple(output), *as_tuple(states))


def differentiated(results, layer, *others):
    """Return results, and the gradients of a random sum of them by the parameters of a layer and others."""
    loss = sum((value * drawn(*value.shape, seed=k)).sum() for k, value in enumerate(results))
    return (*results, *rt.grad(loss, [*layer.parameters(), *others]))


LAYERS = {
    "lstm": lambda: nn.LSTM(I, H),
    "rnn, batch first, without bias": lambda: nn.RNN(I, H, batch_first=True, bias=False),
    "gru, two layers in both directions with dropout": lambda: nn.GRU(
        I, H, 2, bidirectional=True, dropout=0.5
    ),
    "lstm, projected": lambda: nn.LSTM(I, H, proj_size=3, recurrent_dropout=0.3),
    "gru with heads": lambda: nn.Recurrent(nn.cells.gru, I, H, num_heads=2),
    "lstm, zoneout and DropConnect": lambda: nn.LSTM(I, H, zoneout={"h": 0.2, "c": 0.4}, weight_dropout=0.3),
    "lstm, recomputed": lambda: nn.LSTM(I, H, recompute_every=2, learn_initial_state=True),
}


@pytest.fixture(params=["stepwise", "persistent"])
def _tier(request, monkeypatch, device_stand_in):
    """Run the steps one by one, and all of them in one kernel."""
    monkeypatch.setattr(tiers, "ALLOWED", request.param)


@pytest.mark.usefixtures("_tier")
@pytest.mark.parametrize("name", LAYERS)
def test_a_dense_batch_waits_for_nothing_and_sends_nothing(name):
    def call(layer):
        x = drawn(T, B, I, requires_grad=True)
        return differentiated(results_of(layer, x), layer, x)

    assert_like_the_cpu(LAYERS[name], call)
    layer = LAYERS[name]().to("cuda")
    with rt.device("cuda"):
        x, ones = drawn(T, B, I), rt.ones(())
        with no_transfers(waits=True):
            results = results_of(layer, x)
            rt.grad(sum(value.sum() for value in results), list(layer.parameters()), ones)


STACKED = {
    "projected": lambda: nn.LSTM(I, H, 2, bidirectional=True, proj_size=3, recurrent_dropout=0.3),
    "heads": lambda: nn.Recurrent(nn.cells.lstm, I, H, num_layers=2, bidirectional=True, num_heads=2),
}


@pytest.mark.parametrize("name", STACKED)
def test_a_layer_in_both_directions_is_one_launch_each_way(name, monkeypatch):
    launched = []

    class Counted(EmulatedKernel):
        def launch(self, *arguments):
            launched.append(self.phase.name)
            super().launch(*arguments)

    monkeypatch.setattr(tiers, "ALLOWED", "persistent")
    monkeypatch.setattr(compiler, "Kernel", Counted)
    width = 3 if name == "projected" else H

    def call(layer):
        x, h, c = (drawn(*shape, requires_grad=True) for shape in ((T, B, I), (4, B, width), (4, B, H)))
        results = results_of(layer, x, (h, c), lengths=rt.tensor([3, 1, 2]))
        return differentiated(results, layer, x, h, c)

    assert_like_the_cpu(STACKED[name], call)
    assert [name.removeprefix("lstm_") for name in launched] == [
        f"{way}_persistent" for way in ("forward", "forward", "backward", "backward")
    ]


@pytest.mark.usefixtures("_tier")
def test_a_cell_of_ones_own_with_a_learned_vector_and_named_inputs():
    def call(layer):
        x, dt, g = (
            drawn(*shape, seed=k, requires_grad=True) for k, shape in enumerate([(T, B, I), (T, B), (B, H)])
        )
        return differentiated(results_of(layer, x, inputs={"dt": dt, "g": g}), layer, x, dt, g)

    assert_like_the_cpu(lambda: nn.Recurrent(own, I, H), call)


RESET = np.array([[True, False, False], [False, True, False], [False, False, True]])


@pytest.mark.usefixtures("_tier")
@pytest.mark.parametrize("learned", [False, True])
def test_lengths_with_zero_and_resets(learned):
    def call(layer):
        x = drawn(T, B, I, requires_grad=True)
        results = results_of(layer, x, lengths=rt.tensor([3, 0, 2]), reset=rt.tensor(RESET))
        return differentiated(results, layer, x)

    assert_like_the_cpu(lambda: nn.GRU(I, H, bidirectional=True, learn_initial_state=learned), call)


@pytest.mark.usefixtures("_tier")
def test_given_states_of_a_packed_batch_and_every_state():
    def call(layer):
        x, h, c = (drawn(*shape, requires_grad=True) for shape in ((T, B, I), (1, B, H), (1, B, H)))
        packed = pack_padded_sequence(x, [1, 3, 2], enforce_sorted=False)
        every, states = layer.all_states(packed, (h, c))
        return differentiated((*[part.data for part in every], *states), layer, x, h, c)

    assert_like_the_cpu(lambda: nn.LSTM(I, H), call)


def test_truncation_of_both_sorts_of_rows():
    def call(layer):
        x = drawn(T, B, I, requires_grad=True)
        return differentiated(results_of(layer, x, lengths=[3, 1, 2]), layer, x)

    assert_like_the_cpu(lambda: nn.LSTM(I, H, bptt_truncate=1), call)


def test_one_hot_input_sums_its_gradients_with_the_same_bits_each_time():
    ids = np.random.default_rng(0).integers(0, 3, (8, B))

    def call(layer):
        return differentiated(results_of(layer, rt.tensor(ids)), layer)

    make = lambda: nn.RNN(3, H)  # noqa: E731
    assert_like_the_cpu(make, call)
    assert_same_bits(on_both(make, call)[1], on_both(make, call)[1])


@nn.recurrent_cell(gates=("h",), states=("h",))
def noisy(x, r, s, *, noise=0.5):
    return m.tanh(x.h + r.h + noise * m.normal())


SECOND = {
    "lstm": lambda: nn.LSTM(I, H),
    "masks": lambda: nn.GRU(I, H, zoneout=0.3, recurrent_dropout=0.3),
    "heads": lambda: nn.Recurrent(nn.cells.rnn_tanh, I, H, num_heads=2),
    "noise": lambda: nn.Recurrent(noisy, I, H),
}


@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives(name):
    def call(layer):
        x = drawn(2, 2, I, requires_grad=True)
        wanted = [x, *layer.parameters()]
        first = rt.grad(layer(x)[0].square().sum(), wanted, create_graph=True)
        return (*first, *rt.grad(sum(d.square().sum() for d in first), wanted))

    assert_like_the_cpu(SECOND[name], call)


def test_a_stepper_takes_arrays_of_numpy_too():
    x, dt, g = (
        np.random.default_rng(k).random(shape, np.float32) for k, shape in enumerate([(B, I), B, (B, H)])
    )

    def call(layer):
        stepper = layer.stepper()
        y, states = stepper(x, inputs={"dt": dt, "g": g})
        again, states = stepper(rt.tensor(x), states, [{"dt": rt.tensor(dt), "g": g}] * 2)
        with no_transfers(waits=True):
            last, states = stepper(again[:, :I], states, {"dt": rt.ones(B), "g": rt.ones(B)})
            run, states = stepper.run(rt.ones(2, B, I), states, {"dt": rt.ones(2, B), "g": rt.ones(B)})
        return y, again, last, run, *states

    assert_like_the_cpu(lambda: nn.Recurrent(own, I, H, num_layers=2), call)


def test_cells_of_a_single_step():
    g = np.random.default_rng(0).random(B, np.float32)

    def of_lstm(cell):
        x, h, c = (drawn(*shape, requires_grad=True) for shape in ((B, I), (B, H), (B, H)))
        return differentiated(cell(x, (h, c)), cell, x, h, c)

    def of_own(cell):
        x, dt = drawn(B, I, requires_grad=True), drawn(B, seed=1, requires_grad=True)
        return differentiated(cell(x, None, {"dt": dt, "g": g}), cell, x, dt)

    assert_like_the_cpu(lambda: nn.LSTMCell(I, H), of_lstm)
    assert_like_the_cpu(lambda: nn.RecurrentCell(own, I, H), of_own)


def test_a_language_model_reads_and_generates_the_same():
    def continued(model):
        stepper, state, found = model.eval().stepper(), None, []
        for token in (1, 3, 0, 2):
            logits, state = stepper(token, state)
            found.append(logits.tolist())
        tokens = []
        for _ in range(4):
            tokens.append(int(logits.argmax()))
            logits, state = stepper(tokens[-1], state)
        return tokens, np.array(found)

    rt.manual_seed(0)
    model = nn.LanguageModel(5, "lstm", 6, num_layers=2)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    tokens, logits = continued(model)
    found, of_device = continued(model.to("cuda"))
    assert found == tokens
    assert_close(of_device, logits, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("_tier")
def test_what_a_ragged_batch_sends():
    layer = nn.GRU(I, H).to("cuda")
    with rt.device("cuda"):
        x = drawn(T, B, I)
        with transfers() as seen:
            layer(x, lengths=[3, 1, 2])[0].sum().backward()
    assert not seen.to_host
    assert not seen.waits
    largest = 8 * T * max(B, 6)  # indices of rows, or the table of steps; each sent once
    assert max(copied.nbytes for copied in seen.to_device) <= largest, seen
    assert len(seen.to_device) <= 10, seen


def test_arrays_of_two_devices_are_refused():
    layer, x = nn.LSTM(I, H), rt.zeros(T, B, I)
    states = layer.begin_state(B)
    for given, state, message in (
        (x, None, "input is on cpu and the weights are on cuda: move one of them, input.to('cuda') or model.to('cpu')"),
        (x.to("cuda"), states, 'weight_ih is on cuda and state h is on cpu; move one, with .to("cuda") or .to("cpu")'),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(message)):
            layer.to("cuda")(given, state)
    reading = nn.Recurrent(own, I, H).to("cuda")
    named = {"dt": rt.zeros(T, B), "g": rt.zeros(B, device="cuda")}
    with pytest.raises(ValueError, match="x is on cuda and input dt is on cpu"):
        reading(x.to("cuda"), inputs=named)
    stepper = reading.stepper()
    with pytest.raises(ValueError, match="weight_ih is on cuda and x is on cpu"):
        stepper(x[0], inputs={"dt": named["dt"][0], "g": named["g"]})
    with pytest.raises(ValueError, match="weight_ih is on cuda and input dt is on cpu"):
        stepper(x[0].to("cuda"), inputs={"dt": named["dt"][0], "g": named["g"]})


@pytest.mark.parametrize(("device", "other"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_stepper_of_parts_on_two_devices_is_refused(device, other):
    layer = nn.GRU(I, H).to(device)
    head, embedding = nn.Linear(H, 2).to(other), nn.Embedding(5, I).to(other)
    for name, given in (("weight of the head", {"head": head}), ("embedding", {"embedding": embedding})):
        message = f"a stepper of cell gru: weight_ih is on {device} and {name} is on {other}; move one"
        with pytest.raises(ValueError, match=re.escape(message)):
            nn.Stepper(layer, **given)


def test_ids_out_of_range_are_told_at_the_next_read():
    ids = rt.tensor([[1, 3]], device="cuda")
    output, _ = nn.GRU(3, H).to("cuda")(ids)
    with pytest.raises(IndexError, match=r"x must be ids from 0 to 2 .* got 3"):
        output.cpu()
    y, _ = nn.GRU(3, H).to("cuda").stepper()(ids[0])
    with pytest.raises(IndexError, match="x must be ids from 0 to 2"):
        y.tolist()
    assert y.isfinite().all()


class _NoKernel(compiler.Kernel):
    """Launches nothing."""

    def __init__(self, phase, dtype):
        self.phase = phase

    @staticmethod
    def argument(array):
        return array

    def launch(self, grid, threads, *arguments):
        pass


def test_a_steps_memory_returns_by_reference_count(monkeypatch):
    monkeypatch.setattr(compiler, "Kernel", _NoKernel)  # the emulator leaves cycles of its own
    layer = nn.LSTM(I, H, num_layers=2, bidirectional=True).to("cuda")
    assert_a_step_leaves_no_cycles(layer, rt.ones(T, B, I, device="cuda"))
