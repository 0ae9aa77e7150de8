"""What came out at the end of a run: its summary and its curves.

Both follow from the last checkpoint, so nothing is lost with them: where they are damaged, they are made again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rondeau.tensor.files import durable
from rondeau.train._log import fingerprint
from rondeau.train._sealed import seal, unseal


class Results:
    """The results in a run's folder.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    summary : Path
        ``summary.json``, sealed; there is none before the end.
    curves : Path
        ``curves.png``, where matplotlib is installed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     results = Results(Path(folder))
    ...     results.save({"steps": 3}, curves=b"a picture")
    ...     _ = results.curves.write_bytes(b"another picture")
    ...     [problem.removeprefix(folder)[1:] for problem in results.find_damage()]
    ['curves.png is damaged: it is not the picture that was drawn at the end']
    """

    def __init__(self, folder: Path) -> None:
        self.summary = folder / "summary.json"
        self.curves = folder / "curves.png"

    def save(self, summary: Mapping[str, Any], curves: bytes | None) -> None:
        """Write the curves as PNG, if there are any, and then the summary."""
        sealed = dict(summary)
        if curves is not None:
            durable.replace_file(self.curves, curves)
            sealed["curves"] = fingerprint(curves)
        durable.replace_file(self.summary, seal(sealed))

    def remove(self) -> None:
        """Remove both, as of a run that goes on beyond its end."""
        durable.remove_file(self.summary)
        durable.remove_file(self.curves)

    def find_damage(self) -> list[str]:
        """Return what is wrong with the results of a run that has ended, a line for each file."""
        try:
            summary = unseal(durable.read_file(self.summary))
        except FileNotFoundError:
            return [f"{self.summary} is missing"]
        except ValueError as error:
            return [f"{self.summary} is damaged: {error}"]
        if "curves" in summary:
            if not self.curves.exists():
                return [f"{self.curves} is missing"]
            if fingerprint(durable.read_file(self.curves)) != summary["curves"]:
                return [f"{self.curves} is damaged: it is not the picture that was drawn at the end"]
        return []
