"""The runs that are damaged: one of Catch, stopped twice, and others for their files."""

import shutil
from pathlib import Path

from agent.contract.config import dump_yaml
from agent.run.programs import Programs
from tests.agent.loops import config_of, train
from tests.damage.judge import Subject

MORE = {"run.log_every": 10}


def make(programs: Programs, folder: Path) -> Subject:
    """Return a run with checkpoints at 83 and 100, its folder at 83, and runs of another seed and method at 100."""
    ours = config_of(more=MORE)
    _, members = train(programs, folder / "ours", [ours], stop_at=83)
    run = members[0].run.path
    dump_yaml(ours, members[0].run.config)
    earlier = Path(shutil.copytree(run, folder / "earlier"))
    _, members = train(programs, folder / "ours", [ours], stop_at=100)
    others = [config_of(seed=1, more=MORE), config_of(harmony=False, more=MORE)]
    for config in others:
        train(programs, folder / "others", [config], stop_at=100)
    return Subject(run, members[0].identity, members[0].final, [earlier, *sorted((folder / "others").iterdir())])
