"""Arguments of a wrong type are refused at the door, in our own words."""

import numpy as np
import pytest

from rondeau import nn
from rondeau import tensor as rt

F, rnn = nn.functional, nn.utils.rnn

NO_TENSORS = [None, "text", [1.0, 2.0], 3.5, {}, np.zeros((2, 3), np.float32)]
NO_ARRAYS = [None, "text", {}, [[1], [2, 3]], [None], 1j, Ellipsis]
NO_INTEGERS = [None, "3", 2.5, [3], True, 1j]
NO_NUMBERS = [None, "0.5", [0.5], True, 1j]

X, WEIGHT, TARGET = rt.ones(2, 3), rt.ones(4, 3), rt.tensor([0, 1])
PACKED = rnn.PackedSequence(rt.ones(3), rt.tensor([2, 1]))


def name_of(wrong):
    """Return the name of a type as messages give it: another library's with its module."""
    return "numpy.ndarray" if isinstance(wrong, np.ndarray) else type(wrong).__name__


@pytest.mark.parametrize("wrong", NO_TENSORS, ids=repr)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda t: F.linear(t, WEIGHT), "linear: input"),
        (lambda t: F.linear(X, t), "linear: weight"),
        (nn.Linear(3, 4), "linear: input"),
        (lambda t: F.embedding(TARGET, t), "embedding: weight"),
        (nn.Embedding.from_pretrained, "embeddings"),
        (lambda t: F.cross_entropy(t, TARGET), "cross_entropy: input"),
        (lambda t: F.nll_loss(t, TARGET), "nll_loss: input"),
        (lambda t: F.mse_loss(t, X), "mse_loss: input"),
        (lambda t: F.mse_loss(X, t), "mse_loss: target"),
        (lambda t: F.layer_norm(t, 3), "layer_norm: input"),
        (nn.LayerNorm(3), "layer_norm: input"),
        (lambda t: F.dropout(t, 0.5), "dropout: input"),
        (nn.init.zeros_, "constant_: tensor"),
        (nn.init.eye_, "eye_: tensor"),
        (nn.init.uniform_, "uniform_: tensor"),
        (nn.init.normal_, "normal_: tensor"),
        (nn.init.xavier_uniform_, "xavier_uniform_: tensor"),
        (nn.init.xavier_normal_, "xavier_normal_: tensor"),
        (nn.init.kaiming_uniform_, "kaiming_uniform_: tensor"),
        (nn.init.kaiming_normal_, "kaiming_normal_: tensor"),
        (nn.init.orthogonal_, "orthogonal_: tensor"),
        (lambda t: nn.utils.vector_to_parameters(t, [rt.ones(1)]), "vec"),
        (lambda t: rnn.PackedSequence(t, rt.tensor([2, 1])), "data"),
        (lambda t: rnn.PackedSequence(rt.ones(3), t), "batch_sizes"),
        (lambda t: rnn.pack_padded_sequence(t, [1, 1]), "input"),
        (lambda t: rnn.unpad_sequence(t, [1, 1]), "padded_sequences"),
    ],
)
def test_what_is_no_tensor(call, name, wrong):
    with pytest.raises(TypeError, match=f"^{name} must be a Tensor, got {name_of(wrong)}"):
        call(wrong)


@pytest.mark.parametrize("wrong", [w for w in NO_TENSORS if w is not None], ids=repr)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda t: F.linear(X, WEIGHT, t), "linear: bias"),
        (lambda t: F.layer_norm(X, 3, t), "layer_norm: weight"),
        (lambda t: F.layer_norm(X, 3, None, t), "layer_norm: bias"),
        (lambda t: F.cross_entropy(X, TARGET, t), "cross_entropy: weight"),
        (lambda t: F.nll_loss(X, TARGET, t), "nll_loss: weight"),
        (rnn.invert_permutation, "permutation"),
    ],
)
def test_what_is_no_optional_tensor(call, name, wrong):
    with pytest.raises(TypeError, match=f"^{name} must be a Tensor, got {name_of(wrong)}"):
        call(wrong)


