"""Operations as this package has them, for those that build on it: a name and one vector-Jacobian product per input.

`record` costs a third of what `Function.apply` does, which checks what a user's own code returns. Products are called
with arrays, and with tensors where the computation of gradients is recorded.
"""

from rondeau.tensor._graph import Op, record

__all__ = ["Op", "record"]
