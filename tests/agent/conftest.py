"""The loop's programs and one whole run, made once for all tests of the loop."""

import pytest

from agent.contract.run_folder import RunDir
from agent.run import replay
from agent.run.member import Member
from agent.run.programs import Programs
from tests.agent.loops import config_of, train


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """Compiled once for every test of the same shapes."""
    config = config_of()
    member = Member(config, RunDir(tmp_path_factory.mktemp("spec")))
    spec = member.spec
    member.end("stopped")
    return Programs(config, spec, replay.replay_spec(config, spec))


@pytest.fixture(scope="session")
def whole(programs, tmp_path_factory):
    """One run from beginning to end."""
    outcomes, members = train(programs, tmp_path_factory.mktemp("whole"), [config_of()])
    assert outcomes == ["done"]
    return members[0]
