"""Optimisers, schedules, the training loop, evaluation, generation, checkpoints and the command line.

Everything is imported on first use, so that ``rondeau --help`` answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rondeau.train import estimators, lr_scheduler, metrics, optim
    from rondeau.train._callback import Callback
    from rondeau.train._checkpoint import CheckpointFolder, Snapshot
    from rondeau.train._csv_log import CSVLog
    from rondeau.train._diverged import DivergedError
    from rondeau.train._errors import CheckpointError, RunError, RunWarning
    from rondeau.train._evaluate import Evaluation, evaluate
    from rondeau.train._generate import generate, token_probabilities
    from rondeau.train._history import History
    from rondeau.train._progress import Progress
    from rondeau.train._recorder import Recorder
    from rondeau.train._run import RunFolder
    from rondeau.train._sweep.folder import SweepFolder, SweepTrial
    from rondeau.train._sweep.sweep import sweep
    from rondeau.train._tasks.forecasting import Forecasting
    from rondeau.train._tasks.labelling import SequenceLabelling
    from rondeau.train._tasks.language import LanguageModelling
    from rondeau.train._tasks.supervised import Supervised
    from rondeau.train._tasks.task import Score, Task
    from rondeau.train._tensorboard import TensorBoard
    from rondeau.train._trained import Trained, load_trained
    from rondeau.train._trainer import Trainer
    from rondeau.train.parallel import MPI, RankLostError

__version__ = "0.1.0"

__all__ = [
    "MPI",
    "CSVLog",
    "Callback",
    "CheckpointError",
    "CheckpointFolder",
    "DivergedError",
    "Evaluation",
    "Forecasting",
    "History",
    "LanguageModelling",
    "Progress",
    "RankLostError",
    "Recorder",
    "RunError",
    "RunFolder",
    "RunWarning",
    "Score",
    "SequenceLabelling",
    "Snapshot",
    "Supervised",
    "SweepFolder",
    "SweepTrial",
    "Task",
    "TensorBoard",
    "Trained",
    "Trainer",
    "estimators",
    "evaluate",
    "generate",
    "load_trained",
    "lr_scheduler",
    "metrics",
    "optim",
    "sweep",
    "token_probabilities",
]

_HOMES = {
    "_callback": ("Callback",),
    "_checkpoint": ("CheckpointFolder", "Snapshot"),
    "_csv_log": ("CSVLog",),
    "_diverged": ("DivergedError",),
    "_errors": ("CheckpointError", "RunError", "RunWarning"),
    "_evaluate": ("Evaluation", "evaluate"),
    "_generate": ("generate", "token_probabilities"),
    "_history": ("History",),
    "_progress": ("Progress",),
    "_recorder": ("Recorder",),
    "_run": ("RunFolder",),
    "_sweep.folder": ("SweepFolder", "SweepTrial"),
    "_sweep.sweep": ("sweep",),
    "_tasks.forecasting": ("Forecasting",),
    "_tasks.labelling": ("SequenceLabelling",),
    "_tasks.language": ("LanguageModelling",),
    "_tasks.supervised": ("Supervised",),
    "_tasks.task": ("Score", "Task"),
    "_tensorboard": ("TensorBoard",),
    "_trained": ("Trained", "load_trained"),
    "_trainer": ("Trainer",),
    "parallel": ("MPI", "RankLostError"),
}


def __getattr__(name: str) -> Any:
    if name in ("estimators", "lr_scheduler", "metrics", "optim"):
        return import_module(f"{__name__}.{name}")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
