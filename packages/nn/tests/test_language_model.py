"""`LanguageModel`: shapes and order of the logits, one-hot input, carried state, tied weights, refusals."""

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.ops import linear_cross_entropy

V, B, T, H = 11, 3, 5, 7


def ids(seed=0, steps=T):
    return rt.tensor(np.random.default_rng(seed).integers(0, V, (B, steps)))


def parts(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("recurrent", ["rnn", "gru", "lstm"])
def test_shapes_of_program_11(recurrent):
    model = nn.LanguageModel(V, recurrent, hidden_size=H, num_layers=2)
    begin = model.begin_state(batch_size=B)
    assert len(parts(begin)) == (2 if recurrent == "lstm" else 1)
    assert all(s.shape == (2, B, H) and not s.numpy().any() for s in parts(begin))
    logits, state = model(ids(), begin)
    assert logits.shape == (T * B, V)
    assert [s.shape for s in parts(state)] == [s.shape for s in parts(begin)]
    assert_same_bits(model(ids())[0].detach().numpy(), logits)


def test_one_hot_input_is_the_product_with_one_hot_rows():
    rt.manual_seed(0)
    model = nn.LanguageModel(V, "gru", hidden_size=H, dtype="float64")
    logits, state = model(ids())
    one_hot = rt.tensor(np.eye(V)[ids().numpy().T])
    output, expected_state = model.recurrent(one_hot)
    expected = model.head(output.reshape(T * B, H))
    assert_close(logits, expected, rtol=1e-12)
    assert_close(state, expected_state, rtol=1e-12)
    loss = nn.CrossEntropyLoss()
    target = ids(1).T.reshape(-1)
    loss(logits, target).backward()
    ours = {name: p.grad.numpy() for name, p in model.named_parameters()}
    model.zero_grad()
    loss(expected, target).backward()
    for name, p in model.named_parameters():
        assert_close(ours[name], p.grad, rtol=1e-11, atol=1e-15, what=name)


def test_rows_of_the_logits_are_time_major():
    rt.manual_seed(0)
    model = nn.LanguageModel(V, "rnn", hidden_size=H, embedding_size=4)
    logits = model(ids())[0].detach().numpy().reshape(T, B, V)
    for b in range(B):
        alone = model(ids()[b : b + 1])[0].detach().numpy()
        assert_close(logits[:, b], alone, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("recurrent", ["rnn", "lstm"])
def test_the_state_carries_a_text_across_calls(recurrent):
    rt.manual_seed(0)
    model = nn.LanguageModel(V, recurrent, hidden_size=H, num_layers=2, dtype="float64")
    tokens = ids(steps=8)
    whole, final = model(tokens)
    first, state = model(tokens[:, :3])
    second, state = model(tokens[:, 3:], state)
    assert_close(rt.cat([first, second]).detach().numpy(), whole, rtol=1e-13)
    for carried, expected in zip(parts(state), parts(final), strict=True):
        assert_close(carried, expected, rtol=1e-13)


def test_numpy_batches_are_taken_as_they_come():
    model = nn.LanguageModel(V, "gru", hidden_size=H)
    assert_same_bits(model(ids().numpy())[0].detach().numpy(), model(ids())[0].detach().numpy())


def test_own_layer_and_own_cell():
    @nn.recurrent_cell(gates=("z", "n"), states=("h",))
    def light(x, r, s):
        keep = nn.cell_math.sigmoid(x.z + r.z)
        return keep * s.h + (1 - keep) * nn.cell_math.tanh(x.n + r.n)

    by_cell = nn.LanguageModel(V, light, hidden_size=H)
    by_layer = nn.LanguageModel(V, nn.Recurrent(light, V, H, batch_first=True))
    by_layer.load_state_dict(by_cell.state_dict())
    assert_same_bits(by_cell(ids())[0].detach().numpy(), by_layer(ids())[0].detach().numpy())
    projected = nn.LanguageModel(V, nn.LSTM(4, H, proj_size=3), embedding_size=4)
    assert projected.head.weight.shape == (V, 3)
    assert projected(ids())[0].shape == (T * B, V)


def test_options_reach_the_recurrent_layer():
    options = {"zoneout": {"h": 0.1}, "recurrent_dropout": 0.2, "weight_dropout": 0.3, "recompute_every": 2}
    by_name = nn.LanguageModel(V, "lstm", hidden_size=H, **options)
    by_layer = nn.LanguageModel(V, nn.LSTM(V, H, **options))
    by_layer.load_state_dict(by_name.state_dict())
    for name, value in options.items():
        assert getattr(by_name.recurrent, name) == value
    rt.manual_seed(1)
    first = by_name(ids())[0].detach().numpy()
    rt.manual_seed(1)
    assert_same_bits(first, by_layer(ids())[0].detach().numpy())
    assert (first != by_name(ids())[0].detach().numpy()).any()


def test_tied_weights_are_one_parameter():
    model = nn.LanguageModel(V, "gru", hidden_size=H, embedding_size=H, tie_weights=True)
    assert model.embedding.weight is model.head.weight
    names = [name for name, _ in model.named_parameters()]
    assert names == [
        "embedding.weight",
        "recurrent.weight_ih_l0",
        "recurrent.weight_hh_l0",
        "recurrent.bias_ih_l0",
        "recurrent.bias_hh_l0",
        "head.bias",
    ]
    bound = 1 / np.sqrt(H)
    assert np.abs(model.head.weight.detach().numpy()).max() <= bound  # drawn as a head's, not from N(0, 1)
    logits, _ = model(ids())
    nn.CrossEntropyLoss()(logits, ids(1).T.reshape(-1)).backward()
    by_both = model.head.weight.grad.numpy()

    untied = nn.LanguageModel(V, "gru", hidden_size=H, embedding_size=H)
    untied.load_state_dict(model.state_dict())
    logits, _ = untied(ids())
    nn.CrossEntropyLoss()(logits, ids(1).T.reshape(-1)).backward()
    summed = untied.embedding.weight.grad.numpy() + untied.head.weight.grad.numpy()
    assert_close(by_both, summed, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("options", [{}, {"embedding_size": H, "tie_weights": True, "dropout": 0.3}])
@pytest.mark.parametrize("is_blocked", [False, True])
def test_with_targets_it_returns_their_loss(monkeypatch, options, is_blocked):
    monkeypatch.setattr(linear_cross_entropy, "is_blocked", lambda *sizes: is_blocked)
    model = nn.LanguageModel(V, "lstm", hidden_size=H, **options)
    targets = ids(1).numpy().copy()
    targets[1, 3:] = -100
    results = []
    for given in (None, rt.tensor(targets), targets):
        rt.manual_seed(2)
        result, state = model(ids(), targets=given)
        loss = nn.functional.cross_entropy(result, targets.T.reshape(-1)) if given is None else result
        model.zero_grad()
        loss.backward()
        results.append([loss, *state, *(p.grad for p in model.parameters())])
    for found in results[1:]:
        for ours, expected in zip(found, results[0], strict=True):
            assert_close(ours, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("is_blocked", [False, True])
def test_losses_of_tokens_are_time_major(monkeypatch, is_blocked):
    monkeypatch.setattr(linear_cross_entropy, "is_blocked", lambda *sizes: is_blocked)
    model, targets = nn.LanguageModel(V, "gru", hidden_size=H), ids(1)
    losses, _ = model(ids(), targets=targets, reduction="none")
    logits, _ = model(ids())
    assert_close(
        losses, nn.NLLLoss(reduction="none")(logits.log_softmax(1), targets.T.reshape(-1)), rtol=1e-5
    )
    assert_close(model(ids(), None, targets, "sum")[0], losses.sum(), rtol=1e-6)


def test_another_head_or_one_with_hooks_is_called():
    model, targets = nn.LanguageModel(V, "gru", hidden_size=H), ids(1)
    expected, _ = model(ids(), targets=targets)
    calls = []
    handle = model.head.register_forward_hook(lambda module, given, logits: calls.append(logits.shape))
    assert_same_bits(model(ids(), targets=targets)[0], expected)
    assert calls == [(T * B, V)]
    handle.remove()
    model.head = nn.Sequential(model.head)
    assert_same_bits(model(ids(), targets=targets)[0], expected)


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        (rt.zeros(B, T), TypeError, r"targets must be int64 of shape \(batch, steps\), got float32"),
        (
            ids(steps=T + 1),
            ValueError,
            r"targets must have the shape of ids, \(3, 5\), one for each, got \(3, 6\)",
        ),
        (rt.full((B, T), V), IndexError, "Target 11 is out of bounds"),
    ],
)
def test_wrong_targets(targets, error, message):
    with pytest.raises(error, match=message):
        nn.LanguageModel(V, "gru", hidden_size=H)(ids(), targets=targets)


def test_dropout_acts_in_training_alone():
    rt.manual_seed(0)
    model = nn.LanguageModel(V, "gru", hidden_size=H, embedding_size=4, dropout=0.5)
    assert model.recurrent.dropout == 0  # one layer: there is nothing between layers
    assert (model(ids())[0].detach().numpy() != model(ids())[0].detach().numpy()).any()
    model.eval()
    assert_same_bits(model(ids())[0].detach().numpy(), model(ids())[0].detach().numpy())
    assert nn.LanguageModel(V, "gru", hidden_size=H, num_layers=2, dropout=0.5).recurrent.dropout == 0.5


def test_all_dropped_leaves_the_head_alone():
    model = nn.LanguageModel(V, "lstm", hidden_size=H, dropout=1.0)
    logits, _ = model(ids())
    assert_same_bits(logits, np.broadcast_to(model.head.bias.detach().numpy(), (T * B, V)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: nn.LanguageModel(V, nn.GRU(V, H, bidirectional=True)),
            r"A bidirectional language model sees its target: the reverse direction has read token t\+1",
        ),
        (
            lambda: nn.LanguageModel(V, "gru", H, bidirectional=True),
            r"A bidirectional language model sees its target: .* Use bidirectional=False",
        ),
        (lambda: nn.LanguageModel(V, "gru"), "hidden_size is missing"),
        (
            lambda: nn.LanguageModel(V, nn.GRU(V, H), zoneout=0.1),
            r"zoneout was given together with a recurrent layer, which has its own options: .* nn.GRU\(..., zoneout=",
        ),
        (
            lambda: nn.LanguageModel(V, "transformer", hidden_size=H),
            "Unknown recurrent layer 'transformer': expected rnn, ctrnn, gru, .*, slstm, a cell or a layer$",
        ),
        (lambda: nn.LanguageModel(V, "LSTM", hidden_size=H), r"a cell or a layer; did you mean 'lstm'\?$"),
        (
            lambda: nn.LanguageModel(V, nn.cells.ea_lstm, hidden_size=H),
            "A language model reads tokens alone, and cell ea_lstm needs its inputs gate: use another cell",
        ),
        (
            lambda: nn.LanguageModel(V, nn.GRU(5, H)),
            "The recurrent layer has input_size=5, expected input_size=11",
        ),
        (
            lambda: nn.LanguageModel(V, nn.GRU(V, H), hidden_size=8),
            "The recurrent layer has hidden_size=7, expected hidden_size=8",
        ),
        (
            lambda: nn.LanguageModel(V, "gru", H, embedding_size=4, tie_weights=True),
            "expected embedding_size=7, got embedding_size=4",
        ),
        (
            lambda: nn.LanguageModel(V, "gru", H, tie_weights=True),
            "expected embedding_size=7, got one-hot input",
        ),
        (
            lambda: nn.LanguageModel(V, "gru", H)(ids()[0]),
            r"ids must be int64 of shape \(batch, steps\), got int64 of shape \(5,\)",
        ),
    ],
)
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_ids_of_another_dtype_are_refused():
    with pytest.raises(
        TypeError, match=r"ids must be int64 of shape \(batch, steps\), got float32 of shape \(3, 5\)"
    ):
        nn.LanguageModel(V, "gru", H)(rt.zeros(B, T))


def test_a_class_is_no_layer():
    with pytest.raises(
        TypeError, match=r"got the class LSTM: pass 'lstm', or make the layer, nn\.LSTM\(\.\.\.\)"
    ):
        nn.LanguageModel(V, nn.LSTM, hidden_size=H)


@pytest.mark.parametrize("embedding_size", [None, 4])
@pytest.mark.parametrize("bad", [-1, V])
def test_an_id_outside_the_vocabulary_is_refused(embedding_size, bad):
    model = nn.LanguageModel(V, "gru", hidden_size=H, embedding_size=embedding_size)
    tokens = ids().numpy().copy()
    tokens[1, 2] = bad
    with pytest.raises(IndexError, match=str(bad)):
        model(tokens)


def test_a_two_directional_model_would_read_its_target():
    """The leak that is refused, shown: the prediction at t changes with the token at t+1."""
    layer = nn.GRU(V, H, bidirectional=True)
    one, other = np.eye(V, dtype=np.float32)[[[1], [2]]], np.eye(V, dtype=np.float32)[[[1], [3]]]
    before = layer(rt.tensor(one))[0].detach().numpy()[0]
    after = layer(rt.tensor(other))[0].detach().numpy()[0]
    assert_same_bits(before[:, :H], after[:, :H])
    assert (before[:, H:] != after[:, H:]).all()
