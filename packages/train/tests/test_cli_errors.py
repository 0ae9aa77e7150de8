"""What the command line says where the disk refuses."""

from rondeau.train import cli


def test_a_folder_that_cannot_be_made_is_one_line_and_no_traceback(tmp_path, capsys):
    corpus, file = tmp_path / "corpus.txt", tmp_path / "file"
    corpus.write_text("the quick brown fox " * 200, encoding="utf-8")
    file.write_text("", encoding="utf-8")
    sizes = ["--hidden_size", "2", "--batch_size", "2", "--num_steps", "4", "--max_steps", "1"]
    assert cli.main(["train", str(corpus), "--output", str(file / "below"), *sizes]) == 1
    said = capsys.readouterr().err
    assert said.startswith("rondeau train: [Errno")
    assert said.count("\n") == 1
    assert str(file) in said
    assert "choose another --output" in said
    assert file.read_bytes() == b""
