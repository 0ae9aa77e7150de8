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
    """What is wrong in a run's folder and was got round: which file it is, and what was taken or done instead.

    Examples
    --------
    >>> import tempfile, warnings
    >>> from rondeau.train import CheckpointFolder, Snapshot
    >>> with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     checkpoints = CheckpointFolder(folder)
    ...     path = checkpoints.save(3, Snapshot({}, {}))
    ...     (path.parent / "latest").unlink()
    ...     _ = checkpoints.load()
    >>> print(str(caught[0].message).removeprefix(folder)[1:])
    latest is missing; step-3 is taken in its place
    """