@pytest.mark.parametrize("wrong", NO_ARRAYS, ids=repr)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda a: F.embedding(a, WEIGHT), "embedding: ids"),
        (F.one_hot, "one_hot: classes"),
        (lambda a: F.cross_entropy(X, a), "cross_entropy: target"),
        (lambda a: F.nll_loss(X, a), "nll_loss: target"),
        (lambda a: rnn.pack_padded_sequence(X, a), "lengths"),
        (lambda a: rnn.unpad_sequence(X, a), "lengths"),
        (lambda a: nn.Linear(1, 1).load_state_dict({"weight": a, "bias": a}), "tensor 'weight'"),
        (nn.LanguageModel(3, "gru", 2), "ids"),
    ],
)
def test_what_is_no_array(call, name, wrong):
    with pytest.raises(TypeError, match=f"^{name} must be a Tensor or an array of numbers, got"):
        call(wrong)


@pytest.mark.parametrize("wrong", NO_INTEGERS, ids=repr)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda n: nn.Linear(n, 2), "in_features"),
        (lambda n: nn.Linear(2, n), "out_features"),
        (lambda n: nn.Embedding(n, 2), "num_embeddings"),
        (lambda n: nn.Embedding(2, n), "embedding_dim"),
        (lambda n: nn.LayerNorm((2, n)), "normalized_shape"),
        (lambda n: F.layer_norm(X, (2, n)), "normalized_shape"),
        (lambda n: nn.LanguageModel(n, "gru", 2), "vocab_size"),
        (lambda n: F.cross_entropy(X, TARGET, ignore_index=n), "ignore_index"),
        (lambda n: F.nll_loss(X, TARGET, ignore_index=n), "ignore_index"),
        (lambda n: nn.CrossEntropyLoss(ignore_index=n), "ignore_index"),
        (lambda n: nn.NLLLoss(ignore_index=n), "ignore_index"),
        (lambda n: F.one_hot(TARGET, n), "one_hot: num_classes"),
        (nn.Softmax, "dim"),
        (nn.LogSoftmax, "dim"),
    ],
)
def test_what_is_no_integer(call, name, wrong):
    with pytest.raises(TypeError, match=f"^{name} (should be of type int|must be an integer), got"):
        call(wrong)


@pytest.mark.parametrize(
    "wrong", [2**63, -(2**63) - 1, 10**400], ids=lambda number: f"{number.bit_length()} bits"
)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda n: F.cross_entropy(X, TARGET, ignore_index=n), "ignore_index"),
        (lambda n: F.nll_loss(X, TARGET, ignore_index=n), "ignore_index"),
        (lambda n: nn.CrossEntropyLoss(ignore_index=n), "ignore_index"),
        (lambda n: nn.NLLLoss(ignore_index=n), "ignore_index"),
        (lambda n: F.one_hot(TARGET, n), "one_hot: num_classes"),
        (lambda n: nn.Softmax(n), "dim"),
        (lambda n: nn.Flatten(n)(X), "start_dim"),
    ],
)
def test_integers_beyond_64_bits(call, name, wrong):
    with pytest.raises(
        ValueError, match=rf"^{name} must be from -2\*\*63 to 2\*\*63 - 1, got {str(wrong)[:10]}"
    ):
        call(wrong)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda v: F.smooth_l1_loss(X, X, beta=v), "beta"),
        (lambda v: nn.init.xavier_uniform_(rt.zeros(2, 2), v), "xavier_uniform_: gain"),
        (lambda v: nn.init.kaiming_uniform_(rt.zeros(2, 2), v), "kaiming_uniform_: a"),
        (lambda v: nn.init.orthogonal_(rt.zeros(2, 2), v), "orthogonal_: gain"),
        (lambda v: nn.utils.get_total_norm([X], v), "norm_type"),
    ],
)
def test_integers_that_no_float_can_hold(call, name):
    with pytest.raises(
        ValueError, match=rf"^{name}.* must be at most 1.8e\+308 in size, got an integer of 1329"
    ):
        call(10**400)


