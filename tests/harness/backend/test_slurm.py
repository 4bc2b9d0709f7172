"""What squeue and sacct print, recorded from a real Slurm, and what is made of it."""

import os
import stat
from pathlib import Path

import pytest

from agent.contract.reasons import Reason
from harness.backend import slurm_ask, slurm_call
from harness.backend.base import Answer, Exit, Job, Phase, Ticket
from harness.backend.slurm import Slurm
from harness.backend.slurm_ask import merge, query
from harness.backend.slurm_rows import expand_ids, read_exit, read_sacct, read_squeue, read_time
from harness.backend.slurm_submit import parameters
from harness.study.profiles import Profile, build

RECORDED = Path(__file__).parents[1] / "recorded"
SUBMITTED = 1795350000.0  # before the first recorded job
LATER = SUBMITTED + 3600
NAMES = {
    "5_0": "hb-ok", "6": "hb-fail", "7": "hb-kill9", "8": "hb-segv", "9": "hb-oom", "10": "hb-oomstep",
    "11": "hb-oomchild", "12": "hb-cancel", "13_5": "hb-pend", "14_1": "hb-preempt", "24": "hb-norequeue",
    "25": "hb-preempted", "26": "hb-timeout", "27_0": "hb-nodefail", "28_1": "hb-requeue", "32": "hb-exit137",
    "33": "hb-exit143", "34_0": "hb-array", "34_3": "hb-array", "34_7": "hb-array",
}  # fmt: skip


def tickets(names: dict[str, str] = NAMES) -> dict[str, Ticket]:
    return {job_id: Ticket(job_id, name, SUBMITTED) for job_id, name in names.items()}


@pytest.fixture(scope="module")
def jobs() -> dict[str, Job]:
    queue = read_squeue((RECORDED / "squeue.txt").read_text())
    return merge(tickets(), queue, read_sacct((RECORDED / "sacct.txt").read_text()), None, LATER)


@pytest.mark.parametrize(
    ("job_id", "phase", "cause"),
    [
        ("5_0", Phase.ENDED, None),
        ("6", Phase.ENDED, None),
        ("9", Phase.ENDED, Reason.HOST_OOM),
        ("12", Phase.ENDED, Reason.CANCELLED),
        ("14_1", Phase.ENDED, Reason.CANCELLED),
        ("24", Phase.ENDED, Reason.PREEMPTED),
        ("25", Phase.ENDED, None),
        ("26", Phase.ENDED, Reason.TIMEOUT),
        ("27_0", Phase.WAITING, None),
        ("34_0", Phase.RUNNING, None),
        ("34_3", Phase.WAITING, None),
    ],
)
def test_each_recorded_job_has_its_phase(jobs: dict[str, Job], job_id: str, phase: Phase, cause: Reason | None) -> None:
    assert (jobs[job_id].phase, jobs[job_id].cause) == (phase, cause)


def test_a_job_that_slurm_requeues_after_its_node_died_waits_though_accounting_says_node_fail(
    jobs: dict[str, Job],
) -> None:
    assert jobs["27_0"].restarts == 1
    assert [life.cause for life in jobs["27_0"].lives] == [Reason.NODE_FAILURE, None]


def test_a_requeued_job_keeps_every_life(jobs: dict[str, Job]) -> None:
    assert [(life.cause, life.elapsed_s) for life in jobs["28_1"].lives] == [(Reason.STOPPED, 3), (None, 30)]


def test_an_element_cancelled_while_pending_is_gone_though_accounting_still_lists_its_range(
    jobs: dict[str, Job],
) -> None:
    assert len(jobs["34_7"].lives) == 1
    assert jobs["34_7"].phase is Phase.GONE


def test_exit_codes_are_decoded_from_wait_status_and_from_sacct(jobs: dict[str, Job]) -> None:
    assert jobs["6"].exit == Exit(3, 0)
    assert jobs["32"].exit == Exit(137, 0)
    assert jobs["32"].lives[-1].exit == Exit(9, 0)
    for job_id, signal in {"7": 9, "8": 11, "32": 9, "33": 15, "6": None, "9": None}.items():
        for found in (jobs[job_id].exit, jobs[job_id].lives[-1].exit):
            assert found is not None
            assert found.killed_by == signal


def test_memory_kills_under_srun_are_told_by_the_step_row_only(jobs: dict[str, Job]) -> None:
    assert jobs["10"].cause is None
    assert jobs["10"].lives[-1].cause is Reason.HOST_OOM


def test_a_later_job_of_the_same_id_is_told_apart_by_its_name() -> None:
    queue, accounts = (
        read_squeue((RECORDED / "squeue.txt").read_text()),
        read_sacct((RECORDED / "sacct.txt").read_text()),
    )
    job = merge(tickets({"5_0": "hb-another"}), queue, accounts, None, LATER)["5_0"]
    assert (job.phase, job.lives) == (Phase.GONE, ())


