"""Exported C under other compilers, under valgrind, and on an emulated micro-controller; what is missing is skipped."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from comparing import assert_same_bits
from compiled_c import STRICT, compile_program
from rondeau import export, nn
from rondeau import tensor as rt
from rondeau.export._c.functions import library_text


def needs(*programs):
    """Skip a test where a program is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@nn.recurrent_cell(gates=("a", "b"), states=("h", "c"), inputs={"dt": "step"})
def _of_everything(x, r, s, u):
    m = nn.cell_math
    mixed = m.layer_norm(x.a) * m.softplus(u.dt) + m.normal() * 0.1
    kept = m.where(mixed > s.c, m.clamp(mixed, -1, 1), m.erf(s.c)) + m.sign(x.b) * m.expm1(-m.abs(s.h))
    return m.sigmoid(x.b + r.b(mixed)) * m.tanh(kept), m.maximum(m.minimum(kept, 2), -m.exp(-s.c * s.c))


MODELS = {
    "cell": lambda: nn.Recurrent(_of_everything, 3, 5),
    "chain": lambda: nn.Sequential(
        nn.Embedding(4, 70), nn.GRU(70, 66), nn.LayerNorm(66), nn.GELU(), nn.Linear(66, 3), nn.LogSoftmax(-1)
    ),
}


def exported(name, folder, **options):
    rt.manual_seed(0)
    export.to_c(MODELS[name](), folder, **options)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("compiler", ["clang", "gcc"])
@pytest.mark.parametrize(
    "flags",
    [
        ("-O3", "-ffast-math"),
        ("-O2", "-funsafe-math-optimizations"),  # which puts sums together, but has no macro of clang's
        ("-O2", "-fsanitize=undefined,address"),
    ],
)
def test_compilers(compiler, name, flags, tmp_path):
    needs(compiler)
    exported(name, tmp_path)
    assert (
        run(compile_program(tmp_path, "model", *flags, compiler=compiler))
        == "6 steps agree with the library\n"
    )


@pytest.mark.parametrize("compiler", ["clang", "gcc"])
@pytest.mark.parametrize("flags", [(), ("-DMODEL_LIBM",)])
def test_exp_is_there_for_tanh_alone(flags, compiler, tmp_path):
    """Compilers warn of functions that nothing calls, as nothing calls exp beside the library's tanh."""
    needs(compiler)
    export.to_c(nn.RNN(2, 3), tmp_path)
    assert (
        run(compile_program(tmp_path, "model", *flags, compiler=compiler))
        == "6 steps agree with the library\n"
    )


DRIVER = """
#include "model.h"
#include <stdlib.h>

int main(void)
{
    enum { STEPS = 5, BATCH = 3 };
    const size_t lengths[BATCH] = {5, 0, 3};
    const int32_t ids[STEPS * BATCH] = {0, 1, 2, 3, -1, 0, 1, 2, 3, 0, 1, 99, 2, 3, 99};
    unsigned char reset[STEPS * BATCH] = {0};
    model_state *states = malloc(BATCH * sizeof *states);
    unsigned char *saved = malloc(MODEL_SAVED_BYTES);
    float *y = malloc(STEPS * BATCH * MODEL_OUTPUTS * sizeof *y);
    float sum = 0.0f;
    int b, k, failed;
    reset[6] = reset[5] = 1;
    for (b = 0; b < BATCH; b++) model_init(&states[b]);
    model_run(states, BATCH, STEPS, ids, lengths, reset, y);
    model_save(&states[2], saved);
    failed = model_restore(&states[0], saved, MODEL_SAVED_BYTES) || !model_restore(&states[0], saved, 3);
    model_save(&states[0], saved);
    for (k = 0; k < STEPS * BATCH * MODEL_OUTPUTS; k++) sum += y[k];
    for (k = 0; k < MODEL_SAVED_BYTES; k++) sum += saved[k];
    free(states);
    free(saved);
    free(y);
    return failed || !(sum > 0.0f) || model_selftest();
}
"""


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_valgrind_finds_nothing(weights, tmp_path):
    needs("valgrind", "gcc")
    exported("chain", tmp_path, weights=weights)
    (tmp_path / "driver.c").write_text(DRIVER)
    program = tmp_path / "driver"
    run("gcc", *STRICT, "-g", "-O1", tmp_path / "driver.c", tmp_path / "model.c", "-o", program, "-lm")
    run("valgrind", "-q", "--error-exitcode=9", "--leak-check=full", program)


