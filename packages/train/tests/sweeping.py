"""What the tests of sweeps have in common: a sweep and its trials without any training, and what is kept of them."""

import json

from optuna.pruners import NopPruner

from rondeau.train import SweepFolder
from rondeau.train._sweep.sampling import SeededSampler
from rondeau.train._sweep.space import parse_space

SPACE = {"lr": {"log": [1e-3, 1e-1]}, "hidden": {"integer": [2, 4]}, "cell": {"choice": ["gru", "rnn"]}}


def begin(folder, space=SPACE):
    return SweepFolder.begin(folder, parse_space(space), {"seed": 0})


def claim(sweep, most=10, kind="random", pruner=None):
    return sweep.claim(most, SeededSampler(kind, 0), pruner or NopPruner())


def told(journal):
    """How often the end of each trial was written in a journal."""
    lines = map(json.loads, journal.read_text().splitlines())
    ends = [line["trial_id"] for line in lines if line["op_code"] == 6]
    return {number: ends.count(number) for number in ends}


def weights(run):
    return {name: array.tobytes() for name, array in run.load_checkpoint().arrays["weights"].items()}


def pretend_good_trials(folder, count=5):
    """Write in a journal what better trials than any would have come to."""
    sweep = SweepFolder.begin(folder, parse_space({"lr": {"log": [1e-3, 1e-1]}}), {"seed": 0})
    for _ in range(count):
        with claim(sweep) as trial:
            for evaluation in (1, 2, 3):
                trial.report(evaluation, 1e-6)
            trial.finish(1e-6)
