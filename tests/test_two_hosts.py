"""Ranks on hosts that do not share memory: two network namespaces, with a cable between them."""

import json

import pytest
from tools.mpi_job import SURVIVING, run_job
from tools.storm import ranks as storm
from tools.storm.scene import contents, differences, write_corpus
from tools.two_hosts import two_hosts, why_not

from ranks import needs_mpi

REASON = why_not()

pytestmark = [
    needs_mpi,
    pytest.mark.long,
    pytest.mark.skipif(REASON is not None, reason=f"no two hosts: {REASON}"),
]

WHERE = """
import json, socket
from rondeau import train
ranks = train.MPI()
found = ranks.all_gather((socket.gethostname(), ranks.ranks_of_host))
if ranks.is_main:
    print(json.dumps(found))
"""


@pytest.fixture
def hosts(tmp_path):
    with two_hosts(tmp_path) as found:
        yield found


def test_ranks_are_on_both_hosts(hosts, tmp_path):
    ended = run_job([*hosts.launcher(), "-c", WHERE], tmp_path)
    assert ended.status == 0, ended.err
    assert json.loads(ended.out) == [["host1", 1], ["host2", 1]]


def test_a_run_on_two_hosts_has_the_bits_of_one_process(hosts, tmp_path):
    corpus = write_corpus(tmp_path / "corpus.txt")
    expected = storm.undisturbed(tmp_path, corpus)
    words = ["-m", "rondeau", "train", str(corpus), *storm.OPTIONS, "--output=run", "--parallel=mpi"]
    ended = run_job([*hosts.launcher(), *words], tmp_path)
    assert ended.status == 0, ended.err
    assert differences(contents(tmp_path / "run"), contents(expected)) == []


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_of_a_host_dies_and_the_other_goes_on(hosts, tmp_path, victim):
    corpus = write_corpus(tmp_path / "corpus.txt")
    expected = storm.undisturbed(tmp_path, corpus)
    words = ["train", str(corpus), *storm.OPTIONS, "--output=run", "--parallel=mpi"]
    harm = storm.Harm("kill", victim, 500)
    ended = run_job([*hosts.launcher(*SURVIVING), *harm.words, *words], tmp_path)
    assert ended.status == 0, ended.err
    assert "1 of 2 ranks has ended" in ended.err
    assert differences(contents(tmp_path / "run"), contents(expected)) == []
