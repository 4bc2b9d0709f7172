"""Leases: one writer per run folder, whatever dies when."""

import json
import os
import subprocess
import sys
import time

import pytest

from agent.contract.files import RecordError
from agent.contract.lease import Lease, process_identity
from agent.contract.records import Holder
from agent.contract.run_folder import RunDir


def test_a_held_lease_is_refused_and_names_its_holder(tmp_path):
    run = RunDir(tmp_path)
    lease = Lease.claim(run, job_id="77")
    with pytest.raises(RecordError, match=f"job 77, process {os.getpid()} on"):
        Lease.claim(run)
    lease.beat()
    lease.release()
    Lease.claim(run).release()
    assert os.listdir(tmp_path) == []


def test_a_lease_of_a_dead_process_is_taken_over_and_its_heartbeat_refused(tmp_path):
    code = "import sys; from pathlib import Path; from agent.contract.lease import *\n"
    code += "Lease.claim(RunDir(Path(sys.argv[1])))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    run = RunDir(tmp_path)
    old = Lease(run, json.loads(run.lease.read_text())["owner"])
    new = Lease.claim(run)
    with pytest.raises(RecordError, match="was taken over"):
        old.beat()
    old.release()
    new.beat()
    new.release()


def test_a_stale_lease_elsewhere_is_taken_over_only_when_its_job_is_not_alive(tmp_path):
    run = RunDir(tmp_path)
    Lease.claim(run, job_id="5")
    holder = json.loads(run.lease.read_text()) | {"host": "elsewhere"}
    run.lease.write_text(json.dumps(holder))
    with pytest.raises(RecordError, match="on elsewhere"):
        Lease.claim(run)
    os.utime(run.lease, (0, 0))
    with pytest.raises(RecordError, match="on elsewhere"):
        Lease.claim(run, job_alive=lambda holder: True)
    Lease.claim(run, job_alive=lambda holder: None).release()


def test_of_many_claimants_one_wins(tmp_path):
    code = (
        "import sys,time; from pathlib import Path; from agent.contract.lease import *\n"
        "try: Lease.claim(RunDir(Path(sys.argv[1]))); print('won'); sys.stdout.flush(); time.sleep(3)\n"
        "except RecordError: print('lost')"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    answers = sorted(process.communicate()[0].strip() for process in processes)
    assert answers == ["lost"] * 4 + ["won"]


def test_a_lease_that_is_kept_never_grows_stale_and_is_given_back(tmp_path):
    run = RunDir(tmp_path)
    with Lease.claim(run).kept(every_s=0.02):
        os.utime(run.lease, (0, 0))
        deadline = time.monotonic() + 20
        while run.lease.stat().st_mtime < 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not run.lease.exists()


def test_losing_a_lease_that_is_kept_is_said_at_the_end(tmp_path):
    run = RunDir(tmp_path)
    kept = Lease.claim(run).kept(every_s=0.01)
    with pytest.raises(RecordError, match="was taken over by job 5"), kept:
        run.lease.write_text('{"owner": "other", "job_id": "5", "pid": 1, "host": "elsewhere"}')
        time.sleep(0.5)
    assert "other" in run.lease.read_text()


def test_a_lease_taken_back_from_a_quicker_one_gives_way_to_a_third(tmp_path, monkeypatch):
    """Two find a dead holder; one claims the run, the other moves that claim aside by mistake, and a third comes."""
    run = RunDir(tmp_path)
    dead = process_identity().model_dump() | {"owner": "dead", "pid": 999999999}
    run.lease.write_text(json.dumps(dead))
    rename = os.rename

    def late(source, target):
        run.lease.write_text(json.dumps(dead | {"owner": "second"}))
        rename(source, target)
        run.lease.write_text(json.dumps({"owner": "third", "pid": 1, "host": "elsewhere"}))

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(RecordError, match="on elsewhere"):
        Lease.claim(run)
    assert json.loads(run.lease.read_text())["owner"] == "third"
    assert os.listdir(tmp_path) == ["lease.json"]


def test_one_heartbeat_that_the_file_system_does_not_answer_ends_nothing(tmp_path, monkeypatch):
    run = RunDir(tmp_path)
    lease = Lease.claim(run)

    def stale(*arguments, **options):
        raise OSError(116, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", stale)
        lease.beat()
        lease.kept_at -= 1000
        with pytest.raises(RecordError, match=r"could not be kept for 1000 s.*Stale file handle"):
            lease.beat()
    lease.beat()


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", None, "folder"])
def test_a_holder_makes_its_damaged_or_missing_lease_anew(tmp_path, damage):
    run = RunDir(tmp_path)
    lease = Lease.claim(run, job_id="7")
    if isinstance(damage, bytes):
        run.lease.write_bytes(damage)
    else:
        run.lease.unlink()
        if damage:
            run.lease.mkdir()
    lease.beat()
    with pytest.raises(RecordError, match="job 7"):
        Lease.claim(run)
    lease.release()
    assert not run.lease.exists()


def test_a_lease_that_was_lost_while_its_process_stood_still_is_not_made_anew(tmp_path):
    lease = Lease.claim(RunDir(tmp_path))
    lease.run.lease.unlink()
    lease.kept_at -= 1000
    with pytest.raises(RecordError, match="is gone"):
        lease.beat()


@pytest.mark.parametrize("content", [b"", b"{", b'{"owner": 3}', b"[" * 10000])
def test_a_damaged_lease_is_free_when_its_heartbeat_is_stale(tmp_path, content):
    run = RunDir(tmp_path)
    run.lease.write_bytes(content)
    with pytest.raises(RecordError, match="heartbeat 0 s ago"):
        Lease.claim(run)
    os.utime(run.lease, (0, 0))
    Lease.claim(run).release()


def test_a_heartbeat_from_the_future_is_set_to_now_and_then_grows_stale(tmp_path):
    run = RunDir(tmp_path)
    holder = Holder(owner="a", pid=1, host="elsewhere")
    run.lease.write_text(holder.model_dump_json())
    future = time.time() + 10**6
    os.utime(run.lease, (future, future))
    with pytest.raises(RecordError, match="in the future"):
        Lease.claim(run, stale_after_s=0.0)
    assert abs(run.lease.stat().st_mtime - time.time()) < 60
    time.sleep(0.01)
    Lease.claim(run, stale_after_s=0.0).release()


def test_a_check_takes_no_lease_that_is_gone_or_anothers_for_ours(tmp_path):
    run = RunDir(tmp_path)
    lease = Lease.claim(run)
    lease.check()
    run.lease.unlink()
    with pytest.raises(RecordError, match="its lease is gone"):
        lease.check()
    Lease.claim(run)
    with pytest.raises(RecordError, match="was taken over by"):
        lease.check()
