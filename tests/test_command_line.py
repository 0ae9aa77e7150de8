"""The command ``rondeau`` as a user meets it: what it prints, writes and returns, on small texts."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rondeau import nn
from rondeau.data import Codec
from rondeau.train import RunError, RunFolder, cli
from rondeau.train._program import program, python

QUICK = ["--hidden_size=8", "--batch_size=4", "--num_steps=8", "--epochs=2", "--log_every=5"]


def text(words, seed=0):
    rng = random.Random(seed)
    vocabulary = ["rose", "is", "a", "thorn", "by", "any", "other", "name,", "\n"]
    return " ".join(rng.choice(vocabulary) for _ in range(words))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "rose.txt"
    path.write_text(text(400), encoding="utf-8")
    return path


def rondeau(*arguments, cwd=None, entry=("-m", "rondeau.train")):
    return subprocess.run(
        [sys.executable, *entry, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        cwd=cwd,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
    )


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """A small run, and what the command printed."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    done = rondeau("train", corpus, *QUICK, f"--output={folder}")
    assert done.returncode == 0, done.stderr
    return folder, done


def refused(capsys, *arguments):
    """Run a command in this process, expect status 2, and return its one line."""
    assert cli.main(list(map(str, arguments))) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1, captured.err
    return lines[0]


# Help


def test_overview(capsys):
    assert cli.main([]) == 0
    overview = capsys.readouterr().out
    assert cli.main(["--help"]) == 0
    assert capsys.readouterr().out == overview
    for command in cli.COMMANDS:
        assert re.search(rf"^  {command} +\w", overview, re.MULTILINE)
        with pytest.raises(SystemExit):
            cli.main(["help", command])
        assert capsys.readouterr().out.startswith(f"usage: rondeau {command} ")


def test_version(capsys):
    import rondeau.train

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"rondeau {rondeau.train.__version__}\n"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_of_each_command_explains_every_option(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"usage: rondeau {command} ")
    options = [i for i, line in enumerate(lines) if re.match(r"  --\w", line)]
    assert options
    for i in options:
        explained = re.match(r"  --\w+( \S+)?  +\S", lines[i]) or re.match(r" {20,}\S", lines[i + 1])
        assert explained, lines[i]
    assert not re.search(r"type:|<class|Literal", "\n".join(lines))


def test_help_says_what_is_not_meant(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert set(re.findall(r"\w+", said)) >= set(nn.LanguageModel.CELLS)
    assert "lstm_projected" not in said
    assert "from one checkpoint to the next" in said
    assert "ends in one to three minutes" in said
    cli.main([])
    assert "A first run, of one to three minutes" in capsys.readouterr().out


def test_a_hint_repeats_the_command_as_it_was_called(tmp_path, monkeypatch):
    from rondeau import train

    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("rondeau", "python"):
        (folder / name).touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    called = {
        str(folder / "rondeau"): str(Path(".venv", "bin", "rondeau")),
        str(Path(train.__file__).with_name("__main__.py")): str(Path(".venv", "bin", "python"))
        + " -m rondeau.train",
        str(Path(train.__file__).parents[1] / "__main__.py"): str(Path(".venv", "bin", "python"))
        + " -m rondeau",
        "/elsewhere/pytest": "rondeau",
    }
    for argument, said in called.items():
        monkeypatch.setattr(sys, "argv", [argument])
        assert program() == said
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "argv", [str(folder / "rondeau")])
    assert program() == "rondeau"


def test_python_m_rondeau_is_the_command():
    done = rondeau(entry=("-m", "rondeau"))
    assert done.stdout.startswith("usage: rondeau COMMAND")
    assert "-m rondeau train --output runs/first" in done.stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom rondeau.train import cli\n"
        "try:\n    cli.main(['train', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numba', 'numpy', 'rondeau.tensor', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    done = rondeau(entry=("-c", code))
    assert done.stderr.strip() == "[]"


# Training


def test_train_tells_what_a_user_wants_to_know(trained):
    folder, done = trained
    out = done.stdout
    assert re.search(r"^corpus   .*rose\.txt: [\d,]+ characters$", out, re.MULTILINE)
    assert re.search(
        r"^tokens   [\d,]+ characters to train on, [\d,]+ held out; vocabulary of \d+$", out, re.MULTILINE
    )
    assert re.search(
        r"^model    gru, 1 layer of 8 units, one-hot input: [\d,]+ parameters, \d+ steps$", out, re.MULTILINE
    )
    assert "ended: 2 epochs are done, in " in out
    own = re.search(r"this model  perplexity ([\d.]+), [\d.]+ nats and [\d.]+ bits per character", out)
    unigram = re.search(r"unigram     perplexity ([\d.]+)", out)
    bigram = re.search(r"bigram      perplexity ([\d.]+)", out)
    assert float(own[1]) < float(unigram[1])
    assert float(bigram[1]) < float(unigram[1])
    assert "state carried over the whole stream" in out
    assert re.search(r"step \d+, read as one stream \(step lines cut it into 16 rows, for speed\):\n", out)
    assert f"run folder: {folder}" in out
    assert f"-m rondeau.train generate {folder}" in out, "the command as it was called"
    assert "Traceback" not in done.stderr
    assert re.search(
        r"step \d+/\d+  epoch 2  loss [\d.]+  held-out perplexity [\d.]+  [\d,]+ tokens/s", done.stderr
    )
    assert "\r" not in done.stderr, "plain lines where there is no terminal"


