"""What may be wrong with a run's folder."""


class RunError(ValueError):
    """A folder that is not what a command needs.

    Examples
    --------
    >>> from rondeau.train import RunFolder
    >>> RunFolder("no_such_run").load_codec()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    rondeau.train._errors.RunError: no_such_run/vocab.json is missing: restore it from a copy, or remove it, and ...
    """


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or of another model.

    Examples
    --------
    >>> from rondeau.train import CheckpointFolder
    >>> CheckpointFolder("no_such_run").load("step-200")
    Traceback (most recent call last):
    ...
    rondeau.train._errors.CheckpointError: there is no checkpoint no_such_run/step-200; there: none
    """


class RunWarning(UserWarning):
    """What was found in a run's folder that should not be there, and what was done about it.

    Examples
    --------
    A program that would rather stop than go on with less than there was:

    >>> import warnings
    >>> from rondeau import train
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", train.RunWarning)
    ...     # recorder.resume(trainer) now raises where it would have warned
    """