@pytest.mark.parametrize("wrong", [w for w in NO_INTEGERS if w is not None], ids=repr)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda n: F.embedding(TARGET, WEIGHT, n), "padding_idx"),
        (lambda n: nn.Embedding(2, 2, n), "padding_idx"),
        (lambda n: nn.LanguageModel(3, "gru", n), "hidden_size"),
        (lambda n: nn.LanguageModel(3, "gru", 2, n), "num_layers"),
        (lambda n: nn.LanguageModel(3, "gru", 2, 1, n), "embedding_size"),
        (lambda n: rnn.pad_packed_sequence(PACKED, total_length=n), "total_length"),
    ],
)
def test_what_is_no_optional_integer(call, name, wrong):
    with pytest.raises(TypeError, match=f"^{name} (should be of type int|must be an integer), got"):
        call(wrong)


@pytest.mark.parametrize("wrong", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda v: F.layer_norm(X, 3, eps=v), "layer_norm: eps"),
        (lambda v: nn.LayerNorm(3, v), "eps"),
        (lambda v: F.cross_entropy(X, TARGET, label_smoothing=v), "label_smoothing"),
        (lambda v: nn.CrossEntropyLoss(label_smoothing=v), "label_smoothing"),
        (nn.LeakyReLU, "negative_slope"),
        (nn.Softplus, "beta"),
        (lambda v: nn.Softplus(1.0, v), "threshold"),
        (lambda v: nn.init.uniform_(rt.ones(1), v), "uniform_: a"),
        (lambda v: nn.init.uniform_(rt.ones(1), 0.0, v), "uniform_: b"),
        (lambda v: nn.init.normal_(rt.ones(1), v), "normal_: mean"),
        (lambda v: nn.init.normal_(rt.ones(1), 0.0, v), "normal_: std"),
        (lambda v: nn.init.constant_(rt.ones(1), v), "constant_: val"),
        (lambda v: nn.init.xavier_uniform_(X, v), "xavier_uniform_: gain"),
        (lambda v: nn.init.xavier_normal_(X, v), "xavier_normal_: gain"),
        (lambda v: nn.init.kaiming_uniform_(X, v), "kaiming_uniform_: a"),
        (lambda v: nn.init.kaiming_normal_(X, v), "kaiming_normal_: a"),
        (lambda v: nn.init.orthogonal_(X, v), "orthogonal_: gain"),
        (lambda v: nn.init.forget_bias_(nn.LSTM(1, 1), v), "forget_bias_: value"),
        (lambda v: nn.utils.clip_grad_norm_([], v), "max_norm"),
        (lambda v: nn.utils.clip_grad_norm_([], 1.0, v), "norm_type"),
        (lambda v: nn.utils.get_total_norm([], v), "norm_type"),
        (lambda v: nn.utils.clip_grad_value_([], v), "clip_value"),
        (lambda v: rnn.pad_sequence([rt.ones(1)], padding_value=v), "padding_value"),
        (lambda v: rnn.pad_packed_sequence(PACKED, padding_value=v), "padding_value"),
    ],
)
def test_what_is_no_number(call, name, wrong):
    with pytest.raises(TypeError, match=f"^{name} must be a number, got {type(wrong).__name__}"):
        call(wrong)


@pytest.mark.parametrize("wrong", [*NO_NUMBERS, -0.1, 1.1, float("nan")], ids=repr)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (nn.Dropout, "p"),
        (lambda p: F.dropout(X, p), "p"),
        (lambda p: nn.LanguageModel(3, "gru", 2, dropout=p), "dropout"),
    ],
)
def test_what_is_no_probability(call, name, wrong):
    with pytest.raises(ValueError, match=rf"^{name} must be a probability, from 0 to 1"):
        call(wrong)