def test_a_run_folder_holds_what_it_should(trained, corpus):
    folder, done = trained
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "config.yaml",
        "vocab.json",
        "metrics.jsonl",
        "samples.txt",
        "summary.json",
        "checkpoints",
    }
    codec = Codec.load(folder / "vocab.json")
    assert set(codec.vocab.tokens) == {"<unk>", *corpus.read_text(encoding="utf-8")}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows]
    assert steps == sorted(set(steps))
    assert all(
        {"step", "epoch", "tokens", "train_loss", "lr", "grad_norm", "seconds"} <= row.keys() for row in rows
    )
    assert sum("held_out_loss" in row for row in rows) == 2
    assert (folder / "samples.txt").read_text(encoding="utf-8").count("held-out perplexity") == 2
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == steps[-1]
    assert f"perplexity {summary['held_out_perplexity']:.3f}" in done.stdout
    assert (folder / "checkpoints" / "latest").is_file()
    checkpoint = max((folder / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))
    assert {p.name for p in checkpoint.iterdir()} == {
        "manifest.json",
        "weights.safetensors",
        "optimizer.safetensors",
        "carried.safetensors",
    }


def test_curves_are_drawn_where_matplotlib_is(trained):
    pytest.importorskip("matplotlib")
    folder, done = trained
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert f"curves: {folder / 'curves.png'}" in done.stdout


