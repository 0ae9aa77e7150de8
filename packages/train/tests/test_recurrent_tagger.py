"""`RecurrentTagger`: a class for each step, in lists and in padded arrays."""

import numpy as np
import pytest

from comparing import assert_same_bits

pytest.importorskip("sklearn", reason="needs scikit-learn")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, train_test_split

from rondeau.train.estimators import RecurrentTagger


def weights(model):
    return list(model.model_.parameters())


def parities(n=60, longest=7):
    """Sequences of bits, and whether the ones so far are odd in number."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 2, T) for T in rng.integers(1, longest + 1, n)]
    return rows, [np.where(np.cumsum(row) % 2, "odd", "even") for row in rows]


def padded(rows, fill):
    array = np.full((len(rows), max(map(len, rows))), fill, dtype=np.asarray(rows[0]).dtype)
    for i, row in enumerate(rows):
        array[i, : len(row)] = row
    return array, [len(row) for row in rows]


def test_a_tagger_learns_every_step_and_answers_in_the_form_it_is_asked():
    X, y = parities(200)
    tagger = RecurrentTagger(hidden_size=16, epochs=25, lr=0.02, random_state=0).fit(X[:150], y[:150])
    assert tagger.score(X[150:], y[150:]) == 1.0
    predicted = tagger.predict(X[150:])
    assert all((p == t).all() and p.shape == t.shape for p, t in zip(predicted, y[150:], strict=True))
    probabilities = tagger.predict_proba(X[150:])
    assert [p.shape for p in probabilities] == [(len(t), 2) for t in y[150:]]
    assert (tagger.classes_[probabilities[3].argmax(1)] == y[153]).all()
    equal = [row for row in X if len(row) == 5]
    assert tagger.predict(equal).shape == (len(equal), 5)


def test_a_tagger_is_the_same_on_lists_and_on_padded_arrays_with_lengths():
    X, y = parities()
    (array, lengths), (labels, _) = padded(X, 0), padded(y, "none")  # labels past the end do not count
    model = RecurrentTagger(hidden_size=4, epochs=2, bidirectional=True, random_state=0)
    ragged, fixed = clone(model).fit(X, y), clone(model).fit(array, labels, lengths=lengths)
    assert_same_bits(weights(ragged), weights(fixed))
    assert fixed.classes_.tolist() == ["even", "odd"]
    found, wanted = fixed.predict_proba(array, lengths=lengths), ragged.predict_proba(X)
    for i, length in enumerate(lengths):
        assert_same_bits(found[i, :length], wanted[i])
    right = sum((p == t).sum() for p, t in zip(ragged.predict(X), y, strict=True))
    assert (
        ragged.score(X, y)
        == fixed.score(array, labels, lengths=lengths)
        == pytest.approx(right / sum(lengths))
    )
    as_objects = np.empty(len(X), object)
    as_objects[:] = X
    assert_same_bits(ragged.predict(as_objects), ragged.predict(X))


def test_the_loss_and_the_validation_score_of_a_tagger_are_means_over_steps():
    X, y = parities(20)
    options = {"hidden_size": 4, "epochs": 1, "batch_size": 3, "random_state": 0}
    model = RecurrentTagger(lr=1e-30, early_stopping=True, validation_fraction=0.5, **options).fit(X, y)
    orders = np.random.RandomState(0)
    orders.randint(2**31)  # the seed of the weights comes first
    train, held_out = train_test_split(np.arange(20), test_size=0.5, random_state=orders)
    numbers = [np.searchsorted(model.classes_, row) for row in y]
    terms = [-np.log(p[np.arange(len(c)), c]) for p, c in zip(model.predict_proba(X), numbers, strict=True)]
    assert model.loss_curve_ == [pytest.approx(np.concatenate([terms[i] for i in train]).mean(), rel=1e-5)]
    score = model.score([X[i] for i in held_out], [y[i] for i in held_out])
    assert model.validation_scores_ == [pytest.approx(score)]


def test_a_tagger_weighs_classes_and_goes_on():
    X, y = parities()
    options = {"hidden_size": 4, "batch_size": 4, "lr": 0.03, "random_state": 0}
    stepped = RecurrentTagger(class_weight={"odd": 30.0}, **options)
    stepped.partial_fit(X, y, ["odd", "even"]).partial_fit(X, y)
    fitted = RecurrentTagger(epochs=2, class_weight={"odd": 30.0}, **options).fit(X, y)
    assert_same_bits(weights(stepped), weights(fitted))
    plain = RecurrentTagger(epochs=2, **options).fit(X, y)
    share = [np.concatenate(model.predict_proba(X))[:, 1].mean() for model in (plain, fitted)]
    assert share[1] > share[0] + 0.1


def test_a_search_over_sequences_with_labels():
    X, y = parities()
    search = GridSearchCV(RecurrentTagger(epochs=1, random_state=0), {"hidden_size": [2, 4]}, cv=2).fit(X, y)
    assert 0 < search.best_score_ < 1


def test_one_dimension_of_labels_is_a_step_for_each_row_and_says_so():
    X = np.random.default_rng(0).normal(size=(40, 3))
    y = (X[:, 0] > 0).astype(int)
    model = RecurrentTagger(hidden_size=4, epochs=2, random_state=0)
    with pytest.warns(
        UserWarning, match=r"each row of X is taken for a sequence of one step; one sequence \(T, I\)"
    ):
        single = clone(model).fit(X, y)
    steps = clone(model).fit(X[:, None], y[:, None])
    assert_same_bits(weights(single), weights(steps))
    assert_same_bits(single.predict_proba(X), steps.predict_proba(X[:, None])[:, 0])
    with pytest.raises(ValueError, match="y: expected as many dimensions as in the first fit"):
        single.partial_fit(X, X > 0)
    one = clone(model).fit([X], [y])
    assert one.predict([X[:7]]).shape == (1, 7)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (
            [[0.0, 1.0], [1.0]],
            [[0, 1], [1, 0]],
            r"y\[1\]: expected a label for each of 1 steps of X\[1\], got shape \(2,\)",
        ),
        ([[0.0, 1.0], [1.0]], [[0, 1]], "y: expected the labels of 2 sequences, got 1"),
        ([[0.0, 1.0], [1.0]], ["ab", "c"], r"y\[0\]: expected a label for each of 2 steps"),
        (
            np.ones((2, 3)),
            np.ones((2, 2), int),
            r"y: expected a label for each step, shape \(2, 3\), got shape \(2, 2\)",
        ),
        (np.ones((2, 3)), [[0, 1, 0], [1, 0]], r"y\[1\]: expected a label for each of 3 steps"),
        (np.ones((2, 3)), None, "RecurrentTagger requires y"),
        ([[0.0, 1.0], [1.0]], [[0.5, 1], [1]], "Unknown label type"),
        (["ab", "c"], [[0, 1], [1]], "X: expected sequences of numbers, got strings"),
    ],
)
def test_labels_that_do_not_fit_the_steps(X, y, message):
    with pytest.raises(ValueError, match=message):
        RecurrentTagger(epochs=1).fit(X, y)
