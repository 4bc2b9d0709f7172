"""Every way an attempt ends is named correctly; Slurm's part is recorded from a real one."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agent.run import failure
from harness.backend.base import Exit, Job, Life, Phase, Ticket
from harness.backend.slurm_ask import merge
from harness.backend.slurm_rows import read_sacct, read_squeue
from harness.state.diagnose import Diagnosis, Evidence, Reason, diagnose, grouped, life_of
from harness.state.failures import fingerprint, last_traceback, read_failure, read_tail
from harness.state.vocabulary import Retry

RECORDED = Path(__file__).parents[1] / "recorded"
SUBMITTED = 1795350000.0
NAMES = {
    "5_0": "hb-ok", "6": "hb-fail", "7": "hb-kill9", "8": "hb-segv", "9": "hb-oom", "10": "hb-oomstep",
    "11": "hb-oomchild", "12": "hb-cancel", "13_2": "hb-pend", "13_5": "hb-pend", "14_1": "hb-preempt",
    "24": "hb-norequeue", "25": "hb-preempted", "26": "hb-timeout", "27_0": "hb-nodefail", "28_1": "hb-requeue",
    "32": "hb-exit137",
}  # fmt: skip


@pytest.fixture(scope="module")
def jobs() -> dict[str, Job]:
    wanted = {job_id: Ticket(job_id, name, SUBMITTED) for job_id, name in NAMES.items()}
    queue = read_squeue((RECORDED / "squeue.txt").read_text())
    return merge(wanted, queue, read_sacct((RECORDED / "sacct.txt").read_text()), None, SUBMITTED + 3600)


def crash(code: str) -> str:
    """What Python really prints when this code fails."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize(
    ("job_id", "reason", "words"),
    [
        ("9", Reason.HOST_OOM, "job 9 used more memory than it was given on n1"),
        ("10", Reason.HOST_OOM, "job 10 used more memory than it was given on n1"),
        ("11", Reason.HOST_OOM, "job 11 used more memory than it was given on n1"),
        ("13_2", Reason.CANCELLED, "job 13_2 was cancelled"),
        ("24", Reason.PREEMPTED, "job 24 was preempted on n4"),
        ("26", Reason.TIMEOUT, "job 26 reached its time limit after 1 min"),
        ("7", Reason.KILLED, "killed by SIGKILL; nothing says by whom"),
        ("32", Reason.KILLED, "killed by SIGKILL; nothing says by whom"),
        ("8", Reason.KILLED, "killed by SIGSEGV; nothing says by whom"),
        ("6", Reason.CODE_ERROR, "exit code 3 without a word"),
        ("5_0", Reason.CODE_ERROR, "exit code 0 without a result"),
    ],
)
def test_what_slurm_did_is_named(jobs: dict[str, Job], job_id: str, reason: Reason, words: str) -> None:
    found = diagnose(Evidence(job=jobs[job_id]))
    assert found.reason is reason
    assert found.message.startswith(words)


def test_a_result_is_done_whatever_slurm_says(jobs: dict[str, Job]) -> None:
    assert diagnose(Evidence(complete=True, job=jobs["26"])).reason is Reason.DONE


@pytest.mark.parametrize("job_id", ["12", "13_5"])
def test_a_job_cancelled_while_it_waited_never_began(jobs: dict[str, Job], job_id: str) -> None:
    found = diagnose(Evidence(began=False, job=jobs[job_id]))
    assert (found.reason, found.message) == (Reason.CANCELLED, f"job {job_id} was cancelled before it began")


def test_each_life_of_a_requeued_job_has_its_own_reason(jobs: dict[str, Job]) -> None:
    first = jobs["25"].lives[0].start
    assert first is not None
    assert diagnose(Evidence(started=first + 1, job=jobs["25"])).reason is Reason.PREEMPTED
    assert diagnose(Evidence(started=first + 60, job=jobs["25"])).reason is Reason.CODE_ERROR  # exit 0, no result
    assert diagnose(Evidence(started=jobs["28_1"].lives[0].start, job=jobs["28_1"])).reason is Reason.STOPPED


def test_the_node_of_a_node_failure_is_told_for_exclusion(jobs: dict[str, Job]) -> None:
    found = diagnose(Evidence(started=jobs["27_0"].lives[0].start, job=jobs["27_0"]))
    assert (found.reason, found.nodes, found.meaning.fix) == (Reason.NODE_FAILURE, "n2", "exclude the node")


def test_the_queue_names_the_end_while_accounting_lags(jobs: dict[str, Job]) -> None:
    lagging = replace(jobs["26"], lives=(Life(start=SUBMITTED + 1),))
    assert diagnose(Evidence(job=lagging, started=SUBMITTED + 3)).reason is Reason.TIMEOUT


