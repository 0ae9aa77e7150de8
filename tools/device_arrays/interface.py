"""What CuPy has, as of version 14.2: the names and arguments that this package follows, all in this place.

A function or method is its parameters as CuPy declares them; a keyword that NumPy has and CuPy lacks is so refused.
Where CuPy has a name that is neither here nor written out in `functions`, `array` or `cuda`, it is in `NOT_MODELLED`.
"""

from __future__ import annotations

import numpy as np

VERSION = "14.2.0"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


DTYPES = frozenset("?bBhHiIlLqQefdFD")
"""Characters of the dtypes that arrays can have."""

UFUNCS = _names(
    """
    abs absolute acos acosh add arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2 atanh
    bitwise_and bitwise_count bitwise_invert bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift
    bitwise_xor cbrt ceil conj conjugate copysign cos cosh deg2rad degrees divide divmod equal exp exp2 expm1
    fabs float_power floor floor_divide fmax fmin fmod frexp gcd greater greater_equal heaviside hypot invert
    isfinite isinf isnan lcm ldexp left_shift less less_equal log log10 log1p log2 logaddexp logaddexp2
    logical_and logical_not logical_or logical_xor maximum minimum mod modf multiply negative nextafter
    not_equal positive pow power rad2deg radians reciprocal remainder right_shift rint sign signbit sin sinh
    sqrt square subtract tan tanh true_divide trunc
    """
)

UFUNC_ARGUMENTS = frozenset({"out", "dtype", "casting"})
"""The keywords of a call of a ufunc."""

COMPARISONS = frozenset({"greater", "greater_equal", "less", "less_equal", "equal", "not_equal"})
"""Ufuncs that take NumPy's arrays of zero dimensions."""

_WORDS = "iIlLqQ"

ATOMICS = {
    "add": _WORDS + "efd",
    "subtract": "iI",
    "maximum": _WORDS + "fd",
    "minimum": _WORDS + "fd",
    "bitwise_and": _WORDS,
    "bitwise_or": _WORDS,
    "bitwise_xor": _WORDS,
}
"""Ufuncs with ``at``, and the dtypes for which they have it.

The signed words of 64 bits are those that CuPy's ``atomics.cuh`` adds.
"""

REDUCTIONS = {"add": ("sum", "cumsum"), "multiply": ("prod", "cumprod")}
"""Ufuncs with ``reduce`` and ``accumulate``, and the methods that these are."""

_REDUCTION = "a, axis=None, dtype=None, out=None, keepdims=False"
_EXTREME = "a, axis=None, out=None, keepdims=False"
_VARIANCE = "a, axis=None, dtype=None, out=None, ddof=0, keepdims=False"
_SCAN = "a, axis=None, dtype=None, out=None"
_STACK = "tup, *, dtype=None, casting='same_kind'"
_CONCATENATE = "tup, axis=0, out=None, *, dtype=None, casting='same_kind'"
_CLOSE = "a, b, rtol=1e-5, atol=1e-8, equal_nan=False"

