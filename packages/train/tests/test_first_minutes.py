"""What a newcomer meets first: short texts, runs that came to nothing, and scores of the wrong text."""

import json
import re
from types import SimpleNamespace

import pytest

from rondeau import train
from rondeau.data import embedded_corpus
from rondeau.train import cli
from rondeau.train._evaluate import Evaluation
from rondeau.train._verdict import check_converged, compare_with_counting

TEXT = embedded_corpus()
SMALL = ["--hidden_size=4", "--max_steps=2"]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text(
        "".join(f"{a} plus {b} is {a + b}\n" for a in range(30) for b in range(20)), encoding="utf-8"
    )
    return path


def run(capsys, *arguments, status=0):
    assert cli.main(list(map(str, arguments))) == status, capsys.readouterr().err
    return capsys.readouterr()


def test_a_short_text_is_learned_and_the_sizes_are_told_and_kept(text, tmp_path, capsys):
    text.write_text(text.read_text(encoding="utf-8")[:5000], encoding="utf-8")
    out = run(capsys, "train", text, "--hidden_size=48", f"--output={tmp_path / 'run'}").out
    assert (
        "\nbatches  4 rows of 16 characters, 10 epochs: chosen for the length of this text "
        "(to change: --batch_size, --num_steps, --epochs)\n"
    ) in out
    kept = (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
    assert "batch_size: 4\nnum_steps: 16\nepochs: 10\n" in kept
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary["held_out_loss"] < summary["baselines"]["bigram"]
    assert "worse than counted pairs" not in out


def test_a_model_that_is_worse_than_counting_says_so(text, tmp_path, capsys):
    given = ["--batch_size=32", "--num_steps=64", "--epochs=1", "--hidden_size=4"]
    out = run(capsys, "train", text, *given, f"--output={tmp_path / 'run'}").out
    assert "batches" not in out, "all of them were given"
    assert (
        "  this model predicts worse than counted pairs (bigram): it was still learning when the run ended; "
        "try more --epochs, or a smaller --batch_size\n"
    ) in out


@pytest.mark.parametrize(
    ("tokens", "best_step", "scored", "limits", "says"),
    [
        (
            "characters",
            90,
            500,
            {},
            "it was still learning when the run ended; try more --epochs, or a smaller",
        ),
        ("characters", 90, 500, {"max_steps": 100}, "try more --max_steps, or a smaller --batch_size"),
        ("characters", 90, 500, {"max_steps": 101, "max_minutes": 1}, "try more --max_minutes, or a smaller"),
        ("characters", 20, 500, {}, "after step 20 it learned its own part by heart"),
        ("words", 20, 500, {}, "too rare in this text; try a longer one, or --tokens bpe or characters"),
        ("regex", 90, 500, {}, "its words are too rare"),
        (
            "words",
            100,
            500,
            {},
            "still learning when the run ended; try more --epochs, a longer text, or --tokens",
        ),
        ("characters", 90, 50, {}, "so short a text teaches and measures little; try a longer one"),
    ],
)
def test_what_to_try_when_counting_is_better(tokens, best_step, scored, limits, says):
    config = SimpleNamespace(text=SimpleNamespace(tokens=tokens))
    reached = {"best_step": best_step, "step": 100, "seconds": 60.0, "max_steps": None, "max_minutes": None}
    trainer = SimpleNamespace(**reached | limits)
    score = Evaluation(3.0, scored, True)
    assert says in compare_with_counting(config, trainer, score, 2.9)
    assert compare_with_counting(config, trainer, score, 3.0) is None


def test_ranks_that_do_not_know_of_each_other_are_told(text, tmp_path, capsys, monkeypatch):
    def err(rank, name):
        monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
        monkeypatch.setenv("OMPI_COMM_WORLD_RANK", rank)
        return run(
            capsys, "train", text, "--hidden_size=4", "--max_steps=1", f"--output={tmp_path / name}"
        ).err

    line = "rondeau train: this command was started 2 times, as the ranks of an MPI job, and each of them trains a run "
    assert f"{line}of its own; to share one run among them, give --parallel mpi\n" in err("0", "first")
    assert line not in err("1", "second")


def test_a_huge_loss_is_no_normal_end(text, tmp_path, capsys):
    wild = ["--optimizer=sgd", "--lr=1e5", "--clip_norm=none", "--hidden_size=8", "--epochs=1"]
    err = run(capsys, "train", text, *wild, f"--output={tmp_path / 'run'}", status=1).err
    assert re.search(
        r"rondeau train: the training diverged: its loss ended at [\d,.e+]+, "
        r"while guessing every token evenly has 2\.\d+; give a lower --lr, or a smaller --clip_norm\n$",
        err,
    )
    assert not (tmp_path / "run" / "summary.json").exists()
    check_converged(2 * 3.0, vocab_size=21)
    with pytest.raises(train.DivergedError):
        check_converged(48_133.0, vocab_size=21)


@pytest.mark.parametrize("length", [50, 1000])
@pytest.mark.parametrize("tokens", ["characters", "words", "regex", "bpe"])
def test_texts_of_every_length_can_be_trained_on(tokens, length, tmp_path, capsys):
    if tokens == "bpe":
        pytest.importorskip("tokenizers")
    path = tmp_path / "short.txt"
    path.write_text(TEXT[100_000 : 100_000 + length], encoding="utf-8")
    for i, options in enumerate((["--sampling=random"], ["--held_out=0"])):
        run(capsys, "train", path, *SMALL, f"--tokens={tokens}", *options, f"--output={tmp_path / str(i)}")


def test_a_held_out_part_that_is_too_short_names_one_that_is_not(tmp_path, capsys):
    path = tmp_path / "short.txt"
    path.write_text("ten letter", encoding="utf-8")
    err = run(capsys, "train", path, *SMALL, f"--output={tmp_path / 'run'}", status=2).err
    assert err.endswith("leaves 1 to predict; give --held_out 0.2 or 0, or a longer text\n")
    for held_out in ("0.2", "0"):
        run(capsys, "train", path, *SMALL, f"--held_out={held_out}", f"--output={tmp_path / held_out}")


# Which text was trained on


def test_evaluate_refuses_a_text_that_has_changed(text, tmp_path, capsys):
    folder, content = tmp_path / "run", text.read_text(encoding="utf-8")
    run(capsys, "train", text, *SMALL, f"--output={folder}")
    assert "% of " in run(capsys, "evaluate", folder).out
    text.write_text(content[: len(content) // 2], encoding="utf-8")
    err = run(capsys, "evaluate", folder, status=2).err
    assert err == (
        f"rondeau evaluate: {text} is not the text any more that this run was trained on, which was of "
        f"{len(content):,} characters, and has {len(content) // 2:,}: its held-out part cannot be told from the rest; "
        "give the text as it was with --held_out_part, or another one as CORPUS\n"
    )
    text.write_text(content[:-1] + "!", encoding="utf-8")
    assert "which was of other characters: " in run(capsys, "evaluate", folder, status=2).err
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_text(content, encoding="utf-8")
    text.unlink()
    out = run(capsys, "evaluate", folder, elsewhere, "--held_out_part").out
    assert out.startswith(f"the last 10 % of {elsewhere}, held out in training, by the model of step 2:\n")
    elsewhere.write_text(content + "!", encoding="utf-8")
    err = run(capsys, "evaluate", folder, elsewhere, "--held_out_part", status=2).err
    assert f"{elsewhere} is not the text that this run was trained on, which was of " in err


def test_evaluate_says_what_of_a_text_was_trained_on(text, tmp_path, capsys):
    folder = tmp_path / "run"
    run(capsys, "train", text, *SMALL, "--held_out=0.2", f"--output={folder}")
    said = run(capsys, "evaluate", folder, text).out
    assert said.startswith(
        f"all of {text}, the first 80 % of which it was trained on, by the model of step 2:\n"
    )
    copy = tmp_path / "copy.txt"
    copy.write_bytes(text.read_bytes())
    assert "copy.txt, the first 80 % of which it was trained on" in run(capsys, "evaluate", folder, copy).out
    text.write_text("1 plus 1 is 3\n", encoding="utf-8")
    assert (
        ", which has changed since the model was trained on it, by"
        in run(capsys, "evaluate", folder, text).out
    )
    copy.write_text("1 plus 1 is 3\n", encoding="utf-8")
    assert f"all of {copy}, by the model" in run(capsys, "evaluate", folder, copy).out


# Options that imply others


def test_tied_weights_bring_their_embedding(text, tmp_path, capsys):
    out = run(capsys, "train", text, "--tie_weights", *SMALL, f"--output={tmp_path / 'run'}").out
    assert "embeddings of 4" in out
    assert "embedding_size: 4\n" in (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")


def test_none_switches_an_option_off(text, tmp_path, capsys):
    off = ["--clip_norm", "none", "--embedding_size=none", "--normalise=None"]
    run(capsys, "train", text, *SMALL, *off, f"--output={tmp_path / 'none'}")
    kept = (tmp_path / "none" / "config.yaml").read_text(encoding="utf-8")
    assert all(f"{name}: null\n" in kept for name in ("clip_norm", "embedding_size", "normalise"))
    for word in ("none", "null"):  # where any text will do, these are such
        prompt = [f"--prompt={word}", "--length=0", "--unknown_as_unk"]
        assert run(capsys, "generate", tmp_path / "none", *prompt).out == f"{word}\n"
