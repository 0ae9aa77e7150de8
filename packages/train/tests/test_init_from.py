"""A run that begins with the weights and the vocabulary of another one."""

import json
import shutil

import pytest

from rondeau import data, nn
from rondeau.train import RunFolder, cli
from rondeau.train._origin import describe_unknown
from rondeau.train._request import parse_train
from rondeau.train._usage_error import UsageError

MODEL = ["--cell=lstm", "--hidden_size=6", "--tie_weights", "--min_freq=2"]
SIZES = ["--batch_size=4", "--num_steps=8", "--epochs=2"]


def run(capsys, *arguments, status=0):
    assert cli.main(["train", *map(str, arguments)]) == status, capsys.readouterr().err
    out, err = capsys.readouterr()
    return out if status == 0 else err


def weights(folder, name):
    stored = nn.load_safetensors(folder / "checkpoints" / name / "weights.safetensors")
    return {key: array.tobytes() for key, array in stored.items()}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run whose best checkpoint is not its last, its text, and another text."""
    folder = tmp_path_factory.mktemp("base")
    text, other = folder / "text.txt", folder / "other.txt"
    text.write_text("a rose is a rose is a thorn\n" * 30, encoding="utf-8")
    other.write_text("a rose ist eine Rose, ß é\n" * 30, encoding="utf-8")
    flags = [*MODEL, *SIZES, "--lr=0.05", f"--output={folder / 'run'}"]
    assert cli.main(["train", str(text), *flags]) == 0
    return folder / "run", text, other


@pytest.fixture
def fine(base, tmp_path, capsys):
    """A run on the other text that began with the first one."""
    out = run(capsys, base[2], *SIZES, f"--init_from={base[0]}", f"--output={tmp_path / 'fine'}")
    return tmp_path / "fine", out


def best_of(folder):
    return f"step-{json.loads((folder / 'summary.json').read_text())['best_step']}"


def test_it_begins_with_the_best_weights_and_the_vocabulary(base, fine):
    folder, out = fine
    best = best_of(base[0])
    assert weights(folder, "step-0") == weights(base[0], best)
    assert (folder / "vocab.json").read_bytes() == (base[0] / "vocab.json").read_bytes()
    assert f"\nweights  of step {best[5:]} of {base[0]}\n" in out
    assert "\nmodel    lstm, 1 layer of 6 units, embeddings of 6" in out
    assert "\nunknown  120 of the 780 characters (15.4 %): ',', 'R', 'ß', 'é' become <unk>\n" in out
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    assert f"init_from: {base[0] / 'checkpoints' / best}\ncell: lstm\nhidden_size: 6\n" in config
    assert "min_freq: 2\n" in config


def test_its_configuration_reproduces_it(base, fine, tmp_path, capsys):
    folder, _ = fine
    run(capsys, f"--config={folder / 'config.yaml'}", f"--output={tmp_path / 'again'}")
    names = {path.name for path in (folder / "checkpoints").glob("step-*")}
    assert names == {path.name for path in (tmp_path / "again" / "checkpoints").glob("step-*")}
    for name in names:
        assert weights(tmp_path / "again", name) == weights(folder, name), name


def test_a_printed_configuration_is_whole(base, tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", str(base[2]), *SIZES, f"--init_from={base[0]}", "--print_config"])
    printed = tmp_path / "mine.yaml"
    printed.write_text(capsys.readouterr().out, encoding="utf-8")
    assert "cell: lstm\nhidden_size: 6\n" in printed.read_text(encoding="utf-8")
    assert "\nweights  of step" in run(capsys, f"--config={printed}", f"--output={tmp_path / 'run'}")


@pytest.mark.parametrize(
    ("option", "has"),
    [
        ("hidden_size=256", 6), ("cell=gru", "lstm"), ("num_layers=2", 1), ("embedding_size=8", 6),
        ("tie_weights=false", True), ("forget_bias=2", 1.0), ("tokens=words", "characters"), ("min_freq=0", 2),
    ],
)  # fmt: skip
def test_options_that_are_the_other_run_s(option, has, base, tmp_path, capsys):
    name, _, given = option.partition("=")
    err = run(
        capsys, base[2], f"--{option}", f"--init_from={base[0]}", f"--output={tmp_path / 'run'}", status=2
    )
    assert err.startswith(f"rondeau train: --{name}: got {given.title() if given == 'false' else given}")
    assert f", but --init_from {base[0]} has {has}: " in err
    assert not (tmp_path / "run").exists()


def test_options_that_may_be_given_anew(base, tmp_path, capsys):
    others = {"zoneout": 0.1, "recurrent_dropout": 0.2, "weight_dropout": 0.3}
    request = parse_train(
        [f"--init_from={base[0]}", *(f"--{name}={value}" for name, value in others.items())]
    )
    assert {name: getattr(request.config.model, name) for name in others} == others
    anew = ["--dropout=0.2", "--held_out=0.3"]
    run(capsys, base[2], *SIZES, *anew, f"--init_from={base[0]}", f"--output={tmp_path / 'run'}")
    assert weights(tmp_path / "run", "step-0") == weights(base[0], best_of(base[0]))
    assert "dropout: 0.2\n" in (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")


def test_the_checkpoint_can_be_chosen(base, tmp_path, capsys):
    last = max(int(path.name[5:]) for path in (base[0] / "checkpoints").glob("step-*"))
    for i, (flags, name) in enumerate(
        (
            ([f"--init_from={base[0]}", "--checkpoint=latest"], f"step-{last}"),
            ([f"--init_from={base[0]}", "--checkpoint", "step-0"], "step-0"),
            ([f"--init_from={base[0] / 'checkpoints' / 'step-0'}"], "step-0"),
        )
    ):
        folder = tmp_path / str(i)
        run(capsys, base[2], *SIZES, "--max_steps=1", *flags, f"--output={folder}")
        assert weights(folder, "step-0") == weights(base[0], name)
        assert f"init_from: {base[0] / 'checkpoints' / name}\n" in (folder / "config.yaml").read_text()
    err = run(capsys, base[2], f"--init_from={base[0]}", "--checkpoint=step-999", status=2)
    assert err.startswith("rondeau train: --init_from: there is no checkpoint ")
    assert run(capsys, base[2], "--checkpoint=latest", status=2) == (
        "rondeau train: --checkpoint: goes with --resume or --init_from, which name a run\n"
    )


def test_what_is_no_run_to_begin_with(base, tmp_path, capsys):
    err = run(capsys, base[2], f"--init_from={tmp_path}", status=2)
    assert err == f"rondeau train: --init_from: {tmp_path} is not a run: it has no config.yaml\n"
    shutil.copytree(base[0], tmp_path / "run")
    err = run(
        capsys,
        base[2],
        f"--init_from={tmp_path / 'run'}",
        "--overwrite",
        f"--output={tmp_path / 'run'}",
        status=2,
    )
    assert "is the run that --init_from names; choose another folder" in err
    (tmp_path / "run" / "vocab.json").write_text("{}")
    err = run(capsys, base[2], f"--init_from={tmp_path / 'run'}", f"--output={tmp_path / 'fine'}", status=2)
    assert err.startswith(f"rondeau train: --init_from: {tmp_path / 'run' / 'vocab.json'}")


def test_nothing_is_held_out_that_the_first_run_was_trained_on(base, tmp_path, capsys):
    same = tmp_path / "same text.txt"
    shutil.copy(base[1], same)
    flags = [same, *SIZES, f"--init_from={base[0]}", f"--output={tmp_path / 'run'}"]
    err = run(capsys, *flags, "--held_out=0.2", status=2)
    assert err == (
        f"rondeau train: --held_out: {base[0]} was trained on all but the last 0.1 of this very text, so that the last "
        "0.2 would not be new to the model; give at most 0.1\n"
    )
    run(capsys, *flags)


def test_nor_that_an_earlier_run_was_trained_on(base, fine, tmp_path, capsys):
    flags = [base[1], *SIZES, f"--init_from={fine[0]}", f"--output={tmp_path / 'run'}"]
    err = run(capsys, *flags, "--held_out=0.2", status=2)
    assert err.startswith(
        f"rondeau train: --held_out: {base[0]} was trained on all but the last 0.1 of this very text"
    )
    assert cli.main(["evaluate", str(fine[0]), str(base[1])]) == 0
    assert ", the first 90 % of which it was trained on, by" in capsys.readouterr().out

    config = fine[0] / "config.yaml"
    gone = shutil.copytree(base[0], tmp_path / "gone")
    run(capsys, base[2], *SIZES, f"--init_from={gone}", "--overwrite", f"--output={fine[0]}")
    assert str(gone) in config.read_text(encoding="utf-8")
    shutil.rmtree(gone)
    assert cli.main(["evaluate", str(fine[0]), str(base[1])]) == 0
    out, err = capsys.readouterr()
    assert "trained on" not in out
    assert err.startswith(
        f"rondeau evaluate: whether {fine[0]} has learned from a text before it began with {gone} cannot be told: "
        f"{gone} is not a run: "
    )
    run(capsys, *flags, "--held_out=0")


def test_unknown_tokens():
    text, words = "to be or not to be " * 3, data.WordTokenizer()
    codec = data.Codec.fit("to be", words)
    assert describe_unknown("to be to be", codec, "word") is None
    assert describe_unknown(text, codec, "word") == "6 of the 18 words (33.3 %): 'not', 'or' become <unk>"
    many = " ".join(["to", *"abcdefgh", "a"])
    assert describe_unknown(many, codec, "word") == (
        "9 of the 10 words (90 %): 'a', 'b', 'c', 'd', 'e' and 3 more become <unk>"
    )
    with pytest.raises(
        UsageError, match="its vocabulary lacks every word of this text; begin a run without it"
    ):
        describe_unknown("alpha beta", codec, "word")
    without = data.Codec.fit("to be", words, unk_token=None)
    with pytest.raises(
        UsageError, match=r"which has no unknown token, lacks 6 of the 18 words \(33.3 %\): 'not', 'or'"
    ):
        describe_unknown(text, without, "word")


def test_it_is_resumed_without_the_first_run_and_begun_again_with_it(base, fine, tmp_path, capsys):
    folder, _ = fine
    whole = weights(folder, "step-0")
    begun = tmp_path / "begun"  # as a kill leaves it before the first checkpoint
    shutil.copytree(folder, begun)
    for name in ("checkpoints", "metrics.jsonl", "samples.txt", "vocab.json", "summary.json", "curves.png"):
        path = begun / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    run(capsys, "--resume", begun)
    assert weights(begun, "step-0") == whole
    last = max((folder / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:])).name
    assert weights(begun, last) == weights(folder, last)
    moved = base[0].with_name("away")
    base[0].rename(moved)
    try:
        out = run(capsys, "--resume", folder, "--epochs=3")
    finally:
        moved.rename(base[0])
    assert "continued at step" in out
    assert RunFolder(folder).rows()[-1]["epoch"] == 3