@pytest.mark.parametrize("wrong", [None, 3, 1.5, Ellipsis], ids=repr)
@pytest.mark.parametrize(
    ("call", "name", "what"),
    [
        (nn.utils.parameters_to_vector, "parameters", "Tensors"),
        (lambda v: nn.utils.vector_to_parameters(rt.ones(1), v), "parameters", "Tensors"),
        (lambda v: nn.utils.clip_grad_norm_(v, 1.0), "parameters", "Tensors"),
        (lambda v: nn.utils.clip_grad_value_(v, 1.0), "parameters", "Tensors"),
        (nn.utils.get_total_norm, "tensors", "Tensors"),
        (rnn.pad_sequence, "pad_sequence: sequences", "Tensors"),
        (rnn.pack_sequence, "pack_sequence: sequences", "Tensors"),
        (lambda v: nn.ModuleList().extend(v), "modules", "Modules"),
    ],
)
def test_what_is_no_iterable_of(call, name, what, wrong):
    with pytest.raises(TypeError, match=f"^{name} must be an iterable of {what}, got"):
        call(wrong)
    with pytest.raises(TypeError, match=f"^{name} must be an iterable of {what}, but number 0 is"):
        call([wrong])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Linear(-1, 2), ValueError, "in_features must be at least 0, got -1"),
        (lambda: nn.Embedding(2, -1), ValueError, "embedding_dim must be at least 0, got -1"),
        (lambda: nn.LayerNorm(-1), ValueError, "normalized_shape must be at least 0, got -1"),
        (lambda: nn.LanguageModel(0, "gru", 2), ValueError, "vocab_size must be greater than zero, got 0"),
        (
            lambda: nn.LanguageModel(3, ["gru"], 2),
            TypeError,
            "recurrent must be the name of a cell.* got list",
        ),
        (lambda: F.one_hot(TARGET, -2), ValueError, "num_classes must be at least 0, or -1"),
        (lambda: F.mse_loss(X, X, ["mean"]), ValueError, r"\['mean'\] is not a valid value for reduction"),
        (lambda: nn.utils.get_total_norm([X], 0), ValueError, "norm_type.* must be greater than 0, got 0"),
        (lambda: nn.utils.clip_grad_value_([X], -1), ValueError, "clip_value.* must be at least 0, got -1"),
        (lambda: nn.utils.parameters_to_vector([]), ValueError, "at least one Tensor, got none"),
        (lambda: nn.init.calculate_gain(["relu"]), TypeError, "nonlinearity must be a string, got list"),
        (lambda: nn.init.calculate_gain("leaky_relu", "x"), TypeError, "param must be a number, got str"),
        (
            lambda: nn.init.normal_(rt.ones(1), generator=3),
            TypeError,
            "generator must be a Generator or None",
        ),
        (lambda: nn.init.forget_bias_(nn.Linear(1, 1)), TypeError, "expects a recurrent layer, got Linear"),
        (lambda: nn.load_safetensors(3), TypeError, "path must be a str or a path-like object, got int"),
        (lambda: nn.save_safetensors({}, None), TypeError, "path must be a str or a path-like object"),
        (lambda: nn.save_safetensors([X], "x"), TypeError, "tensors must be a mapping with names"),
        (lambda: nn.save_safetensors({3: X}, "x"), TypeError, "tensors must be a mapping with names"),
        (lambda: nn.save_safetensors({}, "x", []), TypeError, "metadata must be a mapping with names"),
        (
            lambda: nn.save_safetensors({}, "x", {"a": 1}),
            TypeError,
            "metadata must be a mapping of str to str",
        ),
        (lambda: nn.ModuleList()["a"], TypeError, "the index must be an integer or a slice, got str"),
        (lambda: nn.ModuleList()["a":], TypeError, "the index must be an integer or a slice, got str"),
        (lambda: nn.ModuleList().insert("a", nn.Tanh()), TypeError, "the index must be an integer"),
        (lambda: nn.ModuleList().append(None), TypeError, "NoneType is not a Module subclass"),
        (lambda: nn.Sequential({"a": None}), TypeError, "NoneType is not a Module subclass"),
        (lambda: nn.ModuleDict({"a": None}), TypeError, "NoneType is not a Module subclass"),
        (
            lambda: nn.ModuleDict(3),
            TypeError,
            "modules must be a mapping of names to Modules, or pairs of a name and a Module, got int",
        ),
        (lambda: nn.ModuleDict()[["a"]], KeyError, "no module named"),
        (lambda: nn.Tanh().apply(3), TypeError, "fn must be a function of the module, got int"),
        (lambda: nn.Tanh().register_forward_hook(3), TypeError, "hook must be a function of the module"),
        (
            lambda: nn.Tanh().register_forward_pre_hook(3),
            TypeError,
            "hook must be a function of the module",
        ),
        (lambda: nn.Tanh().get_submodule(3), TypeError, "target must be a string, got int"),
        (lambda: nn.Tanh().get_parameter(3), TypeError, "target must be a string, got int"),
        (lambda: nn.Tanh().get_buffer(3), TypeError, "target must be a string, got int"),
        (lambda: nn.Tanh().state_dict(3), TypeError, "prefix must be a string, got int"),
        (lambda: nn.Tanh().load_state_dict({3: X}), TypeError, "names in a state_dict must be a string"),
        (lambda: list(nn.Tanh().named_modules("a")), TypeError, "memo must be a set of Modules, got str"),
        (
            lambda: nn.Tanh().to(dtype="speed"),
            TypeError,
            "only accepts float32 or float64 as dtype, got 'speed'",
        ),
    ],
)
def test_other_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_numbers_of_numpy_are_numbers():
    assert nn.Linear(np.int64(3), np.int32(2))(rt.ones(1, 3)).shape == (1, 2)
    assert nn.Dropout(np.float32(0.5)).eval()(X) is X
    assert F.layer_norm(X, np.int64(3), eps=np.float32(1e-5)).shape == (2, 3)


