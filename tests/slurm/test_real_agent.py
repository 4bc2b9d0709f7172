"""The real agent, debug-sized, through the real Slurm."""

import json

import pytest

from tests.slurm.cluster import Lab, check_evaluations, run_names, steps_of, text_of, wait_until

pytestmark = pytest.mark.slurm

CATCH = """
tasks: [catch]
preset: [catch, debug]
methods: [dreamerv3, harmony_dreamerv3]
seeds: 1
agent: {run: {eval_initial: false}}
"""


def test_a_pack_of_the_real_agent_is_requeued_in_mid_run_and_completes(lab: Lab) -> None:
    lab = lab
    lab.grid("real", CATCH)
    long = ("agent.run.steps=600", "agent.run.train_ratio=256")  # 16 updates a step: half a minute, for the requeue
    lab.run("launch", "grid=real", "cluster=test", "pack=2", "cluster.mem_gb=4", *long)
    study = lab.study("real")
    wait_until(lambda: all(steps_of(study / name) >= 80 for name in run_names(study)), 240, "training", 0.5)
    text_of("scontrol", "requeue", lab.job_ids("real")[0])
    lab.wait_all("real", "done", 300)
    for name in run_names(study):
        check_evaluations(study / name, first=80)  # the first one after the random play
        steps = [json.loads(line)["env_steps"] for line in (study / name / "metrics.jsonl").read_text().splitlines()]
        assert steps == sorted(set(steps)), f"{name}: rows of metrics repeated after the requeue"
        assert len(list((study / name / "attempts").iterdir())) == 2


@pytest.mark.slow
def test_26_by_2_by_5_runs_of_the_real_agent_complete(lab: Lab) -> None:
    lab = lab
    lab.grid("paper", CATCH)
    variants = f"agent.run.log_every={','.join(str(n) for n in range(1, 27))}"
    lab.run("launch", "grid=paper", "cluster=test", "seeds=5", "pack=10", variants, "cluster.array_throttle=2")
    lab.wait_all("paper", "done", 3600)
    assert len(run_names(lab.study("paper"))) == 260
    for name in run_names(lab.study("paper")):
        check_evaluations(lab.study("paper") / name, first=80)
    reported = lab.report("paper")
    assert reported["states"]["done"] == sum(reported["states"].values()) == 260
