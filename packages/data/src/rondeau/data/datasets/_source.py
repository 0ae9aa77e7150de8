"""Where the files of a data set come from: a folder, the cache, or upstream; and what to say where they do not."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .._checks import check_flags, check_is, check_path
from .._json import write_whole
from ._registry import DATASETS, Entry, File

TIMEOUT = (10.0, 60.0)  # seconds to connect, and between two pieces of an answer
_refused: set[str] = set()  # data sets whose download failed in this process


class DataError(RuntimeError):
    """A data set cannot be had, or a file of it is damaged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from rondeau.data import datasets
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "names.txt").write_text("emma")  # one name of 32,033
    ...     try:
    ...         datasets.names(folder)
    ...     except datasets.DataError:
    ...         print("damaged")
    damaged
    """


@dataclass(frozen=True)
class Place:
    """A folder where data sets may lie."""

    root: Path
    name: str


def root_of(
    name: str, folder: str | os.PathLike[str] | None, *, download: bool, stand_in: bool
) -> Path | None:
    """Return the folder that holds the files of a data set, each of them checked; None asks for the stand-in.

    Raises
    ------
    DataError
        If a file is damaged or cannot be read, wherever it lies, a folder is none, or (without `stand_in`) there are
        none.
    """
    check_flags(download=download, stand_in=stand_in)
    entry = DATASETS[name]
    place = _holder(entry, _places(folder))
    if place is not None:
        return place.root
    places = list(_places(folder))
    try:
        if not download:
            raise DataError("download=False keeps it from being downloaded")
        _download(entry, places[-1].root)
    except DataError as error:
        _refused.add(name)
        if stand_in:
            return None
        raise DataError(_missing(name, entry, places, str(error))) from None
    _refused.discard(name)
    return places[-1].root


def describe(name: str, folder: str | os.PathLike[str] | None = None) -> str:
    """Say what a data set is, its licence, and where it comes from now.

    That is a folder or the cache where its files lie there; else a download, if none was tried yet; and after one
    that failed, the stand-in, which the functions of the data sets make with ``stand_in=True``. So ask after loading
    for what was loaded, before it for what is to come. Nothing is downloaded by asking.

    Parameters
    ----------
    name : str
        The name of the function that loads it.
    folder : path-like, optional
        As that function takes it.

    Returns
    -------
    str
        Without any path of this machine but what is in `folder`, so that it can be printed on a page.

    Raises
    ------
    ValueError
        If there is no data set of that name.
    DataError
        If a file of it is damaged.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> print(datasets.describe("timemachine").splitlines()[0])
    timemachine: The Time Machine by H. G. Wells, 178,979 characters, as d2l uses it
    """
    entry = _entry(name)
    place = _holder(entry, _places(folder))
    hosts = " and ".join(dict.fromkeys(_host(file.url) for file in entry.files))
    if place is not None:
        now = f"the real data, from {place.name}"
    elif name in _refused:
        now = "a small generated stand-in of the same form: the real data are not at hand"
    else:
        now = f"not at hand; to be downloaded from {hosts} (without a network, a generated stand-in)"
    return f"{name}: {entry.what}\nlicence: {entry.licence}\nhere: {now}"


def is_real(name: str, folder: str | os.PathLike[str] | None = None) -> bool:
    """Tell whether the real files of a data set are at hand, in a folder or in the cache.

    Ask after loading with ``stand_in=True`` to learn which it was. Nothing is downloaded by asking.

    Parameters
    ----------
    name : str
        The name of the function that loads it.
    folder : path-like, optional
        As that function takes it.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If there is no data set of that name.
    DataError
        If a file of it is damaged.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> text = datasets.timemachine(download=False, stand_in=True)
    >>> datasets.is_real("timemachine") == (len(text) == 178979)
    True
    """
    return _holder(_entry(name), _places(folder)) is not None


def _entry(name: str) -> Entry:
    check_is("name", name, str)
    if name not in DATASETS:
        raise ValueError(f"there is no data set {name!r}; expected one of {', '.join(DATASETS)}")
    return DATASETS[name]


def _places(folder: str | os.PathLike[str] | None) -> Iterator[Place]:
    """Yield where to look, in order; the last one is where downloads go."""
    if folder is not None:
        check_path(folder)
        yield Place(Path(folder), f"the folder {os.fspath(folder)}")
    moved = os.environ.get("RONDEAU_DATA")
    # Importing pooch takes longer than reading most data sets: it waits until the folders were looked at.
    if moved:
        try:
            cache = Place(Path(moved).expanduser(), "the folder that RONDEAU_DATA names")
        except RuntimeError as error:
            raise DataError(f"RONDEAU_DATA is {moved!r:.80}, which names no folder: {error}") from None
        yield cache
    yield Place(_pooch_cache(), "the cache of downloads")
    if moved:
        yield cache


@cache
def _pooch() -> Any:
    """Import pooch without what its progress bar, never shown here, advises to install in a notebook."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        import pooch
    return pooch


