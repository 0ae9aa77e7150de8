"""What becomes of a run that goes on: longer, from further back, with files lost or edited, or while it is in use."""

import json
import random
import re
import shutil

import pytest

from rondeau.train import RunFolder, cli

OPTIONS = [
    *("--cell=gru", "--hidden_size=4", "--batch_size=2", "--num_steps=8", "--epochs=none", "--max_steps=8"),
    *("--lr=0.02", "--log_every=1", "--evaluate_every=4", "--checkpoint_every=2", "--keep=3", "--threads=1"),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    generator = random.Random(0)
    path = tmp_path_factory.mktemp("corpus") / "roses.txt"
    path.write_text(
        " ".join(generator.choice(["rose", "is", "a", "thorn"]) for _ in range(150)), encoding="utf-8"
    )
    return path


def train(capsys, *arguments, status=0):
    """Run ``rondeau train`` in this process; return what it printed, and said on standard error as errors are said."""
    assert cli.main(["train", *map(str, arguments)]) == status, capsys.readouterr().err
    captured = capsys.readouterr()
    said = [line for line in captured.err.splitlines() if line.startswith("rondeau train: ")]
    assert status == 0 or len(said) == 1
    return captured.out, "\n".join(said)


@pytest.fixture(scope="module")
def made(corpus, tmp_path_factory):
    """A run of 8 steps, one that was interrupted after step 6, and the first one's weights at its end."""
    whole, part = (tmp_path_factory.mktemp("made") / name for name in ("whole", "part"))
    assert cli.main(["train", str(corpus), *OPTIONS, f"--output={whole}"]) == 0
    assert cli.main(["train", str(corpus), *OPTIONS, f"--output={part}"]) == 0
    run = RunFolder(part)
    run.checkpoints.rewind(run.checkpoints.find("step-6"))
    run.results.remove()
    return whole, part


@pytest.fixture
def whole(made, tmp_path):
    return RunFolder(shutil.copytree(made[0], tmp_path / "whole"))


@pytest.fixture
def part(made, tmp_path):
    return RunFolder(shutil.copytree(made[1], tmp_path / "part"))


def weights(run, step=8):
    return (run.checkpoints.folder / f"step-{step}" / "weights.safetensors").read_bytes()


def test_a_run_goes_on_beyond_its_end(whole, corpus, tmp_path, capsys):
    longer = RunFolder(tmp_path / "longer")
    constant = ["--schedule=constant"]
    for run, steps in ((longer, 8), (RunFolder(tmp_path / "at once"), 12)):
        train(capsys, corpus, *OPTIONS, *constant, f"--max_steps={steps}", f"--output={run.path}")
    config = longer.config.read_bytes()
    out, said = train(capsys, "--resume", longer.path, "--max_steps=12")
    assert "continued at step 8" in out
    assert "ended: 12 steps are done" in out
    assert said == ""
    assert weights(longer, 12) == weights(run, 12), "of a constant rate, the length is no matter"
    assert longer.config.read_bytes() == config
    out, _ = train(capsys, "--resume", longer.path)
    assert "this run has ended: 12 steps are done" in out, "the new end is kept"
    assert cli.main(["evaluate", str(longer.path)]) == 0
    assert "by the model of step" in capsys.readouterr().out


def test_beyond_its_end_the_rate_is_held(corpus, tmp_path, capsys):
    run = RunFolder(tmp_path / "run")
    options = ["--schedule=cosine", "--final_lr=0.25", "--warmup_steps=2", "--max_steps=6"]
    train(capsys, corpus, *OPTIONS, *options, f"--output={run.path}")
    planned = [row["lr"] for row in run.rows()]
    train(capsys, "--resume", run.path, "--max_steps=9")
    rates = [row["lr"] for row in run.rows()]
    assert rates[:6] == planned
    assert rates[6:] == [planned[-1]] * 3
    assert planned[-1] == pytest.approx(0.25 * 0.02, rel=1e-12)


def test_a_longer_run_that_is_interrupted_has_no_results_yet(whole, capsys, monkeypatch):
    from rondeau.train import Recorder

    def interrupt(recorder, trainer, row):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_row", interrupt)
        assert cli.main(["train", "--resume", str(whole.path), "--max_steps=12"]) == 130
    capsys.readouterr()
    assert not whole.results.summary.exists()
    out, _ = train(capsys, "--resume", whole.path)
    assert "ended: 8 steps are done" in out, "the first end, until a checkpoint holds the new one"
    assert whole.results.find_damage() == []


def test_another_checkpoint_is_gone_back_to(made, part, capsys):
    out, said = train(capsys, "--resume", part.path, "--checkpoint=step-4")
    assert "continued at step 4" in out
    assert said == ""
    assert weights(part) == weights(RunFolder(made[0]))
    assert [row["step"] for row in part.rows()] == list(range(1, 9))
    _, said = train(capsys, "--resume", part.path, "--checkpoint=step-3", status=2)
    assert re.search(r"there is no checkpoint .*step-3; there: step-4, step-6, step-8$", said)


def test_the_best_checkpoint_is_gone_back_to(part, capsys):
    assert part.load_checkpoint().state["best_step"] == 4
    out, _ = train(capsys, "--resume", part.path, "--checkpoint=best")
    assert "continued at step 4" in out


def test_a_text_that_was_moved_is_named(made, part, corpus, tmp_path, capsys, monkeypatch):
    moved = tmp_path / "moved.txt"
    corpus.rename(moved)
    try:
        _, said = train(capsys, "--resume", part.path, status=2)
        assert said.endswith(
            f"there is no file {corpus}; where it is elsewhere now: rondeau train --resume {part.path} CORPUS"
        )
        other = tmp_path / "other.txt"
        other.write_text(moved.read_text() + "!", encoding="utf-8")
        _, said = train(capsys, other, "--resume", part.path, status=2)
        assert "the corpus has changed since the run began" in said
        monkeypatch.chdir(tmp_path)
        train(capsys, "--resume", part.path, "moved.txt")
    finally:
        moved.rename(corpus)
    assert weights(part) == weights(RunFolder(made[0]))


def test_a_lost_latest_is_no_new_run(made, part, capsys):
    (part.checkpoints.folder / "latest").unlink()
    out, said = train(capsys, "--resume", part.path)
    assert "continued at step 6" in out
    assert re.search(
        r"checkpoints/latest is missing; continued from step-6, the newest whole checkpoint$", said
    )
    assert weights(part) == weights(RunFolder(made[0]))


@pytest.mark.parametrize("lost", ["checkpoints", "content"])
def test_lost_checkpoints_are_no_new_run(part, capsys, lost):
    for folder in (
        [part.checkpoints.folder] if lost == "checkpoints" else part.checkpoints.folder.glob("step-*")
    ):
        shutil.rmtree(folder)
    metrics = part.metrics.read()
    _, said = train(capsys, "--resume", part.path, status=2)
    assert ("though" if lost == "checkpoints" else "there is no checkpoint") in said
    assert part.metrics.read() == metrics


def test_nothing_whole_is_an_error_and_nothing_is_touched(part, capsys):
    for path in part.checkpoints.folder.glob("step-*/weights.safetensors"):
        path.write_bytes(b"")
    before = {
        path: path.is_file() and path.read_bytes()
        for path in part.path.rglob("*")
        if path.name != "rondeau.lock"
    }
    _, said = train(capsys, "--resume", part.path, status=2)
    assert re.search(r"step-6.weights.safetensors has SHA-256 .* \(step-4, step-6\) none is whole$", said)
    after = {
        path: path.is_file() and path.read_bytes()
        for path in part.path.rglob("*")
        if path.name != "rondeau.lock"
    }
    assert after == before


def test_a_lost_best_checkpoint_is_said_and_counted_anew(made, part, capsys):
    (part.checkpoints.folder / "step-4" / "carried.safetensors").unlink()
    assert part.load_checkpoint().state["best_step"] == 4
    out, said = train(capsys, "--resume", part.path)
    assert re.search(
        r"step-4.carried.safetensors is missing; set aside as .*aside-step-4$", said, re.MULTILINE
    )
    assert "the best checkpoint so far, step-4, is lost: from here on, the best is counted again" in said
    assert "with the weights of step 8" in out
    assert weights(part) == weights(RunFolder(made[0]))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.replace(b"lr: 0.02", b"lr: 0.03"),
        lambda content: content[:40],
        lambda content: b"",
        lambda content: content + b"# a note\n",
    ],
    ids=["edited", "cut", "emptied", "longer"],
)
@pytest.mark.parametrize("command", ["train --resume", "generate", "evaluate"])
def test_an_edited_configuration_is_refused(part, capsys, change, command):
    part.config.write_bytes(change(part.config.read_bytes()))
    assert cli.main([*command.split(), str(part.path)]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert re.search(r"config.yaml was (cut|edited or damaged) since the checkpoint of step \d", said)
    assert "options of --resume (--epochs, --max_steps, --max_minutes, --threads)" in said
    assert f"train --config {part.config} --output FOLDER" in said


def test_a_lost_vocabulary_is_made_of_the_corpus_again(made, part, capsys):
    vocab = part.vocab.read_bytes()
    part.vocab.unlink()
    assert cli.main(["generate", str(part.path)]) == 2
    assert f"or remove it, and `rondeau train --resume {part.path}` makes it again" in capsys.readouterr().err
    _, said = train(capsys, "--resume", part.path)
    assert said.endswith("vocab.json was missing, and was made again from the corpus")
    assert part.vocab.read_bytes() == vocab
    assert weights(part) == weights(RunFolder(made[0]))


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.txt"])
def test_damaged_logs_name_the_checkpoint_that_they_fit(made, part, capsys, name):
    path = part.path / name
    content = bytearray(path.read_bytes())
    at = part.load_checkpoint("step-4").state["files"][name]["bytes"]
    content[at if name == "metrics.jsonl" else at - 2] ^= 1
    path.write_bytes(content)
    _, said = train(capsys, "--resume", part.path, status=2)
    assert f"{name} was edited or damaged since the checkpoint of step 6: restore it from a copy, or " in said
    if name == "samples.txt":  # nothing was appended after step 4
        assert said.endswith("or begin the run again")
        return
    assert said.endswith("go back to where it is whole with --checkpoint step-4")
    train(capsys, "--resume", part.path, "--checkpoint=step-4")
    assert weights(part) == weights(RunFolder(made[0]))


def test_damaged_results_are_made_anew(whole, capsys):
    summary, curves = json.loads(whole.results.summary.read_bytes()), whole.results.curves.exists()
    whole.results.summary.write_text("{}")
    out, said = train(capsys, "--resume", whole.path)
    assert "summary.json is damaged: does not end with a SHA-256; it is made again" in said
    assert "sample:" in out
    assert json.loads(whole.results.summary.read_bytes()) == summary
    if curves:
        whole.results.curves.unlink()
        assert "curves.png is missing; it is made again" in train(capsys, "--resume", whole.path)[1]
        assert whole.results.find_damage() == []


def test_the_command_that_was_interrupted_may_be_given_again(made, part, corpus, capsys):
    command = [corpus, *OPTIONS, f"--output={part.path}"]
    part.config.write_text(part.config.read_text().replace(str(made[1]), str(part.path)))
    shutil.rmtree(part.checkpoints.folder)  # as if it had been killed before it wrote one
    for log in (part.metrics, part.samples):
        log.remove()
    out, said = train(capsys, *command)
    assert "continued" not in out
    assert said == ""
    assert weights(part) == weights(RunFolder(made[0]))
    _, said = train(capsys, *command, status=2)
    assert "holds a run already; give --overwrite" in said
    part.checkpoints.rewind(part.checkpoints.find("step-6"))
    part.results.remove()
    _, said = train(capsys, *command, "--lr=0.1", status=2)
    assert "holds a run already; give --overwrite" in said, "another command is not this run's"
    out, said = train(capsys, *command)
    assert "continued at step 6" in out
    assert weights(part) == weights(RunFolder(made[0]))


def test_a_live_run_is_neither_overwritten_nor_resumed(part, corpus, capsys):
    before = part.config.read_bytes()
    with part.lock.held():
        for arguments in (
            ["--resume", part.path],
            [corpus, *OPTIONS, f"--output={part.path}", "--overwrite"],
            [corpus, *OPTIONS, f"--output={part.path}"],
        ):
            _, said = train(capsys, *arguments, status=2)
            assert "is being written by this process since" in said
        assert cli.main(["generate", str(part.path), "--length=3"]) == 0, "reading it is no harm"
        capsys.readouterr()
    assert part.config.read_bytes() == before
    train(capsys, "--resume", part.path)


def test_only_the_folder_of_a_run_is_overwritten(corpus, tmp_path, capsys):
    folder = tmp_path / "another program's"
    (folder / "checkpoints" / "step-1").mkdir(parents=True)
    for name in ("config.yaml", "checkpoints/latest", "checkpoints/step-1/weights.safetensors"):
        (folder / name).write_text("precious")
    for arguments in ([corpus, *OPTIONS, f"--output={folder}", "--overwrite"], ["--resume", folder]):
        train(capsys, *arguments, status=2)
    (folder / "checkpoints" / "latest").unlink()
    _, said = train(capsys, corpus, *OPTIONS, f"--output={folder}", "--overwrite", status=2)
    assert said.endswith("choose another --output (the folder of a run has a rondeau.lock)")
    assert not (folder / "rondeau.lock").exists()
    assert (folder / "checkpoints" / "step-1" / "weights.safetensors").read_text() == "precious"


def test_overwriting_removes_only_what_a_run_made(whole, corpus, capsys):
    checkpoints = whole.checkpoints.folder
    for path in (whole.path, checkpoints, checkpoints / "step-6"):
        (path / "mine").write_text("precious")
    train(capsys, corpus, *OPTIONS, f"--output={whole.path}", "--overwrite", "--max_steps=2")
    for path in (whole.path, checkpoints, checkpoints / "aside-step-6"):
        assert (path / "mine").read_text() == "precious"
    assert whole.checkpoints.steps() == [0, 2]
    assert [row["step"] for row in whole.rows()] == [1, 2]


def test_a_run_of_an_earlier_version_is_refused(part, capsys):
    for path in part.checkpoints.folder.rglob("manifest.json"):
        manifest = json.loads(path.read_bytes()) | {"format": 1}
        path.write_text(json.dumps(manifest))
    (part.checkpoints.folder / "latest").write_text(json.dumps({"checkpoint": "step-6", "sha256": "ab"}))
    for command in (["train", "--resume"], ["generate"], ["evaluate"]):
        assert cli.main([*command, str(part.path)]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert "latest has format 1; this version of rondeau reads format 3: train again" in said
