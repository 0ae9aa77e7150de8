"""What the recurrent layers refuse: the error, and its words."""

import re

import numpy as np
import pytest

from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn.utils.rnn import PackedSequence


def zeros(*shape, dtype="float32"):
    return rt.zeros(*shape, dtype=dtype)


@pytest.mark.parametrize("value", [None, 0.5, "leak", np.ones(2)])
def test_hyperparameters_set_to_what_is_no_mapping(value):
    layer = nn.GRU(4, 5)
    layer.hyperparameters = value
    for call in (lambda: layer(zeros(3, 2, 4)), layer.stepper):
        with pytest.raises(TypeError, match="hyperparameters must be a mapping of names to numbers"):
            call()


@pytest.mark.parametrize("option", ["recurrent_dropout", "weight_dropout"])
def test_what_acts_on_recurrent_matrices_needs_some(option):
    with pytest.raises(
        ValueError,
        match=f"cell indrnn has no recurrent matrices, so {option} has nothing to act on; use zoneout",
    ):
        nn.Recurrent(nn.cells.indrnn, 3, 4, **{option: 0.9})
    nn.Recurrent(nn.cells.indrnn, 3, 4, **{option: 0.0})


def test_a_tensor_of_torch_is_called_so():
    torch = pytest.importorskip("torch")
    layer, x = nn.LSTM(3, 4), torch.zeros(5, 2, 3)
    with pytest.raises(
        TypeError, match=r"must be a Tensor or a PackedSequence, got torch\.Tensor: wrap it in rt\.tensor"
    ):
        layer(x)
    with pytest.raises(
        TypeError, match=r"hx must be a tuple of 2 Tensors \(h, c\), got \(torch\.Tensor, Tensor\)"
    ):
        layer(rt.tensor(x), (torch.zeros(1, 2, 4), zeros(1, 2, 4)))
    with pytest.raises(TypeError, match=r"x_t must be a Tensor, an array or an id, got torch\.Tensor"):
        layer.stepper()(x[0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.GRU(4, 5, proj_size=2),
            ValueError,
            "proj_size argument is only supported for LSTM, not RNN or GRU",
        ),
        (
            lambda: nn.RNN(4, 5, proj_size=2),
            ValueError,
            "proj_size argument is only supported for LSTM, not RNN or GRU",
        ),
        (lambda: nn.LSTM(4, 5, proj_size=5), ValueError, "proj_size has to be smaller than hidden_size"),
        (lambda: nn.LSTM(4, 5, proj_size=-1), ValueError, "proj_size should be a positive integer or zero"),
        (
            lambda: nn.Recurrent(nn.cells.gru, 4, 5, proj_size=2),
            ValueError,
            r"proj_size=2 needs a cell that does not read its first state, which is projected: cell gru reads",
        ),
        (lambda: nn.LSTM(4, 0), ValueError, "hidden_size must be greater than zero, got 0"),
        (lambda: nn.LSTM(0, 5), ValueError, "input_size must be greater than zero, got 0"),
        (lambda: nn.LSTM(4, 5, 0), ValueError, "num_layers must be greater than zero, got 0"),
        (lambda: nn.LSTM(4, 5.0), TypeError, "hidden_size should be of type int, got: float"),
        (lambda: nn.GRU(4, 5, bias=[1, 2]), TypeError, r"bias must be True or False, got \[1, 2\]"),
        (lambda: nn.GRU(4, 5, 1, True, "yes"), TypeError, "batch_first must be True or False, got 'yes'"),
        (lambda: nn.GRUCell(4, 5, None), TypeError, "bias must be True or False, got None"),
        (
            lambda: nn.RNN(4, 5, nonlinearity=["tanh"]),
            ValueError,
            r"Unknown nonlinearity '\['tanh'\]'. Select from 'tanh' or 'relu'.",
        ),
        (
            lambda: nn.RNN(4, 5, proj_size=np.ones(2)),
            ValueError,
            "proj_size argument is only supported for LSTM",
        ),
        (
            lambda: nn.LSTM(4, 5, proj_size="one"),
            ValueError,
            "proj_size should be a positive integer or zero",
        ),
        (
            lambda: nn.LSTM(4, 5, zoneout=[0.5]),
            ValueError,
            r"zoneout must be the probability of a unit keeping .* got \[0.5\]",
        ),
        (
            lambda: nn.LSTM(4, 5, zoneout=1.5),
            ValueError,
            r"the probability of a unit keeping its old state, from 0 to 1, got 1.5",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), lengths=[3.0, 1]),
            TypeError,
            r"lengths must be 2 integers, got floats \(float64\)",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), lengths=[True, True]),
            TypeError,
            r"lengths must be 2 integers, got truth values \(bool\)",
        ),
        (
            lambda: nn.LSTM(4, 5, zoneout=np.complex64(0.5)),
            ValueError,
            "zoneout must be the probability of a unit keeping",
        ),
        (
            lambda: nn.LSTM(4, 5, zoneout={"h": "often"}),
            ValueError,
            "zoneout must be the probability of a unit keeping",
        ),
        (
            lambda: nn.LSTM(4, 5, hyperparameters=0.5),
            TypeError,
            "hyperparameters must be a mapping of names to numbers, got 0.5; the scalars of cell lstm are: none",
        ),
        (
            lambda: nn.LSTM(4, 5, hyperparameters="leak"),
            TypeError,
            "hyperparameters must be a mapping of names to numbers, got 'leak'",
        ),
        (
            lambda: nn.LSTM(4, 5, proj_size=2, zoneout=0.25),
            ValueError,
            "zoneout of the state h keeps old values .*: name the other states",
        ),
        (
            lambda: nn.GRU(4, 5, bptt_truncate=[1]),
            ValueError,
            "bptt_truncate must be None or a number of steps",
        ),
        (
            lambda: nn.GRU(4, 5, recompute_every=0),
            ValueError,
            "recompute_every must be None or a number of steps, at least 1, got 0",
        ),
        (lambda: nn.GRU(4, 5).begin_state(-1), ValueError, "batch_size must be at least 0, got -1"),
        (lambda: nn.GRU(4, 5).begin_state("two"), TypeError, "batch_size should be of type int, got: str"),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), lengths=[[1], [2, 3]]),
            TypeError,
            "lengths must be a Tensor or an array of numbers, got a ragged list",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), reset=[[True], [True, False]]),
            TypeError,
            "reset must be a Tensor or an array of numbers, got a ragged list",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), lengths="ab"),
            TypeError,
            "lengths must be a Tensor or an array of numbers, got str",
        ),
        (
            lambda: nn.GRU(4, 5).all_states([[1.0]]),
            TypeError,
            "input must be a Tensor or a PackedSequence, got list",
        ),
        (lambda: nn.GRU(4, 5)(zeros(3, 2, 4), {}), TypeError, r"hx must be a Tensor, got dict"),
        (
            lambda: nn.RNN(4, 5, nonlinearity="x"),
            ValueError,
            "Unknown nonlinearity 'x'. Select from 'tanh' or 'relu'.",
        ),
        (
            lambda: nn.RNNCell(4, 5, nonlinearity="x"),
            ValueError,
            "Unknown nonlinearity 'x'. Select from 'tanh' or 'relu'.",
        ),
        (lambda: nn.GRU(4, 5, 2, dropout=2), ValueError, r"dropout must be a probability, from 0 to 1"),
        (lambda: nn.GRU(4, 5, 2, dropout=True), ValueError, r"dropout must be a probability, from 0 to 1"),
        (lambda: nn.GRU(4, 5, dropout=0.5), UserWarning, "dropout=0.5 and num_layers=1"),
        (
            lambda: nn.RNN(4, 5)(np.zeros((3, 2, 4))),
            TypeError,
            r"must be a Tensor or a PackedSequence, got numpy\.ndarray",
        ),
        (
            lambda: nn.RNN(4, 5)(zeros(4)),
            ValueError,
            "RNN: Expected input to be 2D or 3D, got 1D tensor instead",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(1, 2, 3, 4)),
            ValueError,
            "GRU: Expected input to be 2D or 3D, got 4D tensor instead",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(1, 2, 3, dtype="int64")),
            ValueError,
            "GRU: Expected input of integers to be 1D or 2D, got 3D tensor instead",
        ),
        (
            lambda: nn.RNN(4, 5)(zeros(3, 2, 6)),
            RuntimeError,
            r"input.size\(-1\) must be equal to input_size. Expected 4, got 6",
        ),
        (
            lambda: nn.RNN(4, 5)(zeros(3, 2, 4, dtype="float64")),
            TypeError,
            r"RNN input dtype \(float64\) does not match weight dtype \(float32\). "
            r"Convert input: input.to\('float32'\), or convert model: model.to\('float64'\)",
        ),
        (
            lambda: nn.RNN(4, 5)(zeros(3, 2, 4, dtype="float16")),
            TypeError,
            r"does not match weight dtype \(float32\). Convert input: input.to\('float32'\)$",
        ),
        (
            lambda: nn.LSTM(4, 5)(PackedSequence(zeros(3, 6), rt.tensor([2, 1]))),
            RuntimeError,
            "Expected 4, got 6",
        ),
        (
            lambda: nn.RNN(4, 5)(zeros(0, 2, 4)),
            RuntimeError,
            "Expected sequence length to be larger than 0 in RNN",
        ),
        (
            lambda: nn.RNN(4, 5)(zeros(3, 2, 4), zeros(1, 5)),
            RuntimeError,
            "For batched 3-D input, hx should also be 3-D but got 2-D tensor",
        ),
        (
            lambda: nn.RNN(4, 5)(zeros(3, 4), zeros(1, 1, 5)),
            RuntimeError,
            "For unbatched 2-D input, hx should also be 2-D but got 3-D tensor",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), zeros(1, 3, 5)),
            RuntimeError,
            r"Expected hidden size \(1, 2, 5\), got \[1, 3, 5\]",
        ),
        (
            lambda: nn.LSTM(4, 5)(zeros(3, 2, 4), (zeros(1, 2, 5), zeros(1, 3, 5))),
            RuntimeError,
            r"Expected hidden\[1\] size \(1, 2, 5\), got \[1, 3, 5\]",
        ),
        (
            lambda: nn.LSTM(4, 5, proj_size=2)(zeros(3, 2, 4), (zeros(1, 2, 5), zeros(1, 2, 5))),
            RuntimeError,
            r"Expected hidden\[0\] size \(1, 2, 2\), got \[1, 2, 5\]",
        ),
        (
            lambda: nn.LSTM(4, 5)(zeros(3, 2, 4), zeros(1, 2, 5)),
            TypeError,
            r"hx must be a tuple of 2 Tensors \(h, c\), got Tensor$",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), (zeros(1, 2, 5), zeros(1, 2, 5))),
            TypeError,
            r"hx must be a Tensor, got \(Tensor, Tensor\)",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), zeros(1, 2, 5, dtype="float64")),
            TypeError,
            r"hidden dtype \(float64\) does not match weight dtype \(float32\)",
        ),
        (lambda: nn.GRU(4, 5)(rt.tensor([[1], [4]])), IndexError, "x must be ids from 0 to 3 .* got 4"),
        (
            lambda: nn.GRUCell(4, 5)(zeros(2, 6)),
            RuntimeError,
            "input has inconsistent input_size: got 6 expected 4",
        ),
        (
            lambda: nn.GRUCell(4, 5)(zeros(1, 2, 4)),
            ValueError,
            "GRUCell: Expected input to be 1D or 2D, got 3D instead",
        ),
        (
            lambda: nn.RNNCell(4, 5)(zeros(2, 4), zeros(3, 5)),
            RuntimeError,
            "Input batch size 2 doesn't match hidden0 batch size 3",
        ),
        (
            lambda: nn.LSTMCell(4, 5)(zeros(2, 4), (zeros(2, 5), zeros(2, 6))),
            RuntimeError,
            "hidden1 has inconsistent hidden_size: got 6, expected 5",
        ),
        (
            lambda: nn.LSTMCell(4, 5)(zeros(2, 4), zeros(2, 5)),
            TypeError,
            r"hx must be a pair of Tensors \(h, c\), got a Tensor",
        ),
        (
            lambda: nn.RecurrentCell(nn.cells.mgu, 4, 5)(zeros(2, 4), (zeros(2, 5), zeros(2, 5))),
            TypeError,
            r"hx must be a Tensor, got \(Tensor, Tensor\)",
        ),
        (
            lambda: nn.RecurrentCell(nn.cells.lstm, 4, 5)(zeros(2, 4), zeros(2, 5)),
            TypeError,
            r"hx must be a tuple of 2 Tensors \(h, c\), got Tensor$",
        ),
        (
            lambda: nn.RNNCell(4, 5)(zeros(2, 4), zeros(5)),
            RuntimeError,
            "hidden0 must be 2D like the input, got 1D",
        ),
        (lambda: nn.RNNCell(4, 5)(np.zeros((2, 4))), TypeError, "input must be a Tensor, got ndarray"),
        (
            lambda: nn.RNNCell(4, 5)(zeros(2, 4, dtype="float64")),
            TypeError,
            r"RNNCell input dtype \(float64\) does not match weight dtype \(float32\)",
        ),
        (
            lambda: nn.RNNCell(4, 5)(zeros(2, 4), zeros(2, 5, dtype="float64")),
            TypeError,
            r"hidden0 dtype \(float64\) does not match weight dtype \(float32\)",
        ),
        (
            lambda: nn.RNNCell(4, 5)(zeros(2, 4), np.zeros((2, 5))),
            TypeError,
            "hidden0 must be a Tensor, got ndarray",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.LSTM(2, 3, bidirektional=True),
            "LSTM has no option 'bidirektional': did you mean bidirectional?",
        ),
        (
            lambda: nn.RNN(2, 3, nonlinerity="relu"),
            "RNN has no option 'nonlinerity': did you mean nonlinearity?",
        ),
        (lambda: nn.GRU(2, 3, zoneot=0.1), "GRU has no option 'zoneot': did you mean zoneout?"),
        (
            lambda: nn.Recurrent(nn.cells.gru, 2, 3, batchfirst=True),
            "Recurrent has no option 'batchfirst': did you mean batch_first?",
        ),
        (
            lambda: nn.LanguageModel(7, "gru", 3, embeding_size=4),
            "LanguageModel has no option 'embeding_size': did you mean embedding_size?",
        ),
        (
            lambda: nn.LanguageModel(7, nn.GRU(7, 3), tie_weigths=True),
            "LanguageModel has no option 'tie_weigths': did you mean tie_weights?",
        ),
        (
            lambda: nn.LanguageModel(7, "gru", 3, bptt_trunkate=4),
            "LanguageModel has no option 'bptt_trunkate': did you mean bptt_truncate?",
        ),
        (
            lambda: nn.GRU(2, 3, xyz=1),
            "GRU has no option 'xyz': there are input_size, hidden_size, num_layers,",
        ),
    ],
)
def test_a_misspelt_option_is_refused_with_the_nearest(make, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        make()


def test_a_hyperparameter_that_the_dtype_cannot_hold_is_refused():
    @nn.recurrent_cell(gates=("a",), states=("h",))
    def leaky(x, r, s, *, leak=0.5):
        return s.h * (1 - leak) + leak * nn.cell_math.tanh(x.a + r.a)

    layer = nn.Recurrent(leaky, 2, 3)
    layer.hyperparameters = {"leak": 1e300}
    with pytest.raises(
        ValueError, match=r"hyperparameter leak 1e\+300 does not fit float32, whose largest number is"
    ):
        layer(rt.ones(2, 1, 2))
