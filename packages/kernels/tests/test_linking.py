"""Compiled functions that kernels call by a symbol."""

import pytest

from rondeau.kernels.runtime import symbols as linking


def test_a_symbol_has_a_name_of_ours():
    with pytest.raises(ValueError, match="name must begin with 'rondeau_', got 'tile'"):
        linking.provide_symbol("tile", lambda: 0)


def test_what_a_kernel_declares_of_ours_is_needed():
    llvm = "declare void @rondeau_tile(ptr)\ndeclare i32 @printf(ptr)\ndefine void @rondeau_own() {"
    assert linking.needed_symbols(llvm) == ["rondeau_tile"]