FUNCTIONS = {
    # reductions and scans
    "sum": _REDUCTION,
    "prod": _REDUCTION,
    "mean": _REDUCTION,
    "nansum": _REDUCTION,
    "nanprod": _REDUCTION,
    "nanmean": _REDUCTION,
    "std": _VARIANCE,
    "var": _VARIANCE,
    "max": _EXTREME,
    "min": _EXTREME,
    "amax": _EXTREME,
    "amin": _EXTREME,
    "nanmax": _EXTREME,
    "nanmin": _EXTREME,
    "ptp": _EXTREME,
    "all": _EXTREME,
    "any": _EXTREME,
    "argmax": _REDUCTION,
    "argmin": _REDUCTION,
    "cumsum": _SCAN,
    "cumprod": _SCAN,
    "count_nonzero": "a, axis=None",
    "median": "a, axis=None, out=None, overwrite_input=False, keepdims=False",
    "average": "a, axis=None, weights=None, returned=False, *, keepdims=False",
    "trace": "a, offset=0, axis1=0, axis2=1, dtype=None, out=None",
    # shapes
    "reshape": "a, newshape, order='C', *, copy=None",
    "ravel": "a, order='C'",
    "squeeze": "a, axis=None",
    "expand_dims": "a, axis",
    "transpose": "a, axes=None",
    "permute_dims": "a, axes=None",
    "matrix_transpose": "x, /",
    "swapaxes": "a, axis1, axis2",
    "moveaxis": "a, source, destination",
    "rollaxis": "a, axis, start=0",
    "flip": "a, axis=None",
    "fliplr": "a",
    "flipud": "a",
    "rot90": "a, k=1, axes=(0, 1)",
    "roll": "a, shift, axis=None",
    "broadcast_to": "array, shape",
    "broadcast_arrays": "*args",
    "atleast_1d": "*arys",
    "atleast_2d": "*arys",
    "atleast_3d": "*arys",
    "diagonal": "a, offset=0, axis1=0, axis2=1",
    # joining and splitting
    "concatenate": _CONCATENATE,
    "concat": _CONCATENATE,
    "stack": _CONCATENATE,
    "vstack": _STACK,
    "hstack": _STACK,
    "dstack": "tup",
    "column_stack": "tup",
    "split": "ary, indices_or_sections, axis=0",
    "array_split": "ary, indices_or_sections, axis=0",
    "hsplit": "ary, indices_or_sections",
    "vsplit": "ary, indices_or_sections",
    "dsplit": "ary, indices_or_sections",
    "tile": "A, reps",
    "append": "arr, values, axis=None",
    "pad": "array, pad_width, mode='constant', **kwargs",
    # creation
    "zeros": "shape, dtype=float, order='C'",
    "ones": "shape, dtype=float, order='C'",
    "full": "shape, fill_value, dtype=None, order='C'",
    "zeros_like": "a, dtype=None, order='K', subok=None, shape=None",
    "ones_like": "a, dtype=None, order='K', subok=None, shape=None",
    "full_like": "a, fill_value, dtype=None, order='K', subok=None, shape=None",
    "eye": "N, M=None, k=0, dtype=float, order='C'",
    "identity": "n, dtype=float",
    "arange": "start, stop=None, step=1, dtype=None",
    "linspace": "start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0",
    "logspace": "start, stop, num=50, endpoint=True, base=10.0, dtype=None, axis=0",
    "meshgrid": "*xi, **kwargs",
    "indices": "dimensions, dtype=int",
    "tri": "N, M=None, k=0, dtype=float",
    "tril": "m, k=0",
    "triu": "m, k=0",
    "tril_indices": "n, k=0, m=None",
    "triu_indices": "n, k=0, m=None",
    "diag": "v, k=0",
    "diagflat": "v, k=0",
    "copy": "a, order='K'",
    # products
    "dot": "a, b, out=None",
    "vdot": "a, b",
    "inner": "a, b",
    "outer": "a, b, out=None",
    "tensordot": "a, b, axes=2",
    "einsum": "*operands, dtype=None, optimize=False",
    "kron": "a, b",
    "cross": "a, b, axisa=-1, axisb=-1, axisc=-1, axis=None",
    "matmul": "*args, casting='same_kind', dtype=None, order='K', out=None",
    # elements, sorted and searched
    "clip": "a, a_min, a_max, out=None",
    "round": "a, decimals=0, out=None",
    "around": "a, decimals=0, out=None",
    "nan_to_num": "x, copy=True, nan=0.0, posinf=None, neginf=None",
    "diff": "a, n=1, axis=-1, prepend=None, append=None",
    "real": "val",
    "imag": "val",
    "angle": "z, deg=False",
    "isclose": _CLOSE,
    "sort": "a, axis=-1, kind=None",
    "argsort": "a, axis=-1, kind=None",
    "partition": "a, kth, axis=-1",
    "argpartition": "a, kth, axis=-1",
    "lexsort": "keys",
    "searchsorted": "a, v, side='left', sorter=None",
    "isin": "element, test_elements, assume_unique=False, invert=False",
    "take": "a, indices, axis=None, out=None",
    "take_along_axis": "a, indices, axis",
    "fill_diagonal": "a, val, wrap=False",
    "allclose": _CLOSE,
    "array_equal": "a1, a2, equal_nan=False",
    "array_equiv": "a1, a2",
    # the number of elements of the result is on the device: these wait
    "nonzero": "a",
    "argwhere": "a",
    "flatnonzero": "a",
    "unique": (
        "ar, return_index=False, return_inverse=False, return_counts=False, axis=None, *, equal_nan=True"
    ),
    "bincount": "x, weights=None, minlength=None",
    "extract": "condition, a",
    "compress": "condition, a, axis=None, out=None",
    # dtypes and shapes, without a look at the elements
    "result_type": "*arrays_and_dtypes",
    "can_cast": "from_, to, casting='safe'",
    "shape": "a",
    "ndim": "a",
    "size": "a, axis=None",
    "iscomplexobj": "x",
    "isrealobj": "x",
    "isfortran": "a",
    "may_share_memory": "a, b, max_work=None",
    "shares_memory": "a, b, max_work=None",
}

WAITING = frozenset(
    {"nonzero", "argwhere", "flatnonzero", "unique", "bincount", "extract", "compress", "average"}
)
"""Functions and methods that wait for the device: their shapes, or an error, depend on what is computed."""

ARRAYS_OF_ZERO_DIMENSIONS = frozenset({"allclose", "array_equal", "array_equiv", "count_nonzero"})
"""Functions that give Python numbers in NumPy, and arrays here."""

KEEP_ORDER = frozenset(
    name for name, parameters in FUNCTIONS.items() if "order='K'" in parameters or "order='C'" in parameters
) - {"matmul"}
"""Functions whose results need not be in C order."""

