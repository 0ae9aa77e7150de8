"""Generation against a model whose probabilities are known."""

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.data import CharTokenizer, Codec, WordTokenizer
from rondeau.train import DivergedError, generate, token_probabilities

TEXT = "aaaaabbbbcccdde"  # by frequency: <unk> 0, a 1, b 2, c 3, d 4, e 5


@pytest.fixture
def codec():
    return Codec.fit(TEXT, CharTokenizer())


class Bigram(nn.Module):
    """Logits of the next token by a table; its state counts the tokens read."""

    def __init__(self, table):
        super().__init__()
        self.table = nn.Parameter(np.asarray(table, dtype=np.float32))
        self.calls = []

    def forward(self, ids, state=None):
        count = 0 if state is None else state
        self.calls.append((ids.tolist(), count, self.training, rt.is_grad_enabled()))
        return rt.tensor(self.table.detach().numpy()[ids.T.reshape(-1)]), count + ids.shape[1]


def cycle(codec):
    """A model that writes abcdeabcde..."""
    table = np.zeros((6, 6))
    for token, following in zip("abcde", "bcdea", strict=True):
        table[codec.vocab[token], codec.vocab[following]] = 50
    return Bigram(table)


def text_of(*arguments, **options):
    return "".join(generate(*arguments, **options))


def test_reads_the_prompt_then_its_own_draws(codec):
    model = cycle(codec)
    assert text_of(model, codec, "cd", 7, seed=0) == "eabcdea"
    ids, counts, _, _ = zip(*model.calls, strict=True)
    assert ids[0] == [codec.vocab[["c", "d"]]]
    assert ids[1:4] == ([[codec.vocab["e"]]], [[codec.vocab["a"]]], [[codec.vocab["b"]]])
    assert counts == (0, 2, 3, 4, 5, 6, 7)


def test_streams_and_leaves_the_caller_as_it_was(codec):
    model = cycle(codec).train()
    pieces = generate(model, codec, "a", 3, seed=0)
    assert model.calls == [], "nothing is computed before it is asked for"
    for piece, expected in zip(pieces, "bcd", strict=True):
        assert piece == expected
        assert model.training
        assert rt.is_grad_enabled()
    assert {call[2:] for call in model.calls} == {(False, False)}


def test_greedy_takes_the_likeliest(codec):
    rt.manual_seed(0)
    model = nn.LanguageModel(len(codec), "gru", 8)
    greedy = text_of(model, codec, "ab", 20, temperature=0)
    assert greedy == text_of(model, codec, "ab", 20, temperature=0, seed=9)
    assert greedy == text_of(model, codec, "ab", 20, top_k=1)
    assert greedy == text_of(model, codec, "ab", 20, top_p=1e-9)
    ids = codec.encode("ab" + greedy).astype(np.int64)
    logits, _ = model(ids[None, :])
    scores = logits.detach().numpy()[1:-1].copy()
    scores[:, 0] = -np.inf
    assert scores.argmax(1).tolist() == ids[2:].tolist(), "one step at a time is the whole at once"


def test_draws_with_weights_in_int8(codec, monkeypatch):
    """The stepper has them, and its probabilities draw nearly the same; what is not float32 is refused at the call."""
    rt.manual_seed(0)
    model, formats, stepper = nn.LanguageModel(len(codec), "lstm", 24), [], nn.LanguageModel.stepper

    def watched(self, weights="float32"):
        formats.append(weights)
        return stepper(self, weights)

    monkeypatch.setattr(nn.LanguageModel, "stepper", watched)
    plain, rounded = (text_of(model, codec, "ab", 60, seed=0, weights=kind) for kind in ("float32", "int8"))
    assert formats == ["float32", "int8"]
    assert plain[:20] == rounded[:20]
    assert rounded == text_of(model, codec, "ab", 60, seed=0, weights="int8")
    with pytest.raises(
        ValueError, match="weights: int8 is for a model of float32 on the CPU, got float64 on cpu"
    ):
        generate(model.to("float64"), codec, "ab", 5, weights="int8")


