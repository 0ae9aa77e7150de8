"""Ctrl-C while a function is compiled: the compiler ends between two passes, and works afterwards."""

import signal
import threading

import pytest
from numba import types
from numba.extending import intrinsic

from rondeau.kernels.runtime.compiling import cached_njit, kernel_njit
from rondeau.kernels.runtime.interrupts import holding_signals

SIGNATURE = (types.int64,)

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGALRM") if hasattr(signal, name)
]


class Function:
    """Adds 41, by an inner function, which calls an intrinsic that does `action` while it is typed.

    Each one is new to Numba, which does not type an intrinsic of the same function twice.
    """

    def __init__(self, action=lambda: None):
        self.action, self.passed = action, []

        @intrinsic
        def forty(typingctx):
            self.action()
            self.passed.append("typing")

            def codegen(context, builder, signature, arguments):
                self.passed.append("code")
                return context.get_constant(types.int64, 40)

            return types.int64(), codegen

        @kernel_njit
        def inner():
            return forty() + 1

        def outer(x):
            return inner() + x

        self.outer = outer

    def dispatcher(self):
        """Return it as a new process has it."""
        return cached_njit(self.outer)


def interrupt():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def _usual_handlers(tmp_path, monkeypatch):
    """Python's own handlers, which a runner of tests may have exchanged, and an empty cache."""
    monkeypatch.setenv("RONDEAU_CACHE", str(tmp_path))
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("use", [lambda f: f.compile(SIGNATURE), lambda f: f(2)], ids=["compile", "call"])
def test_an_interrupt_waits_for_the_end_of_a_pass(use):
    function = Function(interrupt)
    dispatcher = function.dispatcher()
    with pytest.raises(KeyboardInterrupt) as raised:
        use(dispatcher)
    assert function.passed == ["typing"], "what had begun was finished, and nothing begun after it"
    assert not dispatcher.overloads
    frames = [entry.path.as_posix() for entry in raised.traceback]
    assert not any("numba/core/compiler" in path or "typeinfer" in path for path in frames), frames

    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    function.action = lambda: None
    assert dispatcher(2) == 43
    assert sum(dispatcher.stats.cache_misses.values()) == 2
    again = function.dispatcher()
    assert again(3) == 44
    assert sum(again.stats.cache_hits.values()) == 1


@pytest.mark.parametrize("step", ["load_overload", "save_overload"])
def test_an_interrupt_while_a_function_is_loaded_or_kept_comes_afterwards(monkeypatch, step):
    function = Function()
    if step == "load_overload":
        function.dispatcher().compile(SIGNATURE)
    dispatcher = function.dispatcher()
    original = getattr(dispatcher._cache, step)

    def interrupted(*arguments):
        interrupt()
        return original(*arguments)

    monkeypatch.setattr(dispatcher._cache, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        dispatcher.compile(SIGNATURE)
    assert list(dispatcher.overloads) == [SIGNATURE]
    assert dispatcher(2) == 43
    again = function.dispatcher()
    assert again(2) == 43
    assert sum(again.stats.cache_hits.values()) == 1


@pytest.mark.parametrize("number", SIGNALS)
def test_a_handler_of_ones_own_is_called_and_may_let_the_compiler_go_on(number):
    came = []
    function = Function(lambda: signal.raise_signal(number))
    signal.signal(number, lambda number, frame: came.append(list(function.passed)))
    assert function.dispatcher()(2) == 43
    assert came == [["typing"]], "called between the pass in which it came and the next"


def test_an_error_of_a_handler_is_not_taken_for_one_of_typing():
    def handler(number, frame):
        raise TimeoutError("the time of this job is over")

    signal.signal(signal.SIGINT, handler)
    with pytest.raises(TimeoutError, match="the time of this job is over"):
        Function(interrupt).dispatcher()(2)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_handler_that_puts_another_in_its_place_is_obeyed():
    def once(number, frame):
        signal.signal(number, signal.SIG_IGN)

    signal.signal(signal.SIGINT, once)
    assert Function(interrupt).dispatcher()(2) == 43
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_the_systems_handlers_stay(handler):
    signal.signal(signal.SIGTERM, handler)
    with holding_signals():
        assert signal.getsignal(signal.SIGTERM) is handler
    assert signal.getsignal(signal.SIGTERM) is handler


def test_an_error_of_the_compiler_gives_the_handlers_back():
    seen = []

    def fail():
        seen.append(signal.getsignal(signal.SIGINT))
        raise ZeroDivisionError("an intrinsic's own mistake")

    dispatcher = Function(fail).dispatcher()
    with pytest.raises(Exception, match="an intrinsic's own mistake"):
        dispatcher(2)
    assert seen[0] is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_compiles_without_the_main_threads_signals():
    seen = []
    function = Function(lambda: seen.append(signal.getsignal(signal.SIGINT)))
    thread = threading.Thread(target=function.dispatcher().compile, args=(SIGNATURE,))
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
