"""The device that a command line names."""

from rondeau.train._usage_error import UsageError


def check_device(device: str) -> None:
    """Raise UsageError unless a device is usable; the message says what to install.

    Examples
    --------
    >>> check_device("cpu")
    """
    from rondeau.kernels.runtime.devices import DeviceUnavailableError, load_cupy

    if device == "cpu":
        return
    try:
        load_cupy()
    except DeviceUnavailableError as error:
        raise UsageError(f"--device: {error}".replace("device='cpu'", "--device cpu")) from error
