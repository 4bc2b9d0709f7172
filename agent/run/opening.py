"""How a run begins: restored or fresh, then random play until its replay can be sampled, which a stop may interrupt.

Random play is part of the run's stream: what was played is in the checkpoint, and a resumed run plays the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.run import checkpoint, replay
from agent.run.member import Member
from agent.run.pack import Start, snapshot, start
from agent.run.programs import Programs


def begin(member: Member, programs: Programs, writer: checkpoint.Writer, stopped: Callable[[], bool]) -> Start:
    """Return a member's arrays, ready to train, or as far as it got when `stopped()` turned true.

    Raises: RecordError for a damaged checkpoint, one of another configuration, or a lease that was lost; what an
    environment raises.
    """
    begun = start(member, programs)
    saved_at = time.monotonic()
    if member.prefilling:
        member.status.phase = "prefill"
    while member.prefilling and not stopped():
        if member.lease_error is not None:
            raise member.lease_error
        member.play_at_random()
        if time.monotonic() - saved_at > member.config.run.checkpoint_every_s:
            save(member, begun, writer)
            saved_at = time.monotonic()
    _fill(member, begun)
    return begun


def save(member: Member, begun: Start, writer: checkpoint.Writer) -> None:
    """Begin to write the checkpoint of a member that has not joined a pack."""
    _fill(member, begun)
    member.saved = writer.wait() or member.saved
    writer.start(member.run.checkpoint, snapshot(member, begun.state, begun.carry, begun.policy_carry, begun.evaluated))


def _fill(member: Member, begun: Start) -> None:
    if member.unsaved_rounds:
        replay.fill(begun.buffers, member.pending(), member.rounds - member.unsaved_rounds)