def test_a_run_that_stopped_for_a_timeout_is_a_timeout_and_by_itself_is_stopped(jobs: dict[str, Job]) -> None:
    stopped = Evidence(exit_code=75, reason="stopped", message="asked to stop at step 12; checkpoint written")
    assert diagnose(replace(stopped, job=jobs["26"])).reason is Reason.TIMEOUT
    assert diagnose(stopped).message == "asked to stop at step 12; checkpoint written"
    assert diagnose(stopped).retry is Retry.AS_IS


def test_the_failure_of_one_run_of_a_pack_is_its_own_though_the_job_timed_out(jobs: dict[str, Job]) -> None:
    found = diagnose(Evidence(exit_code=1, stderr=crash("raise KeyError('reward')"), job=jobs["26"]))
    assert (found.reason, found.message) == (Reason.CODE_ERROR, "KeyError: 'reward'")


GPU_TEXTS = [
    "XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes.",
    "XlaRuntimeError: INTERNAL: Failed to allocate request for 2.00GiB (2147483648B) on device ordinal 0",
    "RuntimeError: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    "XlaRuntimeError: INTERNAL: CUDNN_STATUS_ALLOC_FAILED",
    "XlaRuntimeError: FAILED_PRECONDITION: DNN library initialization failed: CUDNN_STATUS_NOT_INITIALIZED",
    "XlaRuntimeError: INTERNAL: CUDNN_STATUS_INTERNAL_ERROR",
    "XlaRuntimeError: INTERNAL: CUBLAS_STATUS_ALLOC_FAILED",
    "RuntimeError: Failed to determine best cudnn convolution algorithm for: %cudnn-conv",
]


@pytest.mark.parametrize("text", GPU_TEXTS)
def test_gpu_memory_is_known_by_its_texts(text: str) -> None:
    stderr = f'Traceback (most recent call last):\n  File "x.py", line 3, in step\n    run()\n{text}\n'
    found = diagnose(Evidence(exit_code=1, stderr=stderr))
    assert (found.reason, found.message, found.meaning.fix) == (Reason.GPU_OOM, text, "fewer runs per pack")
    assert diagnose(Evidence(exit_code=-6, stderr=f"E0000 1 stream.cc:1] {text}\n")).reason is Reason.GPU_OOM
    assert diagnose(Evidence(exit_code=1, stderr=stderr, on_gpu=False)).reason is Reason.HOST_OOM


@pytest.mark.parametrize("text", GPU_TEXTS)
def test_a_run_names_full_gpu_memory_itself_which_without_a_gpu_is_the_host_s(text: str) -> None:
    reason, message = failure.reason_of(RuntimeError(text))
    assert (reason, message) == (Reason.GPU_OOM, text)
    said = Evidence(exit_code=1, reason=str(reason), message=message)
    assert diagnose(said).reason is Reason.GPU_OOM
    assert diagnose(replace(said, on_gpu=False)).reason is Reason.HOST_OOM


def test_memory_texts_of_trials_that_xla_survived_are_no_reason() -> None:
    noise = "W ran RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 bytes. Not a failure.\n"
    found = diagnose(Evidence(exit_code=1, stderr=noise + crash("{}['image']")))
    assert (found.reason, found.message) == (Reason.CODE_ERROR, "KeyError: 'image'")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise MemoryError", Reason.HOST_OOM),
        ("import errno; raise OSError(errno.ENOSPC, 'No space left on device', '/runs/x')", Reason.DISK_FULL),
        ("import errno; raise OSError(errno.EDQUOT, 'Disk quota exceeded', '/runs/x')", Reason.DISK_FULL),
        ("raise FloatingPointError('losses or gradients are not finite at step 12')", Reason.NAN),
        ("raise ImportError('Cannot initialize a EGL device display')", Reason.ENVIRONMENT),
        ("raise AttributeError(\"'NoneType' object has no attribute 'eglQueryString'\")", Reason.ENVIRONMENT),
        ("import no_such_package_anywhere", Reason.ENVIRONMENT),
        ("raise RuntimeError(\"Unable to initialize backend 'cuda'\")", Reason.ENVIRONMENT),
        ("raise ZeroDivisionError", Reason.CODE_ERROR),
    ],
)
def test_what_python_printed_is_read(code: str, reason: Reason) -> None:
    assert diagnose(Evidence(exit_code=1, stderr=crash(code))).reason is reason