STARTUP = """
#include <stdint.h>

extern void _start(void);

static void reset(void)
{
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* switch the floating-point unit on */
    __asm volatile("dsb\\n isb");
    _start();
}

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[] = {0x20400000u, (uintptr_t)reset};
"""


def test_a_language_model_on_a_cortex_m4(tmp_path):
    needs("arm-none-eabi-gcc", "qemu-system-arm")
    rt.manual_seed(0)
    export.to_c(nn.LanguageModel(28, "gru", 24, embedding_size=8), tmp_path)
    (tmp_path / "startup.c").write_text(STARTUP)
    program = tmp_path / "model.elf"
    machine = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "--specs=rdimon.specs"]
    places = ["-Wl,--section-start=.vectors=0", "-Wl,-Ttext=0x10000", "-Wl,-Tdata=0x20000000"]
    sources = [tmp_path / "model.c", tmp_path / "startup.c"]
    flags = [*STRICT[:4], "-O2", "-DMODEL_MAIN", *machine, *places]
    run("arm-none-eabi-gcc", *flags, *sources, "-o", program, "-lm")
    board = ["-M", "mps2-an386", "-cpu", "cortex-m4", "-semihosting", "-nographic"]
    assert run("qemu-system-arm", *board, "-kernel", program) == "6 steps agree with the library\n"


UNITS_IN_THE_LAST_PLACE = {"exp": 1.0, "tanh": 1.5, "softplus": 2.0, "sigmoid": 2.5}


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_functions_are_accurate_over_every_exponent(compiler, tmp_path):
    needs(compiler)
    names = list(UNITS_IN_THE_LAST_PLACE)
    text = library_text(" ".join(f"@{name}(x)" for name in names)).replace("@@", "M_").replace("@", "m_")
    loops = [
        f"void all_{name}(const float *x, float *y, int count)\n"
        f"{{\n    int k;\n    for (k = 0; k < count; k++) y[k] = m_{name}(x[k]);\n}}\n"
        for name in names
    ]
    source, target = tmp_path / "functions.c", tmp_path / "functions.so"
    source.write_text(
        "\n".join(["#include <math.h>\n#include <stdint.h>\n#include <string.h>", text, *loops])
    )
    run(compiler, *STRICT, "-O3", "-fPIC", "-shared", source, "-o", target, "-lm")
    library = ctypes.CDLL(str(target))
    fractions = np.concatenate([np.random.default_rng(0).integers(0, 2**23, 500), [0, 1, 2**23 - 1]])
    bits = (np.arange(255)[:, None] << 23 | fractions).ravel().astype(np.uint32)
    x = (
        np.concatenate([bits, bits | np.uint32(2**31), [0x7F800000, 0xFF800000]])
        .astype(np.uint32)
        .view(np.float32)
    )
    functions = {
        "exp": np.exp,
        "tanh": np.tanh,
        "softplus": lambda x: np.logaddexp(x, 0),
        "sigmoid": lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x))),
    }
    for name, most in UNITS_IN_THE_LAST_PLACE.items():
        y = np.empty_like(x)
        library[f"all_{name}"](
            ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data), ctypes.c_int(x.size)
        )
        with np.errstate(all="ignore"):
            expected = functions[name](x.astype(np.float64))
            nearest = expected.astype(np.float32)
            units = np.abs(y - expected) / np.spacing(np.abs(nearest)).astype(np.float64)
        finite = np.isfinite(nearest)
        assert units[finite].max() <= most, (name, units[finite].max(), x[finite][units[finite].argmax()])
        assert_same_bits(y[~finite], nearest[~finite])
    y, nan = np.empty(1, np.float32), np.full(1, np.nan, np.float32)
    for name in names:
        library[f"all_{name}"](
            ctypes.c_void_p(nan.ctypes.data), ctypes.c_void_p(y.ctypes.data), ctypes.c_int(1)
        )
        assert np.isnan(y[0]), name
