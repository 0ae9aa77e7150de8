"""A run's folder as Python writes and reads it."""

import pytest

from rondeau import data, nn, train
from rondeau.train import cli

TEXT = "abc" * 40
CODEC = data.Codec.fit(TEXT, data.CharTokenizer())


def test_a_recorder_makes_the_folder_and_writes_the_vocabulary(tmp_path):
    run = train.RunFolder(tmp_path / "runs" / "first")
    model = nn.LanguageModel(len(CODEC), "gru", 4)
    batches = data.SequentialBatches(data.TokenStream(CODEC.encode(TEXT), len(CODEC)), 2, 5)
    recorder = train.Recorder(run, CODEC, {"name": "abc"}, prompt="a")
    optimizer = train.optim.SGD(model.parameters(), lr=0.1)
    train.Trainer(model, optimizer, batches, max_steps=2, callbacks=[recorder]).fit()
    assert run.load_codec().vocab.tokens == CODEC.vocab.tokens
    assert run.checkpoints.steps() == [0, 2]


def test_the_model_of_a_command_is_loaded_with_its_weights(tmp_path, capsys):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(TEXT * 30)
    flags = ["--cell", "lstm", "--hidden_size", "6", "--max_steps", "3", "--output", str(tmp_path / "run")]
    assert cli.main(["train", str(corpus), *flags]) == 0
    capsys.readouterr()
    trained = train.load_trained(tmp_path / "run", "latest")
    assert (trained.step, trained.config.model.cell, trained.model.training) == (3, "lstm", False)
    written = "".join(train.generate(trained.model, trained.codec, "ab", 20, seed=0))
    command = [
        "generate",
        str(tmp_path / "run"),
        "--prompt",
        "ab",
        "--length",
        "20",
        "--seed",
        "0",
        "--temperature",
        "1",
    ]
    assert cli.main([*command, "--checkpoint", "latest"]) == 0
    assert capsys.readouterr().out == f"ab{written}\n"
    rounded = "".join(train.generate(trained.model, trained.codec, "ab", 20, seed=0, weights="int8"))
    assert cli.main([*command, "--checkpoint", "latest", "--weights", "int8"]) == 0
    assert capsys.readouterr().out == f"ab{rounded}\n"


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(train.RunError, match=r"is not a run: it has no config\.yaml"):
        train.load_trained(tmp_path)
    with pytest.raises(TypeError, match=r"checkpoint: expected str, got int"):
        train.load_trained(tmp_path, 3)