def test_words_in_quoted_code_are_no_reason() -> None:
    found = read_failure(crash("x = 'MemoryError No space left on device'; raise ValueError('odd') # not finite"))
    assert found is not None
    assert (found.reason, found.message) == (Reason.CODE_ERROR, "ValueError: odd")


def test_the_cause_of_a_chained_exception_counts() -> None:
    code = "try:\n  raise OSError(28, 'No space left on device')\nexcept OSError as e: raise RuntimeError from e"
    assert diagnose(Evidence(exit_code=1, stderr=crash(code))).reason is Reason.DISK_FULL
    assert last_traceback(crash(code)).count("Traceback") == 2


def test_what_the_run_wrote_itself_is_believed_first(jobs: dict[str, Job]) -> None:
    found = diagnose(Evidence(reason="nan", message="losses are not finite at step 9", exit_code=1, job=jobs["6"]))
    assert (found.reason, found.message, found.retry) == (Reason.NAN, "losses are not finite at step 9", Retry.STOP)


def test_slurms_own_words_in_the_job_log_name_host_memory() -> None:
    log = "slurmstepd-n1: error: StepId=1.batch exceeded memory limit (357449728 > 209715200), being killed\n"
    assert diagnose(Evidence(exit_code=-9, job_log=log)).reason is Reason.HOST_OOM


def test_a_job_that_ended_before_python_shows_the_logs_last_line(jobs: dict[str, Job]) -> None:
    found = diagnose(Evidence(began=False, job=jobs["6"], job_log="loading\nmodule: command not found\n"))
    assert (found.reason, found.retry) == (Reason.NOT_STARTED, Retry.STOP)
    assert found.message == "ended before Python started (exit code 3): module: command not found"


@pytest.mark.parametrize(("code", "reason"), [(7, Reason.NOT_STARTED), (9, Reason.KILLED), (137, Reason.KILLED)])
def test_a_set_up_line_may_end_with_a_code_that_would_be_a_signal(
    jobs: dict[str, Job], code: int, reason: Reason
) -> None:
    job = replace(next(iter(jobs.values())), phase=Phase.ENDED, cause=None, exit=Exit(code, 0), lives=())
    assert diagnose(Evidence(began=False, job=job, job_log="no module called cuda")).reason is reason


def test_a_run_that_its_worker_never_came_to_goes_on_with_what_the_worker_said_of_it() -> None:
    log = "submitit INFO - Loading pickle\n/runs/s/catch/a/seed-0: not started: no room\n"
    for seed, said in ((0, "no room"), (1, "its job ended before it began this run")):
        found = diagnose(
            Evidence(began=False, watched=True, exit_code=1, job_log=log, folder=f"/runs/s/catch/a/seed-{seed}")
        )
        assert (found.reason, found.retry, found.message) == (Reason.LOST, Retry.AS_IS, said)


def test_a_job_without_the_gpu_it_was_planned_with_says_so() -> None:
    line = "job 9 was planned with 1 GPU, but nvidia-smi shows none here (CUDA_VISIBLE_DEVICES=0)"
    found = diagnose(Evidence(began=False, job_log=f"{line}\n"))
    assert (found.reason, found.message, found.retry) == (Reason.DEVICE, line, Retry.STOP)


def test_wrong_input_shows_its_line() -> None:
    stderr = "config.yaml: unknown key 'actnet'; did you mean 'actent'?\n"
    found = diagnose(Evidence(exit_code=2, stderr=stderr))
    assert (found.reason, found.message) == (Reason.WRONG_INPUT, stderr.strip())


def test_a_process_that_vanished_without_a_word_is_lost() -> None:
    gone = Job(Ticket("9", "hb-x", SUBMITTED), Phase.GONE)
    assert diagnose(Evidence(job=gone)).reason is Reason.LOST
    assert diagnose(Evidence()).reason is Reason.LOST


def test_a_silent_end_on_a_full_disk_is_told_by_the_disk() -> None:
    assert diagnose(Evidence(exit_code=1, disk_full=True)).reason is Reason.DISK_FULL
    assert diagnose(Evidence(exit_code=1, disk_full=True, stderr=crash("{}[1]"))).reason is Reason.CODE_ERROR


def test_a_local_job_that_vanished_before_it_said_a_word_goes_on() -> None:
    """The pool cannot tell the exit of a worker; a Python that fails by itself leaves words."""
    job = Job(Ticket("local-1", "x", 0.0), Phase.ENDED)
    for log in ("", "submitit INFO (2026-11-28 23:33:43,389) - Loading pickle: /runs/0000/submitit/7_submitted.pkl\n"):
        silent = diagnose(Evidence(began=False, job_log=log, job=job))
        assert (silent.reason, silent.retry) == (Reason.LOST, Retry.AS_IS)
    failed = diagnose(Evidence(began=False, job_log="No module named submitit", job=job))
    assert (failed.reason, failed.retry) == (Reason.NOT_STARTED, Retry.STOP)