def test_lists_and_arrays_are_good_targets_too():
    same = F.cross_entropy(X, TARGET).item()
    assert F.cross_entropy(X, [0, 1]).item() == same
    probabilities = np.eye(3, dtype=np.float32)[:2]
    assert F.cross_entropy(X, probabilities).item() == pytest.approx(same)


def test_the_order_of_a_packed_sequence_is_found_or_checked():
    data, sizes = rt.tensor([1.0, 2.0, 3.0]), rt.tensor([2, 1])
    swapped = rt.tensor([1, 0])
    packed = rnn.PackedSequence(data, sizes, unsorted_indices=swapped)
    assert packed.sorted_indices.tolist() == [1, 0]
    padded, lengths = rnn.pad_packed_sequence(packed, batch_first=True)
    assert padded.tolist() == [[2.0, 0.0], [1.0, 3.0]]
    assert lengths.tolist() == [1, 2]
    with pytest.raises(ValueError, match="must be the inverse permutation of sorted_indices"):
        rnn.PackedSequence(data, sizes, swapped, rt.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"permutation must be int64 of shape \(B,\)"):
        rnn.invert_permutation(rt.tensor([0, 0]))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: nn.BatchNorm1d(2, affine="no"), "affine"),
        (lambda: nn.BatchNorm1d(2, track_running_stats=None), "track_running_stats"),
        (lambda: F.batch_norm(rt.ones(2, 2), None, None, training="no"), "batch_norm: training"),
        (lambda: nn.Conv1d(1, 1, 1, bias="no"), "bias"),
        (lambda: nn.Linear(1, 1, bias="no"), "bias"),
        (lambda: nn.LayerNorm(1, elementwise_affine="no"), "elementwise_affine"),
        (lambda: nn.LayerNorm(1, bias=0), "bias"),
        (lambda: nn.MaxPool2d(2, return_indices="no"), "return_indices"),
        (lambda: F.max_pool2d(rt.ones(1, 2, 2), 2, ceil_mode="no"), "max_pool2d: ceil_mode"),
        (lambda: nn.AvgPool2d(2, ceil_mode="no"), "ceil_mode"),
        (lambda: F.avg_pool2d(rt.ones(1, 2, 2), 2, count_include_pad="no"), "avg_pool2d: count_include_pad"),
        (lambda: nn.KLDivLoss(log_target="no"), "log_target"),
        (lambda: F.kl_div(rt.ones(1), rt.ones(1), "sum", "no"), "kl_div: log_target"),
    ],
)
def test_flags_of_layers(call, name):
    with pytest.raises(TypeError, match=f"^{name} must be True or False, got"):
        call()