def _pooch_cache() -> Path:
    folder = Path(_pooch().os_cache("rondeau"))
    # pooch takes a relative XDG_CACHE_HOME for one in the current folder; its specification says to ignore it.
    return folder if folder.is_absolute() else Path(os.path.expanduser("~/.cache/rondeau"))


def _holder(entry: Entry, places: Iterable[Place]) -> Place | None:
    """Return the first place that holds all files of a data set, checked."""
    for place in places:
        try:
            if place.root.exists() and not place.root.is_dir():
                raise DataError(f"{place.name} is a file, {place.root}: name the folder that holds the files")
            paths = [place.root / file.path for file in entry.files]
            if all(path.is_file() for path in paths):
                for file, path in zip(entry.files, paths, strict=True):
                    _check_hash(path, file)
                return place
        except OSError as error:
            where = str(error.filename or place.root)
            raise DataError(
                f"{place.name} cannot be read: {error.strerror} ({where:.200}); change its permissions, or name another"
            ) from None
    return None


def _check_hash(path: Path, file: File) -> None:
    found = _sha256(path)
    if found != file.sha256:
        raise DataError(
            f"{path} is damaged, or another edition: expected the SHA-256 {file.sha256}, got {found}; "
            f"delete it to have it downloaded, or put the right file there (from {file.url})"
        )


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _download(entry: Entry, root: Path) -> None:
    """Fill a folder; a file appears in it complete and checked, or not at all."""
    from ._archives import unpacked  # importing it takes longer than reading most data sets

    for url, group in groupby(entry.files, key=lambda file: file.url):
        files = [file for file in group if _sha256(root / file.path) != file.sha256]
        try:
            if files:
                with TemporaryDirectory() as folder:
                    packed = files[0].member is not None
                    got = _retrieve(url, Path(folder), None if packed else f"sha256:{files[0].sha256}")
                    for file, content in unpacked(got, files) if packed else [(files[0], got.read_bytes())]:
                        path = root / file.path
                        path.parent.mkdir(parents=True, exist_ok=True)
                        write_whole(path, content)
        except (OSError, ValueError) as error:
            raise DataError(f"the download from {url} failed: {_reason(error, url)}") from None


def _retrieve(url: str, folder: Path, known_hash: str | None) -> Path:
    pooch = _pooch()
    pooch.get_logger().setLevel("WARNING")  # below it, a line for every file and the hash of every archive
    get = pooch.HTTPDownloader(timeout=TIMEOUT)
    return Path(pooch.retrieve(url, known_hash, fname=url.rpartition("/")[2], path=folder, downloader=get))


def _reason(error: Exception, url: str) -> str:
    # The errors of requests, by which pooch downloads, are OSErrors without a number and with an answer, if any came.
    answer = getattr(error, "response", None)
    if answer is not None:
        return f"{_host(url)} answered {answer.status_code}"
    if isinstance(error, OSError) and error.errno is None:
        timeout = "Timeout" in type(error).__name__
        return f"{_host(url)} did not answer in time" if timeout else f"no connection to {_host(url)}"
    if isinstance(error, ValueError) and "hash of downloaded file" in str(error):
        return "what came has another SHA-256 than expected"
    return str(error)


def _host(url: str) -> str:
    return url.split("/")[2]


def _missing(name: str, entry: Entry, places: list[Place], reason: str) -> str:
    absent = [file.path for file in entry.files]
    shown = ", ".join(absent[:4]) + (f" and {len(absent) - 4} more" if len(absent) > 4 else "")
    roots = ", ".join(str(root) for root in dict.fromkeys(place.root for place in places))
    urls = ", ".join(dict.fromkeys(file.url for file in entry.files))
    packed = " and unpack it" if entry.files[0].member else ""
    return (
        f"the data set {name} cannot be had: looked for {shown} in {roots}; {reason}. To get it by hand, download "
        f"{urls}{packed}, and set RONDEAU_DATA to a folder that holds it as {shown}. "
        "With stand_in=True a small generated stand-in takes its place"
    )
