"""How the files of an export are written: all of them or none, and what is refused before anything is written."""

import os

import pytest

from rondeau import export, nn
from rondeau.export._writing import write_files


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_are_not_replaced_by_accident(tmp_path):
    export.to_c(nn.Linear(2, 2), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(
        FileExistsError, match=r"model\.h exists: pass overwrite=True to replace it, or another folder"
    ):
        export.to_c(nn.Linear(2, 3), tmp_path)
    assert contents(tmp_path) == before
    export.to_c(nn.Linear(2, 3), tmp_path, overwrite=True)
    assert contents(tmp_path).keys() == before.keys()
    assert contents(tmp_path)["model.c"] != before["model.c"]


def test_a_model_leaves_in_every_format_to_one_folder(tmp_path):
    pytest.importorskip("onnx")
    for write in (export.to_c, export.to_numpy, export.to_onnx):
        write(nn.GRU(2, 3), tmp_path)
    names = ["model.c", "model.h", "model.npz", "model.onnx", "model.onnx.npz", "model.py"]
    assert sorted(contents(tmp_path)) == names


def test_nothing_is_written_where_a_file_or_a_folder_is_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="a file is where the folder should be"):
        export.to_c(nn.Linear(2, 2), tmp_path / "file")
    (tmp_path / "folder" / "model.c").mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=r"a folder is where the file should be: .*model\.c"):
        export.to_c(nn.Linear(2, 2), tmp_path / "folder", overwrite=True)
    assert os.listdir(tmp_path / "folder") == ["model.c"]
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "model.h").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError, match=r"model\.h exists"):
        export.to_c(nn.Linear(2, 2), tmp_path / "links")


@pytest.mark.parametrize(
    "fails", [("chmod", OSError(28, "No space left on device")), ("chmod", KeyboardInterrupt())]
)
def test_what_was_there_stays_if_one_file_cannot_be_written(fails, tmp_path, monkeypatch):
    write_files(tmp_path, {"a": "1", "b": b"2"}, False)
    calls = []

    def second_fails(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise fails[1]

    monkeypatch.setattr(os, fails[0], second_fails)
    with pytest.raises(type(fails[1])) as caught:
        write_files(tmp_path, {"a": "3", "b": b"4"}, True)
    assert contents(tmp_path) == {"a": b"1", "b": b"2"}
    if isinstance(fails[1], OSError):
        assert caught.value.filename == str(tmp_path)
