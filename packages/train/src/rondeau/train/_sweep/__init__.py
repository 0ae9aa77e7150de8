"""Many runs of one configuration: a space of values, the trials drawn from it, and what came out of them."""

import importlib.util

from rondeau.train._extras import how_to_install

if importlib.util.find_spec("optuna") is None:
    raise ModuleNotFoundError(f"a sweep needs the package optuna; {how_to_install('sweep')}")
