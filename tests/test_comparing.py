"""The comparisons of the tests themselves, and that every test uses them."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from comparing import assert_close, assert_same_bits
from rondeau import tensor as rt

ROOT = Path(__file__).resolve().parents[1]
TESTS = sorted(
    path
    for pattern in ("packages/*/tests/**/*.py", "tests/**/*.py", "tools/tests/**/*.py")
    for path in ROOT.glob(pattern)
    if path.parent.name != "shared"
)
ZERO, ONE = np.zeros(2, np.float32), np.ones(2, np.float32)


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (
            np.float32([1, -0.0, 2]),
            np.float32([1, 0.0, 2]),
            "1 of 3 elements differ in their bits; the first, at (1,), is np.float32(-0.0), expected np.float32(0.0)",
        ),
        (np.float64([np.nan]), -np.float64([np.nan]), "1 of 1 elements differ"),
        (np.nextafter(ONE, 2), ONE, "2 of 2 elements differ"),
        (ZERO, ZERO.astype(np.float64), "dtype float32, expected float64"),
        (ZERO, ZERO[None], "shape (2,), expected (1, 2)"),
        (rt.tensor([1, 2]), [1, 3], "at (1,), is np.int64(2), expected np.int64(3)"),
        (ZERO, -0.0, "2 of 2 elements differ"),
        (np.uint8([1]), [1.5], "[1.5] expected, which uint8 cannot hold"),
        (None, ZERO, "None, expected array"),
        ((ZERO, None), (ZERO, ZERO), "[1]: None, expected array"),
        ((ZERO,), (ZERO, ZERO), "parts [0], expected [0, 1]"),
        ({"a": [ZERO, ONE]}, {"a": [ZERO, ZERO]}, "['a'][1]: 2 of 2 elements differ"),
        ({"a": ZERO}, {"b": ZERO}, "parts ['a'], expected ['b']"),
        (ZERO, {"a": ZERO}, "array([0., 0.], dtype=float32), expected {'a'"),
    ],
)
def test_other_bits_are_told(ours, theirs, message):
    with pytest.raises(AssertionError, match="^of x.*" + re.escape(message)):
        assert_same_bits(ours, theirs, "of x")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (np.float32([-0.0, np.nan, np.inf]), np.float32([-0.0, np.nan, np.inf])),
        (np.arange(6).reshape(2, 3).T, np.arange(6).reshape(2, 3).T.copy()),
        (rt.ones(2, requires_grad=True), ONE),
        (ONE, [1, 1]),
        (ONE, 1),
        (np.uint8([3]), [3]),
        (np.eye(2), (np.float64([1, 0]), rt.tensor([0.0, 1.0], dtype="float64"))),
        ([], []),
        (iter([ONE, None]), (ONE, None)),
        ({"a": {"b": ONE}}, {"a": {"b": ONE}}),
        (np.empty((0, 3)), np.empty((0, 3))),
    ],
)
def test_the_same_bits_pass(ours, theirs):
    assert_same_bits(ours, theirs)


@pytest.mark.parametrize(
    ("ours", "theirs", "bounds", "message"),
    [
        (ONE, 1.5 * ONE, {}, "2 of 2 elements are too far"),
        (ONE, [1.0, 1.1], {"rtol": 0.05}, "1 of 2"),
        (ONE, [1.0, 1.1], {"atol": 0.05}, "the worst, at (1,), is np.float64(1.0), expected np.float64(1.1"),
        (ONE, [1000.0, 1.1], {"of_largest": 1e-5}, "2 of 2"),
        (ONE, [1.0, 1.1], {"of_largest": 0.01, "least": 5}, "within 0.05"),
        (np.float32([np.nan, 1]), ONE, {"atol": 9}, "the worst, at (0,), is np.float64(nan)"),
        (ONE, np.float32([1, np.nan]), {"atol": 9}, "the worst, at (1,)"),
        (np.float32([1, np.inf]), ONE, {"rtol": 9}, "1 of 2"),
        (np.float32([1, np.inf]), np.float32([1, -np.inf]), {"rtol": 9}, "1 of 2"),
        (ONE, ONE[:1], {"atol": 9}, "shape (2,), expected (1,)"),
        ((ONE, None), (ONE, ONE), {"atol": 9}, "[1]: None"),
        (np.complex64([1j]), np.complex64([2j]), {"atol": 0.5}, "1 of 1"),
    ],
)
def test_what_is_too_far_is_told(ours, theirs, bounds, message):
    with pytest.raises(AssertionError, match="^of x.*" + re.escape(message)):
        assert_close(ours, theirs, **bounds, what="of x")


@pytest.mark.parametrize(
    ("ours", "theirs", "bounds"),
    [
        (-ZERO, ZERO, {}),
        (ONE, [1.0, 1.1], {"rtol": 0.1}),
        (ONE, [1000.0, 1.1], {"of_largest": 0.9991}),
        (1e-9 * ONE, 0, {"of_largest": 1e-6, "least": 1e-2}),
        (np.float32([np.nan, np.inf, 1]), [np.nan, np.inf, 1], {}),
        ({"a": (ONE, None)}, {"a": [ONE.astype(np.float64), None]}, {}),
        (np.empty((0, 3)), np.empty((0, 3)), {}),
    ],
)
def test_what_is_close_passes(ours, theirs, bounds):
    assert_close(ours, theirs, **bounds)


def test_there_is_one_profile_of_hypothesis():
    assert settings().deadline is None


def _others(tree):
    """Yield the line and the name of every comparison of arrays, and deadline, that is not the one of all tests."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if re.fullmatch(
                r"(np|numpy)\.testing\.assert_\w+|torch\.testing\.\w+|(np|numpy)\.array_equal|torch\.equal",
                name,
            ):
                yield node.lineno, name
            yield from ((node.lineno, "deadline=") for keyword in node.keywords if keyword.arg == "deadline")
        elif isinstance(node, ast.Assert):
            test = ast.unparse(node.test)
            if re.match(r"(np|numpy|torch)\.allclose\(", test):
                yield node.lineno, "allclose"
            if re.search(r"\.tobytes\(\) == .*\.tobytes\(\)", test):
                yield node.lineno, "tobytes() == tobytes()"


def test_every_test_uses_these_comparisons():
    assert len(TESTS) > 100
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in TESTS
        for line, name in _others(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "use assert_same_bits or assert_close of tests/shared/comparing.py:\n" + "\n".join(
        found
    )


@pytest.mark.parametrize(
    "code",
    [
        "np.testing.assert_array_equal(a, b)",
        "np.testing.assert_allclose(a, b)",
        "torch.testing.assert_close(a, b)",
        "assert np.array_equal(a, b)",
        "assert not np.array_equal(a, b)",
        "assert np.allclose(a, b)",
        "assert torch.equal(a, b)",
        "assert a.tobytes() == b.data.tobytes(), 'x'",
        "@settings(deadline=None)\ndef f(): pass",
    ],
)
def test_another_comparison_is_found(code):
    assert len([*_others(ast.parse(code))]) == 1
