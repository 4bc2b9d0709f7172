"""Runs of the debug preset on Catch, trained to the end or stopped on the way, for the tests of the loop."""

import json

import numpy as np

from agent.contract import files
from agent.contract.config import make_config
from agent.contract.run_folder import RunDir
from agent.contract.sealed import read_arrays, read_sealed
from agent.run import checkpoint
from agent.run.loop import Loop
from agent.run.member import Member

SETTINGS = {"task": "catch", "run.steps": 120, "run.eval_every": 60, "env.catch.size": 8}


def config_of(seed=0, harmony=True, overlap="auto", more=None):
    given = {"seed": seed, "harmony": harmony, "run.eval_overlap": overlap}
    return make_config(["debug"], {**SETTINGS, **given, **(more or {})})


class StopAt:
    """Asks to stop when a run has reached a step."""

    def __init__(self, env_steps):
        self.env_steps = env_steps
        self.member: Member | None = None

    def __call__(self):
        return self.member is not None and self.member.steps >= self.env_steps


def train(programs, folder, configs, *, stop_at=None, on_device=True):
    members = [Member(c, RunDir(folder / f"{c.seed}-{c.method}"), pack_size=len(configs)) for c in configs]
    stop = StopAt(stop_at or 10**9)
    stop.member = members[0]
    return Loop(members, programs, on_device=on_device, stopped=stop).run(), members


def state_of(member):
    index = read_sealed(member.run.checkpoint / checkpoint.INDEX)
    return read_arrays(member.run.checkpoint, index["state"]), index


def same_arrays(member, expected):
    """Compare the last checkpoints of two runs, to the bit, the environments' state too."""
    arrays, others = state_of(member)[0], state_of(expected)[0]
    assert arrays.keys() == others.keys()
    for name, array in others.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    return True


def scores_of(member):
    rows, problems = files.read_rows(member.run.scores)
    assert not problems
    return [{k: v for k, v in row.items() if k not in ("walltime_s", "evaluation_s")} for row in rows]


def lose_lease(loop):
    holder = json.loads(loop.active[0].run.lease.read_text()) | {"owner": "another"}
    loop.active[0].run.lease.write_text(json.dumps(holder))
    loop.beat.now()
