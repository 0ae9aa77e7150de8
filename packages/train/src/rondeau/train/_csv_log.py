"""The metrics of a training as a table, for spreadsheets and data frames."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rondeau.tensor.files import durable
from rondeau.train._callback import Callback, Row
from rondeau.train._checks import check_is
from rondeau.train._errors import RunError

if TYPE_CHECKING:
    from rondeau.train._trainer import Trainer


class CSVLog(Callback):
    """Writes every row of metrics as a line of a CSV file.

    The columns are those that any row has; a row that lacks one leaves it empty. What is not finite is ``nan``, ``inf``
    or ``-inf``. Every line is on the disk before the training goes on.

    A training that continues goes on in the same file: lines of later steps than that at which it continues are
    dropped, so that none is there twice. Likewise, one that begins at step 0 starts a new file.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    TypeError
        If it is not a path.
    RunError
        When the training begins, and the file is not a log of metrics.

    Examples
    --------
    >>> import tempfile
    >>> from rondeau import data, nn, tensor as rt, train
    >>> _ = rt.manual_seed(0)
    >>> model = nn.Linear(1, 1)
    >>> batches = [(rt.tensor([[1.0], [2.0]]), rt.tensor([[2.0], [4.0]]))]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trainer = train.Trainer(
    ...         model,
    ...         train.optim.SGD(model.parameters(), lr=0.1),
    ...         batches,
    ...         task=train.Supervised(nn.functional.mse_loss),
    ...         max_steps=2,
    ...         log_every=1,
    ...         callbacks=[train.CSVLog(Path(folder) / "log.csv")],
    ...     )
    ...     trainer.fit()
    ...     lines = (Path(folder) / "log.csv").read_text().splitlines()
    >>> lines[0], len(lines)
    ('step,epoch,samples,train_loss,lr,seconds', 3)
    """

    main_only = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        check_is("path", path, str, os.PathLike)
        self.path = Path(path)
        self._columns: list[str] = []
        self._keep_until: int | None = None

    def on_begin(self, trainer: "Trainer") -> None:
        """Look at what is there; it is changed when there is something to write."""
        self._read()
        self._keep_until = trainer.step

    def on_row(self, trainer: "Trainer", row: Row) -> None:
        """Append a row."""
        self._drop_later_rows()
        cells = _cells(row)
        if cells.keys() <= set(self._columns):
            durable.append_file(self.path, _table(self._columns, [cells]))
        else:
            self.write([*self._read(), cells])

    def on_end(self, trainer: "Trainer") -> None:
        """Drop rows of later steps, even where there was none to write."""
        self._drop_later_rows()

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write these rows in the place of those that are there.

        Parameters
        ----------
        rows : iterable of mapping
            Of metrics, such as `RunFolder.rows` and `History.rows` have.
        """
        kept = [_cells(row) for row in rows]
        self._columns = list(dict.fromkeys(name for row in kept for name in row))
        content = _table(self._columns, [dict(zip(self._columns, self._columns, strict=True)), *kept])
        if not kept:
            durable.remove_file(self.path)
        elif content != self._content():
            durable.make_folder(self.path.parent)
            durable.replace_file(self.path, content)

    def _drop_later_rows(self) -> None:
        """Drop the rows of steps after that at which the training began."""
        if self._keep_until is not None:
            self.write(row for row in self._read() if int(row["step"]) <= self._keep_until)
            self._keep_until = None

    def _content(self) -> bytes:
        try:
            return durable.read_file(self.path)
        except FileNotFoundError:
            return b""

    def _read(self) -> list[dict[str, str]]:
        """Return the rows of the file, without a last line that a kill cut short."""
        content = self._content()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            lines = list(csv.reader(io.StringIO(whole.decode(), newline="")))
        except (UnicodeDecodeError, csv.Error) as error:
            raise self._not_a_log(str(error)) from None
        columns = lines[0] if lines else []
        if content and "step" not in columns:
            raise self._not_a_log("its first line should name its columns, with step among them")
        rows = []
        for number, cells in enumerate(lines[1:], 2):
            row = _cells(dict(zip(columns, cells, strict=False)))
            if len(cells) != len(columns) or not row.get("step", "").isdecimal():
                raise self._not_a_log(
                    f"line {number} should have a step, and as many cells as the first line"
                )
            rows.append(row)
        return rows

    def _not_a_log(self, why: str) -> RunError:
        return RunError(f"{self.path} is not a log of metrics: {why}; remove it, or choose another path")


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    """Return what a row writes; of one line each, so that only the last line of a file may be cut short."""
    return {name: " ".join(str(value).splitlines()) for name, value in row.items() if value not in (None, "")}


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
