"""Whether the memory of a training step returns by reference count, with the garbage collector off."""

import gc
import weakref


def assert_a_step_leaves_no_cycles(layer, x):
    """Run forward and backward of a recurrent layer, and raise if anything outlives its last reference."""

    def step():
        output, state = layer(x)
        states = state if isinstance(state, tuple) else (state,)
        loss = output.sum() + states[0].sum()
        watched = [weakref.ref(tensor) for tensor in (output, *states, loss)]
        loss.backward()
        layer.zero_grad()
        return watched

    step()  # what is compiled or loaded at a first step may leave cycles
    gc.collect()
    gc.freeze()  # what is there now is none of the next step's; not to look at it makes collections quick
    gc.disable()
    try:
        watched = step()
        assert [reference() for reference in watched] == [None] * len(watched)
        assert gc.collect() == 0, "the step left reference cycles"
    finally:
        gc.enable()
        gc.unfreeze()