def test_a_job_in_neither_answer_is_unknown_until_the_grace_is_over() -> None:
    wanted = {"77": Ticket("77", "hb-late", SUBMITTED)}
    assert merge(wanted, [], [], None, SUBMITTED + 5)["77"].phase is Phase.UNKNOWN
    assert merge(wanted, [], [], None, SUBMITTED + 60)["77"].phase is Phase.GONE


def test_a_job_forgotten_by_squeue_while_sacct_is_silent_keeps_its_last_phase() -> None:
    wanted = {"77": Ticket("77", "hb-late", SUBMITTED)}
    last = Answer(LATER, {"77": Job(wanted["77"], Phase.RUNNING)})
    job = merge(wanted, [], None, last, LATER + 600)["77"]
    assert job.phase is Phase.RUNNING
    assert merge(wanted, [], None, None, LATER)["77"].phase is Phase.UNKNOWN


def test_ranges_of_ids_are_written_out() -> None:
    assert expand_ids("7") == ["7"]
    assert expand_ids("7_3") == ["7_3"]
    assert expand_ids("7_[0-2,5%4]") == ["7_0", "7_1", "7_2", "7_5"]
    assert expand_ids("7_[1-7:3]") == ["7_1", "7_4", "7_7"]


def test_times_are_utc_and_words_are_no_times() -> None:
    assert read_time("2026-11-22T12:22:36") == 1795350156.0
    assert [read_time(word) for word in ("Unknown", "N/A", "None", "")] == [None] * 4


def test_an_exit_that_is_none_reads_as_none() -> None:
    assert read_exit("") is None
    assert read_exit("0:125") == Exit(0, 125)


def test_columns_are_found_by_their_names_in_whatever_order() -> None:
    rows = read_sacct("State|Extra|JobID|JobName|ExitCode\nFAILED|x|7|hb-x|2:0\nOUT_OF_MEMORY|x|7.0|python|0:125\n")
    assert [(row.id, row.name, row.phase, row.life.exit) for row in rows] == [("7", "hb-x", Phase.ENDED, Exit(2, 0))]
    assert rows[0].life.cause is Reason.HOST_OOM


# ---- asking, with programs that answer or fail as they are told -----------------------------------------------------


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {name} >> {folder}/calls\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    program(tmp_path, "squeue", f"cat {RECORDED}/squeue.txt")
    program(tmp_path, "sacct", f"cat {RECORDED}/sacct.txt")
    return tmp_path


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().split()


def test_twenty_jobs_cost_one_squeue_and_one_sacct(bin_folder: Path) -> None:
    snapshot = query(tickets().values())
    assert calls(bin_folder) == ["squeue", "sacct"]
    assert snapshot.error is None
    assert snapshot.jobs["34_0"].phase is Phase.RUNNING


def test_no_jobs_cost_no_call(bin_folder: Path) -> None:
    assert query([]).jobs == {}
    assert not (bin_folder / "calls").exists()