def test_config_is_what_print_config_prints_and_reproduces_the_run(trained, corpus, tmp_path):
    folder, _ = trained
    printed = rondeau("train", corpus, *QUICK, f"--output={folder}", "--print_config")
    assert printed.returncode == 0
    assert (folder / "config.yaml").read_text(encoding="utf-8") == printed.stdout
    again = tmp_path / "again"
    done = rondeau(
        "train", "--output", again, "--config", folder / "config.yaml", "--threads=1", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    for path in sorted((folder / "checkpoints").glob("step-*/*.safetensors")):
        assert (again / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name


def test_flags_win_over_the_config_wherever_they_stand(tmp_path, capsys, corpus):
    config = tmp_path / "mine.yaml"
    config.write_text(f"corpus: {corpus}\nhidden_size: 12\nlr: 0.5\n")
    printed = []
    for arguments in (["--hidden_size=3", "--config", config], [f"--config={config}", "--hidden_size=3"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(["train", *map(str, arguments), "--print_config"])
        assert ended.value.code == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert f"corpus: {corpus}\n" in printed[0]
    assert "hidden_size: 3\n" in printed[0]
    assert "lr: 0.5\n" in printed[0]


def test_the_recipe_of_the_shakespeare_comparison_can_be_said(corpus, tmp_path):
    done = rondeau(
        *(
            "train",
            corpus,
            "--cell=lstm",
            "--hidden_size=128",
            "--batch_size=4",
            "--num_steps=64",
            "--lr=4e-3",
        ),
        *(
            "--schedule=cosine",
            "--final_lr=0.05",
            "--clip_norm=5",
            "--forget_bias=1",
            "--epochs=2",
            "--seed=1",
        ),
        *("--held_out=0.1", "--output", tmp_path / "run"),
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["lr"] == pytest.approx(0.05 * 4e-3, rel=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        [
            "--tokens=words",
            "--cell=rnn",
            "--optimizer=sgd",
            "--momentum=0.9",
            "--lr=0.1",
            "--sampling=random",
        ],
        ["--tokens=regex", "--optimizer=rmsprop", "--schedule=plateau", "--min_freq=2", "--lr=0.001"],
        ["--normalise=d2l", "--cell=lstm", "--dropout=0.1"],
        ["--tokens=words", "--normalise=d2l", "--optimizer=adamw", "--schedule=linear", "--weight_decay=0.1"],
        ["--tie-weights", "--optimizer=adagrad", "--schedule=exponential"],
        ["--zoneout=0.1", "--recurrent_dropout=0.1", "--weight_dropout=0.1", "--learn_initial_state"],
        ["--held_out=0", "--max_minutes=0.001", "--epochs=null", "--schedule=constant", "--warmup_steps=3"],
    ],
    ids=lambda options: options[0][2:],
)
def test_other_ways_to_train(options, tmp_path, capsys):
    corpus = tmp_path / "long.txt"
    corpus.write_text(text(900), encoding="utf-8")
    folder = tmp_path / "run"
    assert cli.main(["train", str(corpus), *QUICK, *options, f"--output={folder}"]) == 0, (
        capsys.readouterr().err
    )
    assert cli.main(["generate", str(folder), "--length=20", "--seed=0"]) == 0
    assert ("this model  perplexity" in capsys.readouterr().out) == ("--held_out=0" not in options)


def test_a_corpus_in_any_script(tmp_path, capsys):
    corpus = tmp_path / "紅樓夢.txt"
    corpus.write_text("滿紙荒唐言,一把辛酸淚!都云作者癡,誰解其中味?\n" * 60, encoding="utf-8")
    folder = tmp_path / "run"
    assert cli.main(["train", str(corpus), *QUICK, f"--output={folder}"]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert cli.main(["generate", str(folder), "--prompt=滿紙", "--length=10", "--seed=0"]) == 0
    written = capsys.readouterr().out
    assert written.startswith("滿紙")
    assert len(written) == 13


def test_a_sample_of_words_fits_the_terminal(tmp_path, capsys):
    corpus = tmp_path / "line.txt"
    corpus.write_text(text(900).replace("\n", "and"), encoding="utf-8")
    assert cli.main(["train", str(corpus), *QUICK, "--tokens=words", f"--output={tmp_path / 'run'}"]) == 0
    sample = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  | ")]
    assert len(sample) > 10
    assert max(map(len, sample)) <= 80


def test_perplexity_is_told_with_the_share_of_unknown_tokens(tmp_path, capsys):
    corpus = tmp_path / "long.txt"
    corpus.write_text(text(900) + " sepal petal", encoding="utf-8")
    options = ["--tokens=words", "--held_out=0.02", "--num_steps=4", "--max_steps=2"]
    assert cli.main(["train", str(corpus), *QUICK, *options, f"--output={tmp_path / 'run'}"]) == 0
    out = capsys.readouterr().out
    counted = re.search(
        r"words to train on, (\d+) held out \((\S+) % <unk>\); vocabulary of 10$", out, re.MULTILINE
    )
    expected = 200 / int(counted[1])
    assert float(counted[2]) == pytest.approx(expected, rel=1e-2)
    assert f"  {counted[2]} % of these words are <unk>, not in the vocabulary" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["unknown_share"] == pytest.approx(expected / 100)
    assert cli.main(["corpus", str(corpus), "--min_freq=2"]) == 0
    assert "% of them are <unk>, seen fewer than 2 times (--min_freq)" in capsys.readouterr().out


def test_resuming_an_ended_run_says_so_and_how_to_go_on(trained, capsys):
    assert cli.main(["train", "--resume", str(trained[0])]) == 0
    out = capsys.readouterr().out
    assert "this run has ended: 2 epochs are done; the results are in " in out
    assert f"to go on: rondeau train --resume {trained[0]} with a larger --epochs, --max_steps or" in out
    assert "sample:" not in out


def test_a_run_that_has_ended_compiles_nothing(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RONDEAU_CACHE", str(tmp_path / "none yet"))
    assert cli.main(["train", "--resume", str(trained[0])]) == 0
    assert "compiling" not in capsys.readouterr().err
    assert not (tmp_path / "none yet").exists()


@pytest.mark.skipif(os.name != "posix", reason="another process can be sent SIGINT on POSIX systems alone")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_kernels_are_compiled(trained, corpus, tmp_path, capsys, number, status):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "rondeau.train", "train", str(corpus), *QUICK, f"--output={folder}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"RONDEAU_CACHE": str(tmp_path / "none yet")},
        encoding="utf-8",
    )
    assert process.stderr.readline().startswith("rondeau: compiling kernels for this processor, once")
    process.send_signal(number)
    _, told = process.communicate(timeout=300)
    assert process.returncode == status, told
    assert re.fullmatch(
        rf"rondeau train: interrupted; continue with: .* train --resume {re.escape(str(folder))}\n", told
    )
    assert json.loads((folder / "checkpoints" / "latest").read_text())["checkpoint"] == "step-0"
    assert cli.main(["train", "--resume", str(folder)]) == 0, capsys.readouterr().err

    def rows(run):
        lines = (run / "metrics.jsonl").read_text().splitlines()
        return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]

    assert rows(folder) == rows(trained[0])


def test_an_overwritten_run_has_not_ended(trained, corpus, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    arguments = ["--optimizer=sgd", "--lr=1e38", "--clip_norm=null", f"--output={folder}", "--overwrite"]
    assert cli.main(["train", str(corpus), *QUICK, *arguments]) == 1
    assert not (folder / "summary.json").exists()


def test_bpe_without_its_package(trained, corpus, tmp_path, capsys, monkeypatch):
    run = RunFolder(tmp_path / "run")
    shutil.copytree(trained[0], run.path)
    vocab = json.loads(run.vocab.read_text(encoding="utf-8"))
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    remedy = f'needs the package tokenizers; in the clone of rondeau: {python()} -m pip install -e ".[bpe]"'
    line = refused(capsys, "train", corpus, "--tokens=bpe", f"--output={tmp_path / 'new'}")
    assert line == f"rondeau train: --tokens: bpe {remedy}"
    vocab["tokenizer"] = {"tokenizer": "bpe", "model": {}}
    run.vocab.write_text(json.dumps(vocab), encoding="utf-8")
    with pytest.raises(RunError, match=f"vocab.json {re.escape(remedy)}$"):
        run.load_codec()


def test_the_default_folder_is_new_each_time(corpus, tmp_path):
    for _ in range(2):
        done = rondeau("train", corpus, *QUICK, "--max_steps=2", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs").glob("rose-gru-*"))) == 2


def test_overwrite(corpus, tmp_path, capsys):
    folder = tmp_path / "run"
    arguments = ["train", str(corpus), *QUICK, "--max_steps=3", f"--output={folder}"]
    assert cli.main(arguments) == 0
    capsys.readouterr()
    line = refused(capsys, *arguments)
    assert line == (
        f"rondeau train: {folder} holds a run already; give --overwrite to replace it, another --output, "
        f"or continue it with: rondeau train --resume {folder}"
    )
    (folder / "notes.txt").write_text("mine")
    assert cli.main([*arguments, "--overwrite", "--max_steps=5"]) == 0
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [5]
    assert (folder / "notes.txt").read_text() == "mine", "only what a run made is replaced"


def test_a_diverged_run_is_told_with_status_1(corpus, tmp_path, capsys):
    options = ["--optimizer=sgd", "--lr=1e38", "--clip_norm=null", f"--output={tmp_path / 'run'}"]
    assert cli.main(["train", str(corpus), *QUICK, *options]) == 1
    assert re.search(
        r"rondeau train: the loss became (nan|inf) at step \d+, with learning rate", capsys.readouterr().err
    )


# Generating and evaluating


def test_generate(trained):
    folder, _ = trained
    arguments = ("generate", folder, "--prompt=a rose", "--length=50", "--seed=7")
    one, two = rondeau(*arguments), rondeau(*arguments)
    assert one.returncode == 0, one.stderr
    assert one.stdout == two.stdout
    assert one.stdout.startswith("a rose")
    assert len(one.stdout) == len("a rose") + 50 + 1
    assert one.stderr == ""


def test_generate_greedily_is_the_same_with_any_seed(trained, capsys):
    outs = []
    for seed in (1, 2):
        assert (
            cli.main(["generate", str(trained[0]), "--temperature=0", "--length=30", f"--seed={seed}"]) == 0
        )
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1]


def test_evaluate_agrees_with_the_end_of_training(trained, capsys):
    folder, _ = trained
    summary = json.loads((folder / "summary.json").read_text())
    assert cli.main(["evaluate", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"perplexity {summary['held_out_perplexity']:.3f}" in out
    assert f"{summary['tokens_scored']:,} characters scored, state carried over the whole stream" in out


def test_a_noisy_cell_writes_and_scores_the_same_each_time(corpus, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert cli.main(["train", str(corpus), *QUICK, "--epochs=1", "--cell=ctrnn", f"--output={run}"]) == 0
    capsys.readouterr()
    for command in (["evaluate", run], ["generate", run, "--seed=3", "--length=50"]):
        told = [(cli.main(command), capsys.readouterr().out) for _ in range(2)]
        assert told[0] == told[1]
        assert told[0][0] == 0


def test_evaluate_on_another_text_and_in_other_ways(trained, tmp_path, capsys):
    other = tmp_path / "other.txt"
    other.write_text(text(50, seed=9) + "€", encoding="utf-8")
    characters = len(other.read_text(encoding="utf-8"))
    assert cli.main(["evaluate", str(trained[0]), str(other), "--batch_size=4"]) == 0
    out = capsys.readouterr().out
    assert f"all of {other}" in out
    assert f"({characters - 1:,} characters scored, state carried over 4 rows)" in out
    part = f"{100 / characters:.3g} %"
    assert f"1 character ({part}) is not in the model's vocabulary, and counted as <unk>" in out
    assert cli.main(["evaluate", str(trained[0]), str(other), "--windows=10"]) == 0
    assert "fresh state at each of" in capsys.readouterr().out


def test_checkpoints_by_name(trained, capsys):
    steps = sorted(int(p.name[5:]) for p in (trained[0] / "checkpoints").glob("step-*"))
    assert cli.main(["evaluate", str(trained[0]), f"--checkpoint=step-{steps[0]}"]) == 0
    assert f"by the model of step {steps[0]}:" in capsys.readouterr().out
    assert cli.main(["evaluate", str(trained[0]), "--checkpoint=latest"]) == 0
    assert f"by the model of step {steps[-1]}:" in capsys.readouterr().out


# The corpus


def test_corpus_counts(tmp_path, capsys):
    path = tmp_path / "to be.txt"
    path.write_text("to be or not to be\n" * 30)
    assert cli.main(["corpus", str(path), "--top=2"]) == 0
    out = capsys.readouterr().out
    assert "570 characters, 180 words" in out
    assert "words: 4 distinct, 0 of them once\n  60  be\n  60  to\n" in out
    assert "pairs of words: 5 distinct" in out
    assert "  60  to be" in out
    assert r"'\n'" not in out
    assert cli.main(["corpus", str(path), "--line-ends"]) == 0
    assert "570 characters, 210 words" in capsys.readouterr().out
    assert cli.main(["corpus", str(path), "--tokens=characters", "--ngrams=1", "--top=1"]) == 0
    assert "characters: 8 distinct, 0 of them once\n  150  ' '" in capsys.readouterr().out


def test_corpus_of_python_with_a_plot(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    plot = tmp_path / "zipf.png"
    assert cli.main(["corpus", f"--plot={plot}", "--normalise=d2l"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"\d+  the\n", out)
    exponents = [float(x) for x in re.findall(r"rank to the power of -([\d.]+)", out)]
    assert len(exponents) == 3
    assert exponents[0] > exponents[1] > exponents[2], "longer runs fall more slowly"
    assert plot.read_bytes().startswith(b"\x89PNG")


# Mistakes: one line, status 2, no traceback


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["sing"],
            "there is no command 'sing'; the commands are train, sweep, generate, evaluate, export, warm, corpus",
        ),
        (
            ["train", "--cell=transformer"],
            r"--cell: expected one of rnn, ctrnn, gru, .*, slstm, got transformer",
        ),
        (["train", "--epochs=two"], "--epochs: expected a whole number, auto or none, got two"),
        (["train", "--lr=fast"], "--lr: expected a number, got fast"),
        (
            ["train", "--hiden-size=3"],
            "--hiden-size: there is no such option; did you mean --hidden_size",
        ),
        (["train", "--steps=3"], "--steps: there is no such option; did you mean --(num|max)_steps or"),
        (["generate", "--loud"], "--loud: there is no such option; `rondeau generate --help` lists them"),
        (["train", "one.txt", "two.txt"], "expected no further arguments, got two.txt"),
        (["train", "--normalise=D2L"], "--normalise: expected d2l or none, got D2L"),
        (["train", "--sampling=all"], "--sampling: expected sequential or random, got all"),
        (["train", "--tie_weights=maybe"], "--tie_weights: expected true or false, got maybe"),
        (["train", "--hidden_size"], "train: --hidden_size: expected one argument"),
        (
            ["train", "--cell=ea_lstm"],
            "got ea_lstm, which needs inputs of its own: this command gives none",
        ),
        (
            ["train", "--cell=lstm_projected"],
            "got lstm_projected, which needs a proj_size: this command gives none",
        ),
        (["train", "--zoneout=2"], "--zoneout: expected a probability from 0 to 1, got 2.0"),
        (["train", "--dropout=-1"], "--dropout: expected a probability from 0 to 1, got -1.0"),
        (
            ["train", "--cell=indrnn", "--weight_dropout=0.1"],
            "--weight_dropout: expected a cell with recurrent matrices, got --cell indrnn; use --zoneout",
        ),
        (["train", "--clip_norm=0"], "--clip_norm: expected a number > 0, got 0.0"),
        (
            ["train", "--config=nowhere.yaml"],
            "cannot read the options: nowhere.yaml: No such file or directory",
        ),
        (["train", "nowhere.txt"], "cannot read the corpus: there is no file .*nowhere.txt"),
        (["train", "--hidden_size=0"], "--hidden_size: expected a whole number from 1 to 1,000,000, got 0"),
        (["train", "--num_layers=0"], "--num_layers: expected a whole number from 1 to 1,000, got 0"),
        (["train", "--held_out=1"], "--held_out: expected a fraction from 0 to below 1, got 1.0"),
        (
            ["train", "--batch_size=100000", "--num_steps=64"],
            r"--batch_size 100000 and --num_steps 64 need 6,400,064 characters .* give at most --batch_size \d{4},",
        ),
        (["train", "--batch_size=0"], "--batch_size: expected a whole number from 1 to 1,000,000, got 0"),
        (["train", "--epochs=0"], "--epochs: expected a whole number from 1 to 1,000,000,000,000, got 0"),
        (["train", "--epochs=null"], "nothing ends this run; give --epochs, --max_steps or --max_minutes"),
        (
            ["train", "--epochs=null", "--max_minutes=1"],
            "--schedule: cosine falls over the whole run, so it needs",
        ),
        (["train", "--lr=-1"], "train: --lr: expected a finite number >= 0, got -1.0"),
        (
            ["train", "--momentum=0.9"],
            "--momentum: goes with --optimizer sgd or rmsprop, got --optimizer adam",
        ),
        (["train", "--final_lr=2"], "--final_lr: expected a fraction of --lr"),
        (["train", "--warmup_steps=-1"], "--warmup_steps: expected a whole number from 0 to .*, got -1"),
        (
            ["train", "--warmup_steps=1000000"],
            r"--warmup_steps: expected less than the run's \d+ steps, got 1000000",
        ),
        (
            ["train", "--warmup_steps=5", "--schedule=plateau"],
            "--warmup_steps: does not go with --schedule plateau",
        ),
        (
            ["train", "--held_out=0", "--schedule=plateau"],
            "--schedule: plateau watches the held-out loss; give --held_out",
        ),
        (
            ["train", "--held_out=0", "--patience=2"],
            "--patience: 2 watches the held-out loss; give --held_out a fraction above 0",
        ),
        (
            ["train", "--tie_weights", "--embedding_size=100"],
            r"--tie_weights: .* size of the layers, 256 \(--hidden_size\); leave --embedding_size 100 out, or give 256",
        ),
        (["train", "--pattern=x"], "--pattern: goes with --tokens regex, got --tokens characters"),
        (["train", "--tokens=regex", "--pattern=("], "'.' is not a regular expression"),
        (
            ["train", "--tokens=regex", "--normalise=d2l"],
            "--normalise: goes with --tokens characters or words",
        ),
        (["train", "--tokens=bpe", "--bpe_size=5"], "--tokens: bpe: .*at least 256"),
        (["train", "--threads=0"], "--threads: expected a whole number from 1 to 1,024, got 0"),
        (["train", "--log_every=0"], "--log_every: expected a whole number from 1 to .*, got 0"),
        (["train", "--keep=0"], "--keep: expected a whole number from 1 to .*, got 0"),
        (["train", "--seed=-1"], "--seed: expected a whole number from 0 to .*, got -1"),
        (["train", "--resume=nowhere"], "nowhere is not a run: it has no config.yaml"),
        (
            ["train", "--resume=nowhere", "--lr=1"],
            "--resume: beside it go --checkpoint, --epochs, --max_steps, --max_minutes, --threads, --device, "
            "--parallel, got --lr=1",
        ),
        (["train", "--resume=nowhere", "--threads=x"], "--threads: expected a whole number, got x"),
        (["train", "--print_config=all"], "--print_config: there is no option all of it"),
        (["train", "--resume"], "train: --resume: expected one argument"),
        (
            ["generate"],
            "rondeau generate: RUN is missing: the folder of a run, as `rondeau train` names it at its end$",
        ),
        (["trian"], r"rondeau: there is no command 'trian'; did you mean train\?$"),
        ([os.devnull], "there is no command '.*'; did you mean `rondeau train .*`"),
        (["train", "-o", "x"], "-o: there is no such option; `rondeau train --help` lists them"),
        (
            ["corpus", "build"],
            "corpus: TEXT is missing: the files to read; --output is missing: the folder to write",
        ),
        (["corpus", "build", "one.txt"], "corpus: --output is missing: the folder to write to"),
        (["-v"], r"rondeau: there is no option '-v'; `rondeau --help` lists what there is"),
        (["train", "--nhid=1"], r"--nhid: there is no such option; did you mean --hidden_size\?"),
        (["train", "--learning-rate=1"], r"--learning-rate: there is no such option; did you mean --lr\?"),
        (["generate", "run", "--temp=1"], r"--temp: there is no such option; did you mean --temperature\?"),
        (["train", "--cell=LSTM"], r"slstm, got LSTM; did you mean lstm\?"),
        (
            ["generate", "nowhere"],
            "nowhere is not a run: it has no config.yaml; give a folder that `rondeau train` made",
        ),
        (["evaluate", "nowhere"], "nowhere is not a run"),
        (["corpus", "nowhere.txt"], "cannot read the corpus: there is no file .*nowhere.txt"),
        (["corpus", "--ngrams=0"], "--ngrams: expected a whole number from 1 to 1,000, got 0"),
        (["corpus", "--top=0"], "--top: expected a whole number from 1 to .*, got 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, *arguments)
    assert line.startswith("rondeau")
    assert re.search(message, line), line
    assert list(tmp_path.iterdir()) == [], "nothing is written for input that cannot be used"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompt="], "--prompt: it holds no token; give"),
        (["--prompt=€"], "--prompt: it holds '€', not among .*, or let them be <unk> with --unknown_as_unk$"),
        (["--temperature=-1"], "--temperature: expected a finite number >= 0, got -1.0"),
        (["--top_k=0"], "--top_k: expected a whole number from 1 to .*, got 0"),
        (["--top_p=2"], "--top_p: expected a probability above 0, to 1, got 2.0"),
        (["--length=-1"], "--length: expected a whole number from 0 to .*, got -1"),
        (["--seed=-1"], "--seed: expected a whole number from 0 to .*, got -1"),
        (["--checkpoint=step-99999"], "there is no checkpoint .*step-99999; there: step-0"),
    ],
    ids=str,
)
def test_mistakes_of_generate(trained, options, message, capsys):
    assert re.search(message, refused(capsys, "generate", trained[0], *options))


def test_mistakes_of_evaluate(trained, capsys, tmp_path):
    line = refused(capsys, "evaluate", trained[0], "--batch_size=0")
    assert "--batch_size: expected a whole number from 1 to 1,000,000, got 0" in line
    short = tmp_path / "short.txt"
    short.write_text("a")
    assert "has 1 character; expected at least 2" in refused(capsys, "evaluate", trained[0], short)


def test_texts_that_are_no_text(capsys, tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"fine so far \xff\xfe")
    assert re.search(r"cannot read the corpus: .*bad\.txt .*12", refused(capsys, "train", bad))
    bad.write_bytes(b"")
    assert "is empty" in refused(capsys, "train", bad)
    assert "is a directory" in refused(capsys, "train", tmp_path)
    bad.write_text("short")
    assert "leaves 1 to predict; give --held_out 0.3 or 0, or a longer text" in refused(capsys, "train", bad)
    bad.write_text("s")
    assert "at least 2 characters to train on, got 1" in refused(capsys, "train", bad, "--held_out=0")


def test_folders_that_are_no_run(corpus, capsys, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    for options in ([], ["--overwrite"]):
        line = refused(capsys, "train", corpus, *QUICK, f"--output={tmp_path}", *options)
        assert "holds files that are not of a run; choose another --output" in line
    assert "is a file; choose another --output" in refused(
        capsys, "train", corpus, *QUICK, f"--output={corpus}"
    )
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_a_damaged_run_folder(trained, capsys, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    vocab = (folder / "vocab.json").read_text(encoding="utf-8")
    (folder / "vocab.json").write_text("{}")
    assert "vocab.json was cut since the checkpoint of step" in refused(capsys, "generate", folder)
    (folder / "vocab.json").unlink()
    assert "vocab.json is missing" in refused(capsys, "generate", folder)
    (folder / "vocab.json").write_text(vocab, encoding="utf-8")
    (folder / "metrics.jsonl").write_text("")
    assert "metrics.jsonl was cut since the checkpoint" in refused(capsys, "train", "--resume", folder)
    shutil.rmtree(folder / "checkpoints")
    assert "holds no checkpoint" in refused(capsys, "evaluate", folder)


def test_a_reader_that_leaves_is_no_error(trained):
    if not hasattr(signal, "SIGPIPE"):
        pytest.skip("this system has no SIGPIPE")
    process = subprocess.Popen(
        [sys.executable, "-m", "rondeau.train", "generate", str(trained[0]), "--length=100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.read(10)
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=120) == 0
    assert errors == b""


def test_a_run_whose_reader_leaves_keeps_its_steps(corpus, tmp_path):
    if not hasattr(signal, "SIGPIPE"):
        pytest.skip("this system has no SIGPIPE")
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "rondeau.train", "train", str(corpus), *QUICK, f"--output={folder}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while not process.stdout.readline().startswith(b"run "):
        pass
    process.stdout.close()
    assert process.wait(timeout=300) == 130
    latest = json.loads((folder / "checkpoints" / "latest").read_text())["checkpoint"]
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert latest == f"step-{last['step']}"
    assert last["step"] > 0
    done = rondeau("train", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert f"continued at step {last['step']}" in done.stdout
    assert (folder / "summary.json").exists()


def test_the_installed_command_is_this_one():
    script = Path(sys.executable).with_name("rondeau")
    if not script.exists():
        pytest.skip("rondeau is not installed as a command beside this Python")
    done = subprocess.run([str(script), "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("rondeau ")


@pytest.mark.parametrize("form", ["step", "sequence"])
def test_export_as_onnx(trained, tmp_path, form, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder, _ = trained
    command = ["export", str(folder), "--to=onnx", f"--form={form}", f"--output={tmp_path}", "--name=rose"]
    assert cli.main(command) == 0
    said = capsys.readouterr().out.splitlines()
    assert [Path(line).name for line in said[:2]] == ["rose.onnx", "rose.onnx.npz"]
    done = subprocess.run([sys.executable, *said[-1].split()[4:]], capture_output=True, encoding="utf-8")
    assert said[-1].startswith(f"to check it: {python()} -m rondeau.export.check ")
    assert done.returncode == 0, done.stderr
    assert refused(capsys, *command) == (
        f"rondeau export: {tmp_path / 'rose.onnx'} exists: give --overwrite to replace it, or another folder"
    )
    assert refused(capsys, *command, "--weights=int8").endswith("--weights is not an option of --to onnx")


def test_export_as_numpy(trained, tmp_path, capsys):
    folder, _ = trained
    command = ["export", str(folder), "--to=numpy", f"--output={tmp_path}", "--name=rose"]
    assert cli.main(command) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [str(tmp_path / "rose.py"), str(tmp_path / "rose.npz")]
    assert said[-1] == f"to check it: {python()} {tmp_path / 'rose.py'}"
    program = (
        "import rose; model = rose.Model(); print(''.join(model.tokens[i] for i in model.generate([1], 9)))"
    )
    for arguments in (["rose.py"], ["-c", program]):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 0, done.stderr
    assert refused(capsys, *command, "--form=sequence").endswith("--form is not an option of --to numpy")


@pytest.mark.parametrize(
    "options", [["--to=c", "--weights_in_file"], ["--to=c"], ["--to=onnx"], ["--to=numpy"]]
)
@pytest.mark.parametrize("output", [".", '-it\'s "a b"'])
def test_the_command_that_checks_an_export_runs_as_it_stands(
    trained, options, output, tmp_path, monkeypatch, capsys
):
    if options == ["--to=onnx"]:
        pytest.importorskip("onnxruntime")
    if options[0] == "--to=c" and shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    folder, _ = trained
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", str(folder.resolve()), f"--output={output}", *options]) == 0
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("to check it: ")
    done = subprocess.run(command, shell=True, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, command + done.stderr
    assert done.stdout in ("6 steps agree with the library\n", "6 cases agree with the library\n")


def test_export_as_onnx_without_its_package_says_how_to_install_it(trained, tmp_path, monkeypatch, capsys):
    folder, _ = trained
    monkeypatch.setitem(sys.modules, "onnx", None)
    said = refused(capsys, "export", str(folder), "--to=onnx", f"--output={tmp_path}")
    remedy = f'in the clone of rondeau: {python()} -m pip install -e ".[onnx]"'
    assert said == f"rondeau export: --to onnx needs packages that are missing; {remedy}"


def test_export_to_a_place_that_is_no_folder(trained, tmp_path, capsys):
    folder, _ = trained
    (tmp_path / "file").write_text("")
    assert cli.main(["export", str(folder), f"--output={tmp_path / 'file'}"]) == 1
    said = capsys.readouterr().err
    assert said.endswith("file: a file is where the folder should be; choose another --output\n")


@pytest.mark.skipif(not shutil.which("cc") or not shutil.which("size"), reason="needs a C compiler")
def test_export_as_c_says_what_it_takes(trained, tmp_path, monkeypatch, capsys):
    folder, _ = trained
    sizes = r"weights ([\d,]+) bytes, state and work area ([\d,]+) bytes\n"
    assert cli.main(["export", str(folder), f"--output={tmp_path / 'with'}"]) == 0
    found = re.search(rf"\ncode ([\d,]+) bytes \(cc -Os\), {sizes}", capsys.readouterr().out)
    code, weights, state = (int(number.replace(",", "")) for number in found.groups())
    assert 1000 < code < 30_000
    assert weights > state > 0
    monkeypatch.setenv("PATH", "")
    assert cli.main(["export", str(folder), f"--output={tmp_path / 'without'}"]) == 0
    assert re.search(rf"\n{sizes}", capsys.readouterr().out)


def test_export_in_int8_says_what_rounding_costs(trained, tmp_path, capsys):
    folder, _ = trained
    command = ["export", str(folder), "--weights=int8", f"--output={tmp_path}"]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert cli.main(["evaluate", str(folder)]) == 0
    score = re.search(r"perplexity ([\d.]+)", capsys.readouterr().out)[1]
    line = f"perplexity {score} with the weights as they are, "
    found = re.search(rf"rose.txt, held out in training: {line}([\d.]+) in int8 \(([+-][\d.]+) %\)", said)
    assert found is not None, said
    assert abs(float(found[1]) / float(score) - 1) < 0.05
