"""A checkpoint that somebody else has written: what it holds is never run, whatever it holds."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from agent.contract import files, sealed
from agent.contract.run_folder import RunDir
from agent.envs.state import StateError
from agent.run import checkpoint
from agent.run.member import Member
from tests.agent.loops import config_of, state_of, train


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def ran(tmp_path):
    """The file that the payload touches where something runs it."""
    pickle.loads(pickle.dumps(Payload(tmp_path / "works")))
    assert (tmp_path / "works").exists()
    return tmp_path / "ran"


def pickled(ran):
    return np.frombuffer(pickle.dumps(Payload(ran)), np.uint8)


def objects(ran):
    return np.array([Payload(ran)], object)


@pytest.mark.parametrize("payload", [pickled, objects])
def test_environment_states_that_are_pickles_are_refused_and_not_run(programs, tmp_path, ran, payload):
    _, (member,) = train(programs, tmp_path, [config_of()], stop_at=60)
    arrays, values = state_of(member)
    other = Member(config_of(), RunDir(tmp_path / "other"))
    for name in [name for name in arrays if name.startswith("host/envs")]:
        with pytest.raises(StateError):
            other.restore({**arrays, name: payload(ran)}, values)
    with pytest.raises(StateError):
        other.restore({"host/envs": payload(ran), "host/actions": arrays["host/actions"]}, values)
    other.restore(arrays, values)
    other.end("stopped")
    assert not ran.exists()


def test_a_file_of_pickled_arrays_ends_the_run_and_is_not_run(programs, tmp_path, ran, capsys):
    _, (member,) = train(programs, tmp_path, [config_of()], stop_at=60)
    index = files.read_json(member.run.checkpoint / checkpoint.INDEX)
    assert index is not None
    arrays, _ = state_of(member)
    state = member.run.checkpoint / index["state"]["name"]
    np.savez(state, allow_pickle=True, **arrays, evil=objects(ran))
    data = state.read_bytes()
    known = {**index["state"], "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    sealed.write_sealed(member.run.checkpoint / checkpoint.INDEX, {**index, "state": known})
    outcomes, _ = train(programs, tmp_path, [config_of()])
    assert outcomes == ["failed"] and "cannot be read" in capsys.readouterr().err
    assert not ran.exists()


def test_a_checkpoint_of_the_format_with_pickles_is_refused_by_its_version(programs, tmp_path, ran, capsys):
    _, (member,) = train(programs, tmp_path, [config_of()], stop_at=60)
    arrays, _ = state_of(member)
    path = member.run.checkpoint / checkpoint.INDEX
    index = files.read_json(path)
    assert index is not None
    files.write_json(path, {key: value for key, value in index.items() if key != "seal"} | {"format": 1})
    np.savez(member.run.checkpoint / index["state"]["name"], allow_pickle=False, **arrays, pickle=pickled(ran))
    outcomes, _ = train(programs, tmp_path, [config_of()])
    assert outcomes == ["failed"] and "earlier version (format 1)" in capsys.readouterr().err
    assert not ran.exists()