def test_a_failed_squeue_leaves_the_last_snapshot_with_its_age(bin_folder: Path) -> None:
    before = query(tickets().values())
    program(bin_folder, "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    after = query(tickets().values(), before)
    assert after.jobs == before.jobs
    assert after.time == before.time
    assert after.error == ("squeue failed with exit code 1: slurm_load_jobs error: Unable to contact slurm controller")


def test_a_failed_squeue_without_a_past_leaves_every_job_unknown(bin_folder: Path) -> None:
    program(bin_folder, "squeue", "exit 1")
    snapshot = query(tickets().values())
    assert {job.phase for job in snapshot.jobs.values()} == {Phase.UNKNOWN}
    assert snapshot.error == "squeue failed with exit code 1: no message"


def test_without_accounting_squeue_alone_tells(bin_folder: Path) -> None:
    program(bin_folder, "sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    snapshot = query(tickets().values())
    assert (snapshot.error, snapshot.accounting) == (None, False)
    assert snapshot.jobs["26"].phase is Phase.ENDED
    assert snapshot.jobs["34_7"].phase is Phase.GONE


def test_a_failed_sacct_makes_nothing_gone(bin_folder: Path) -> None:
    program(bin_folder, "sacct", "exit 1")
    snapshot = query(tickets().values())
    assert snapshot.error == "sacct failed with exit code 1: no message"
    assert snapshot.jobs["34_7"].phase is Phase.UNKNOWN
    assert snapshot.jobs["34_0"].phase is Phase.RUNNING


def test_a_single_forgotten_id_is_an_answer_not_a_failure(bin_folder: Path) -> None:
    program(bin_folder, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    snapshot = query(tickets({"6": "hb-fail"}).values())
    assert snapshot.error is None
    assert snapshot.jobs["6"].phase is Phase.ENDED


def test_a_hanging_command_is_given_up(bin_folder: Path) -> None:
    program(bin_folder, "squeue", "exec sleep 30")
    with pytest.raises(slurm_call.SlurmError, match="squeue did not answer within 0 s"):
        slurm_call.call(["squeue"], timeout_s=0.1)


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(slurm_call.SlurmError, match="squeue is not on PATH; is this a Slurm login node"):
        slurm_call.call(["squeue"])


def test_personal_squeue_settings_do_not_reach_squeue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQUEUE_STATES", "PENDING")
    monkeypatch.setenv("SACCT_FORMAT", "JobID")
    monkeypatch.setenv("SCANCEL_PARTITION", "low")
    env = slurm_call.command_env()
    assert not {"SQUEUE_STATES", "SACCT_FORMAT", "SCANCEL_PARTITION"} & env.keys()
    assert (env["TZ"], env["SLURM_BITSTR_LEN"]) == ("UTC", "0")


def test_a_name_is_looked_for_in_the_queue_and_in_accounting(bin_folder: Path) -> None:
    program(bin_folder, "squeue", "echo '40|PENDING|Priority'")
    program(bin_folder, "sacct", "echo '41_[0-3]|PENDING|None assigned'; echo '41_4|FAILED|n1'")
    assert slurm_ask.find_by_name("hb-x") == ["40", "41"]


def test_a_job_that_slurm_refused_but_keeps_as_failed_is_not_found_by_its_name(bin_folder: Path) -> None:
    program(bin_folder, "squeue", "echo '41|FAILED|BadConstraints'; echo '42|FAILED|NonZeroExitCode'")
    program(bin_folder, "sacct", "echo '41|FAILED|None assigned'; echo '42|FAILED|n1'")
    assert slurm_ask.find_by_name("hb-x") == ["42"]


def test_a_name_that_cannot_be_looked_for_is_an_error_not_an_absence(bin_folder: Path) -> None:
    program(bin_folder, "squeue", "exit 1")
    with pytest.raises(slurm_call.SlurmError):
        slurm_ask.find_by_name("hb-x")


def test_cancelling_what_has_ended_is_no_error(bin_folder: Path) -> None:
    program(
        bin_folder, "scancel", "echo 'scancel: error: Kill job error on job id 9: Invalid job id specified' >&2; exit 1"
    )
    slurm_ask.cancel(["9"])
    slurm_ask.cancel(["9"], gently=True)
    program(bin_folder, "scancel", "echo 'scancel: error: Kill job error on job id 9: Access denied' >&2; exit 1")
    with pytest.raises(slurm_call.SlurmError, match="Access denied"):
        slurm_ask.cancel(["9"])


@pytest.mark.parametrize(
    "text", ["28_[0-99999999]", "28_[0-5:0]", "28_[-]", "28_[5-]", "28_[" + "9" * 50 + "]", "28_[0,1-4000000]"]
)
def test_a_range_that_no_array_has_is_left_as_it_is_at_once(text: str) -> None:
    assert expand_ids(text) in ([text], [f"28_{i}" for i in range(6)])


def test_a_dry_run_shows_options_set_up_lines_and_the_command_of_a_job() -> None:
    data = {"partition": "gpu", "setup": ["module load cuda,cudnn"], "python": "apptainer exec --nv image.sif python"}
    sbatch, setup, starts = Slurm().describe(build("a", data, {}), "hb-x", 3, None).splitlines()
    assert sbatch.startswith("sbatch: --job-name=hb-x --partition=gpu ") and "--array=0-2%3" in sbatch
    assert setup == "set-up: module load cuda,cudnn"
    assert starts.startswith("starts: exec apptainer exec --nv image.sif python -u -m submitit.core._submit")


def test_a_profile_that_forbids_requeueing_says_so_to_slurm() -> None:
    forbidden = parameters(Profile(kind="slurm", slurm={"requeue": False}), "name", 1)
    assert forbidden["no-requeue"] is True and "requeue" not in forbidden
    assert parameters(Profile(kind="slurm"), "name", 1)["requeue"] is True


def test_a_job_that_a_federation_starts_elsewhere_has_not_ended() -> None:
    """It would be submitted a second time: how it ends is not to be learnt from this cluster."""
    header = "JobID|JobIDRaw|JobName|State|ExitCode|Submit|Start|End|ElapsedRaw|NodeList|Reason"
    line = "7|7|hb-x|REVOKED|0:0|2026-11-22T12:00:00|Unknown|2026-11-22T12:01:00|0|None assigned|None"
    jobs = merge({"7": Ticket("7", "hb-x", 0.0)}, [], read_sacct(f"{header}\n{line}\n"), None, 1e10)
    assert (jobs["7"].phase, jobs["7"].cause) == (Phase.UNKNOWN, None)