LINALG = {
    "norm": "x, ord=None, axis=None, keepdims=False",
    "qr": "a, mode='reduced'",
    "svd": "a, full_matrices=True, compute_uv=True",
    "cholesky": "a",
    "inv": "a",
    "pinv": "a, rcond=1e-15",
    "solve": "a, b",
    "det": "a",
    "slogdet": "a",
    "eigh": "a, UPLO='L'",
    "eigvalsh": "a, UPLO='L'",
    "matrix_power": "M, n",
}

_METHODS_LIKE_FUNCTIONS = _names(
    """
    sum prod mean std var max min ptp all any cumsum cumprod trace diagonal swapaxes sort argsort
    partition argpartition round
    """
)

METHODS = {name: FUNCTIONS[name].removeprefix("a, ") for name in _METHODS_LIKE_FUNCTIONS} | {
    "argmax": "axis=None, out=None, dtype=None, keepdims=False",
    "argmin": "axis=None, out=None, dtype=None, keepdims=False",
    "squeeze": "axis=None",
    "flatten": "order='C'",
    "ravel": "order='C'",
    "searchsorted": "v, side='left', sorter=None",
    "clip": "min=None, max=None, out=None",
    "repeat": "repeats, axis=None",
    "take": "indices, axis=None, out=None",
    "dot": "b, out=None",
    "nonzero": "",
    "compress": "condition, axis=None, out=None",
    "conj": "",
    "conjugate": "",
    "byteswap": "inplace=False",
}

WRITTEN_OUT = _names(
    """
    array asarray ascontiguousarray asfortranarray asnumpy empty empty_like where copyto repeat put_along_axis
    """
)
"""Functions that `functions` has, with their own parameters."""

SAME_AS_NUMPY = _names(
    """
    e euler_gamma inf nan newaxis pi finfo iinfo dtype broadcast_shapes promote_types isscalar issubdtype
    isdtype iterable long min_scalar_type ndindex number integer signedinteger unsignedinteger inexact floating
    complexfloating generic bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 intp uintp float16
    float32 float64 half single double complex64 complex128 int_ uint byte ubyte short ulong ushort intc uintc
    longlong ulonglong csingle cdouble
    """
)
"""Names that are NumPy's own objects."""

NOT_MODELLED = _names(
    """
    AxisError ComplexWarning Inf Infinity ModuleDeprecationWarning NAN NINF NZERO NaN PINF PZERO RankWarning
    TooHardError VisibleDeprecationWarning alltrue cfloat complex_ cumproduct
    disable_experimental_feature_warning disp exceptions find_common_type float_ format_parser get_array_wrap
    index_exp infty issctype issubclass_ issubsctype lib make_aligned_dtype obj2sctype product round_ safe_eval
    sctype2char set_string_function show_config singlecomplex sometrue typing who DataSource ElementwiseKernel
    RawKernel RawModule ReductionKernel apply_along_axis apply_over_axes array2string array_repr array_str
    asarray_chkfinite asfarray astype bartlett base_repr binary_repr blackman broadcast byte_bounds c_ choose
    clear_memo common_type convolve corrcoef correlate cov cumulative_prod cumulative_sum delete diag_indices
    diag_indices_from digitize ediff1d fft fix flatiter format_float_positional format_float_scientific
    fromDlpack from_dlpack frombuffer fromfile fromfunction fromiter fromstring fuse genfromtxt get_printoptions
    gradient hamming hanning histogram histogram2d histogramdd i0 in1d interp intersect1d iscomplex isneginf
    isposinf isreal ix_ kaiser load loadtxt mask_indices memoize mgrid mintypecode msort nanargmax nanargmin
    nancumprod nancumsum nanmedian nanstd nanvar ogrid packbits percentile piecewise place poly poly1d polyadd
    polyfit polymul polynomial polysub polyval printoptions put putmask quantile r_ random ravel_multi_index
    real_if_close require resize roots row_stack s_ save savetxt savez savez_compressed select set_printoptions
    setdiff1d setxor1d sinc sort_complex testing trapezoid trapz tril_indices_from trim_zeros triu_indices_from
    typename ufunc union1d unique_all unique_counts unique_inverse unique_values unpackbits unravel_index unwrap
    vander vectorize
    """
)
"""Names that CuPy has, and that nothing has needed here."""


METHODS_NOT_MODELLED = _names(
    """
    __dlpack__ __dlpack_device__ choose cstruct dump dumps flat mdspan put reduced_view scatter_add scatter_max
    scatter_min toDlpack
    """
)
"""The same of arrays."""


def not_modelled(name: str) -> NotImplementedError:
    """Return the error for what CuPy has and this package does not."""
    return NotImplementedError(
        f"tools.device_arrays does not model {name}; if CuPy {VERSION} has it, add it (see interface.py)"
    )


def check_dtype(dtype: np.typing.DTypeLike) -> np.dtype:
    """Return a dtype; raise ValueError for one that CuPy's arrays cannot have."""
    found = np.dtype(dtype)
    if found.char not in DTYPES or not found.isnative:
        raise ValueError(f"Unsupported dtype {found}")
    return found