class Forwarding(nn.Module):
    """A language model that is called for every token, as any module is."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids, state=None):
        return self.model(ids, state)


@pytest.mark.parametrize("recurrent", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("embedding_size", [None, 5])
def test_stepping_writes_what_the_models_own_forward_writes(codec, recurrent, embedding_size):
    rt.manual_seed(0)
    learns = recurrent == "lstm"
    model = nn.LanguageModel(
        len(codec), recurrent, 8, 2, embedding_size, dropout=0.5, learn_initial_state=learns
    )
    if learns:
        nn.init.normal_(model.recurrent.initial_c_l0)
    for options in ({}, {"temperature": 0.7, "top_k": 3}, {"top_p": 0.8}):
        stepped = text_of(model, codec, "abc", 200, seed=3, **options)
        assert stepped == text_of(Forwarding(model), codec, "abc", 200, seed=3, **options)
    assert model.training


def test_the_text_is_that_of_the_model_as_it_was(codec):
    rt.manual_seed(0)
    model = nn.LanguageModel(len(codec), "gru", 8)
    expected = text_of(model, codec, "a", 50, seed=0)
    pieces = generate(model, codec, "a", 50, seed=0)
    text = next(pieces)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    assert text + "".join(pieces) == expected


def test_a_subclass_with_a_forward_of_its_own_is_called(codec):
    class Stubborn(nn.LanguageModel):
        def forward(self, ids, state=None):
            logits, state = super().forward(ids, state)
            logits.data[:] = 0
            logits.data[:, codec.vocab["e"]] = 50
            return logits, state

    assert text_of(Stubborn(len(codec), "gru", 8), codec, "a", 5, temperature=0) == "eeeee"


def test_no_length_reads_nothing(codec):
    model = cycle(codec)
    assert text_of(model, codec, "a", 0) == ""
    assert model.calls == []


def test_draws_have_the_stated_frequencies(codec):
    probabilities = np.array([0.5, 0.3, 0.1, 0.06, 0.04])
    model = Bigram(np.tile(np.concatenate([[3.0], np.log(probabilities)]), (6, 1)))
    text = text_of(model, codec, "a", 20_000, seed=1)
    counts = np.array([text.count(token) for token in "abcde"])
    expected = probabilities * 20_000
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 18.5, counts  # the 99.9th percentile for 4 degrees of freedom
    assert len(text) == 20_000, "the unknown token, here the likeliest, is never drawn"


def test_the_seed_decides(codec):
    model = Bigram(np.zeros((6, 6)))
    one = text_of(model, codec, "a", 100, seed=1)
    assert one == text_of(model, codec, "a", 100, seed=1)
    assert one != text_of(model, codec, "a", 100, seed=2)
    assert text_of(model, codec, "a", 100) != text_of(model, codec, "a", 100)


class Called(nn.LanguageModel):
    """A model that is not read by its stepper, because it may compute something else."""

    def forward(self, ids, state=None):
        return super().forward(ids, state)


@pytest.mark.parametrize("kind", [nn.LanguageModel, Called])
def test_the_seed_decides_the_noise_too(codec, kind):
    layer = nn.Recurrent(nn.cells.ctrnn, len(codec), 4, hyperparameters={"noise": 1.0})
    model, before = kind(len(codec), layer), rt.default_generator().get_state()
    nn.init.constant_(model.head.weight, 1.0)
    texts = [text_of(model, codec, "a", 40, seed=seed) for seed in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]
    assert rt.default_generator().get_state() == before, "a sample changes nothing in a training"
    text_of(model, codec, "a", 3)
    assert rt.default_generator().get_state() == before


def test_words_are_joined_as_their_tokenizer_does():
    codec = Codec.fit("to be or not to be", WordTokenizer())
    model = Bigram(np.zeros((len(codec), len(codec))))
    assert set(text_of(model, codec, "to be", 30, seed=0).split()) == {"to", "be", "or", "not"}


@pytest.mark.parametrize(
    ("prompt", "continuation"),
    [
        ("to be", " or not\nto"),
        ("to be ", "or not\nto"),
        ("be or\tnot", "\nto be or"),
        ("not\n", "to be or not"),
    ],
)
def test_the_first_word_is_joined_to_the_prompt_as_any_other(prompt, continuation):
    codec = Codec.fit("to be or not\n" * 2, WordTokenizer())
    words = ["to", "be", "or", "not", "\n"]
    table = np.zeros((len(codec), len(codec)))
    for word, following in zip(words, [*words[1:], words[0]], strict=True):
        table[codec.vocab[word], codec.vocab[following]] = 50
    assert text_of(Bigram(table), codec, prompt, 4, temperature=0) == continuation


def test_a_prompt_that_normalisation_changes_is_not_repeated():
    codec = Codec.fit("to be", CharTokenizer(normalise="d2l"))
    table = np.zeros((len(codec), len(codec)))
    table[:, codec.vocab["e"]] = 50
    assert text_of(Bigram(table), codec, "TO  BE! ", 2, temperature=0) == "ee"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({"temperature": 0.5}, [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        ({"temperature": 0}, [1, 0, 0, 0]),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_k": 100}, [0.4, 0.3, 0.2, 0.1]),
        ({"top_p": 0.5}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_p": 0.39}, [1, 0, 0, 0]),
        ({"top_p": 1.0}, [0.4, 0.3, 0.2, 0.1]),
        ({"top_k": 3, "top_p": 0.7}, [4 / 7, 3 / 7, 0, 0]),  # 4/9 + 3/9 reach 0.7 among the top three
        ({"top_k": 2, "temperature": 0.5}, [16 / 25, 9 / 25, 0, 0]),
    ],
    ids=str,
)
def test_token_probabilities(options, expected):
    order = np.array([2, 0, 3, 1])
    logits = np.empty(4)
    logits[order] = np.log([0.4, 0.3, 0.2, 0.1]) + 7
    got = token_probabilities(logits, **options)
    assert_close(got[order], expected, rtol=1e-12, atol=1e-15)


def test_token_probabilities_do_not_overflow():
    assert_same_bits(token_probabilities(np.array([1e4, 0.0, -np.inf]), 0.01), [1, 0, 0])


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ("", {}, "the prompt holds no token; give at least one"),
        (
            "a€x",
            {},
            r"the prompt holds 'x', '€', not among the 6 tokens .*; leave them out, or let them be <unk>",
        ),
        ("a", {"temperature": -1}, "temperature: expected a finite number >= 0, got -1"),
        ("a", {"temperature": float("inf")}, "temperature: expected a finite number >= 0, got inf"),
        (
            "a",
            {"temperature": 10**400},
            "temperature: expected a finite number >= 0, got an integer of 1329 bits",
        ),
        (
            "a",
            {"length": 10**400},
            "length: expected at most 9223372036854775807 tokens, got an integer of 1329",
        ),
        ("a", {"top_p": float("nan")}, r"top_p: expected a number in \(0, 1\], got nan"),
        ("a", {"temperature": float("nan")}, "temperature: expected a finite number >= 0, got nan"),
        ("a", {"top_k": 0}, "top_k: expected at least 1, got 0"),
        ("a", {"top_p": 0}, r"top_p: expected a number in \(0, 1\], got 0"),
        ("a", {"top_p": 1.5}, r"top_p: expected a number in \(0, 1\], got 1.5"),
        ("a", {"length": -1}, "length: expected at least 0 tokens, got -1"),
        ("a", {"on_unknown": "skip"}, "on_unknown: expected 'error' or 'unk', got 'skip'"),
        ("a", {"weights": "int4"}, "weights: expected 'float32' or 'int8', got 'int4'"),
        ("a", {"weights": "int8"}, "weights: int8 is for an nn.LanguageModel .*, got Bigram"),
    ],
)
def test_mistakes_are_told_at_the_call(codec, prompt, options, message):
    with pytest.raises(ValueError, match=message):
        generate(cycle(codec), codec, prompt, **({"length": 5} | options))


def test_unknown_tokens_may_be_unk(codec):
    model = cycle(codec)
    text_of(model, codec, "a€", 1, on_unknown="unk", seed=0)
    assert model.calls[0][0] == [[codec.vocab["a"], codec.vocab.unk]]
    without = Codec.fit(TEXT, CharTokenizer(), unk_token=None)
    with pytest.raises(ValueError, match=r"leave them out$"):
        generate(model, without, "a€", 1, on_unknown="unk")


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0}, {"top_k": 1}, {"top_p": 0.5}, {"temperature": 1e-320}]
)
@pytest.mark.parametrize(
    ("logits", "why"),
    [
        ([0.0, np.nan, 1.0], "one is nan"),
        ([np.nan] * 3, "one is nan"),
        ([-np.inf, np.nan, -np.inf], "one is nan"),
        ([0.0, np.inf, 1.0], "one is inf"),
        ([-np.inf] * 3, "all are -inf"),
    ],
)
def test_logits_of_which_no_probabilities_follow(logits, why, options):
    with pytest.raises(
        ValueError, match=f"^logits: expected numbers, or minus infinity for some, but {why}$"
    ):
        token_probabilities(np.array(logits), **options)
    codec = Codec.fit("ab", CharTokenizer())
    pieces = generate(Bigram(np.tile(logits, (3, 1))), codec, "ab", 5, seed=0, **options)
    with pytest.raises(
        DivergedError, match=f"^the model predicts no token after the first 2: of its logits {why};"
    ):
        next(pieces)


def test_a_model_that_diverges_on_the_way_ends_the_text(codec):
    """What was drawn before has been given; the error names how far it went."""
    model = cycle(codec)
    model.table.data[codec.vocab["d"], codec.vocab["b"]] = np.nan
    pieces = generate(model, codec, "b", 9, seed=0)
    assert next(pieces) + next(pieces) == "cd"
    with pytest.raises(DivergedError, match="after the first 3: of its logits one is nan"):
        next(pieces)


def test_small_temperatures_and_masked_logits_are_exact():
    logits = np.array([3.0, -np.inf, 2.0, 3.0])
    for temperature in (1e-320, 1e-300, 1e-10):
        assert_same_bits(token_probabilities(logits, temperature), [0.5, 0, 0, 0.5])
    assert_close(token_probabilities(logits, 1e308), [1 / 3, 0, 1 / 3, 1 / 3], rtol=1e-7)


def test_the_text_to_be_drawn_says_how_to_have_it(codec):
    pieces = generate(cycle(codec), codec, "a", 3, seed=0)
    assert 'write "".join(...) for the whole' in repr(pieces)
    assert iter(pieces) is pieces
    assert "".join(pieces) == "bcd"
    with pytest.raises(StopIteration):
        next(pieces)


class Sharpened(nn.Linear):
    def forward(self, input):
        return 50 * super().forward(input)


def sharpened_head(model):
    head = Sharpened(4, model.vocab_size)
    head.load_state_dict(model.head.state_dict())
    model.head = head


@pytest.mark.parametrize(
    "sharpen",
    [
        sharpened_head,
        lambda model: model.head.register_forward_hook(lambda module, given, logits: 50 * logits),
    ],
)
def test_what_the_parts_of_a_model_do_besides_counts(codec, sharpen):
    rt.manual_seed(0)
    model = nn.LanguageModel(len(codec), "gru", 4)
    likeliest = text_of(model, codec, "ab", 20, temperature=0)
    assert text_of(model, codec, "ab", 20, seed=0, temperature=0.01) == likeliest
    assert text_of(model, codec, "ab", 20, seed=0, temperature=0.5) != likeliest
    sharpen(model)
    assert text_of(model, codec, "ab", 20, seed=0, temperature=0.5) == likeliest
    with pytest.raises(ValueError, match=r"int8 is for .* whose parts have"):
        text_of(model, codec, "ab", 5, weights="int8")
