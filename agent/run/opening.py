"""How a run begins: restored or fresh, then random play until its replay can be sampled, which a stop may interrupt.

Random play is part of the run's stream: what was played is in the checkpoint, and a resumed run plays the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.run import checkpoint, pack, replay
from agent.run.member import Member
from agent.run.pack import Start
from agent.run.programs import Programs


def restore_and_prefill(
    member: Member, programs: Programs, stopped: Callable[[], bool], check: Callable[[Member], None]
) -> Start:
    """Return a member ready to train, or as far as it got when `stopped()` turned true; `check` raises to end it.

    Raises: RecordError for a damaged checkpoint or one of another configuration; what an environment raises.
    """
    start = _restore(member, programs)
    saved_at = time.monotonic()
    if member.prefilling:
        member.claim.status.phase = "prefill"
    while member.prefilling and not stopped():
        check(member)
        member.play_at_random()
        if time.monotonic() - saved_at > member.config.run.checkpoint_every_s:
            save(member, start)
            saved_at = time.monotonic()
    _fill(member, start)
    return start


def save(member: Member, start: Start) -> None:
    """Begin to write the checkpoint of a member that has not joined a pack."""
    _fill(member, start)
    member.save(pack.flattened(start.device, start.evaluated))


def _restore(member: Member, programs: Programs) -> Start:
    """Return a member fresh, with nothing played yet, or as its checkpoint left it."""
    fresh = pack.fresh(programs, member.config)
    found = member.find_checkpoint()
    if found is None:
        return fresh
    start = pack.restored(fresh, found.arrays, evaluating=found.index["evaluating"] is not None)
    if found.index["env_steps"] < member.final:
        for first, chunk in checkpoint.load_chunks(member.run.checkpoint, found.index):
            replay.fill(start.buffers, chunk, first)
    member.restore(found.arrays, found.index)
    return start


def _fill(member: Member, start: Start) -> None:
    if member.unsaved_rounds:
        replay.fill(start.buffers, member.pending(), member.rounds - member.unsaved_rounds)