def test_local_processes_are_diagnosed_without_slurm() -> None:
    assert diagnose(Evidence(exit_code=-9)).message == "killed by SIGKILL; nothing says by whom"
    assert diagnose(Evidence(exit_code=3)).reason is Reason.CODE_ERROR
    assert diagnose(Evidence(exit_code=0)).message == "exit code 0 without a result"


def test_identical_failures_have_one_fingerprint_whatever_their_numbers_and_folders() -> None:
    one = crash("raise ValueError('shape 16 at 0x7f00 in /runs/a/x.npz')")
    two = crash("raise ValueError('shape 64 at 0x7fff in /scratch/b/x.npz')")
    assert fingerprint(one) == fingerprint(two)
    assert fingerprint(one) != fingerprint(crash("raise ValueError('shape')"))


def test_identical_failures_are_shown_once() -> None:
    same = [diagnose(Evidence(exit_code=1, stderr=crash(f"raise ValueError({n})"))) for n in (1, 2)]
    other = Diagnosis(Reason.TIMEOUT, "job 1 reached its time limit")
    groups = grouped([("a", other), ("b", same[0]), ("c", same[1])])
    assert [(found.reason, names) for found, names in groups] == [
        (Reason.CODE_ERROR, ["b", "c"]),
        (Reason.TIMEOUT, ["a"]),
    ]


def test_a_life_is_found_by_when_the_attempt_started() -> None:
    lives = (Life(Reason.PREEMPTED, start=100.0), Life(start=200.0))
    job = Job(Ticket("1", "x", 0.0), Phase.RUNNING, lives=lives)
    assert life_of(job, 150.0) == lives[0]
    assert life_of(job, 201.0) == lives[1]
    assert life_of(job, None) == lives[1]
    assert life_of(None, 1.0) is None


def test_exits_by_signal_are_told_apart_from_codes() -> None:
    assert [Exit(137, 0).killed_by, Exit(0, 9).killed_by, Exit(9, 0).killed_by] == [9, 9, 9]
    assert [Exit(1, 0).killed_by, Exit(75, 0).killed_by, Exit(0, 125).killed_by] == [None, None, None]


def test_only_the_end_of_a_log_is_read_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    log = tmp_path / "stderr.log"
    log.write_bytes(b"\xff" * 10 + b"x" * 100 + b"end")
    assert read_tail(log, 5) == "xxend"
    assert read_tail(tmp_path / "none") == ""


def test_a_crash_is_its_own_though_its_job_went_on_to_the_time_limit(jobs: dict[str, Job]) -> None:
    job = jobs["26"]
    life = job.lives[-1]
    assert life.start is not None
    assert life.end is not None
    at = Evidence(job=job, started=life.start)
    before = life.end - 40
    assert diagnose(replace(at, exit_code=-11, ended=before)).message == "killed by SIGSEGV; nothing says by whom"
    assert diagnose(replace(at, exit_code=1, ended=before)).reason is Reason.CODE_ERROR
    assert diagnose(replace(at, exit_code=-11, ended=before, asked=True)).reason is Reason.TIMEOUT
    assert diagnose(replace(at, exit_code=-11, ended=life.end - 1)).reason is Reason.TIMEOUT
    assert diagnose(replace(at, exit_code=75, ended=before)).reason is Reason.TIMEOUT


def test_a_process_that_the_kernel_took_while_its_job_went_on_is_out_of_memory(jobs: dict[str, Job]) -> None:
    job = jobs["26"]
    life = replace(job.lives[-1], cause=Reason.HOST_OOM)
    assert life.end is not None
    evidence = Evidence(exit_code=-9, ended=life.end - 40, started=life.start, job=replace(job, lives=(life,)))
    assert diagnose(evidence).reason is Reason.HOST_OOM


def test_a_job_that_slurm_forgot_was_not_cancelled_if_its_log_has_words() -> None:
    gone = Job(Ticket("7", "name", SUBMITTED), Phase.GONE)
    words = "activate: No such file or directory"
    found = diagnose(Evidence(began=False, job=gone, job_log=words))
    assert found.reason is Reason.NOT_STARTED
    assert words in found.message
    assert diagnose(Evidence(began=False, job=gone)).reason is Reason.CANCELLED
    told = "loading\nslurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-22T10:00:00 ***"
    assert diagnose(Evidence(began=False, job=gone, job_log=told)).reason is Reason.CANCELLED
