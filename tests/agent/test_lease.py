"""Leases: one writer per run folder, whatever dies when."""

import json
import os
import subprocess
import sys
import time

import pytest

from agent.files import RecordError
from agent.lease import Lease, process_identity
from agent.record import RunDir


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
    code = "import sys; from pathlib import Path; from agent.lease import *; Lease.claim(RunDir(Path(sys.argv[1])))"
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
        "import sys,time; from pathlib import Path; from agent.lease import *\n"
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
