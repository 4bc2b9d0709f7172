"""The training loop of a pack: act, store, learn, evaluate, checkpoint, until every member is done or has failed.

The order of events is the published one. A round steps every environment once and stores its transition; the updates
that fall due are made environment by environment. Evaluations are checked between blocks. The device works while the
host steps the environments: updates are only enqueued, and nothing but the action is waited for. An evaluation plays in
a thread of its own, with copies of the policies, and training goes on meanwhile where that pays. One that is still
being played belongs to the checkpoint: a resumed run plays it again from its beginning.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from agent.contract.records import StateWord
from agent.envs.vector import Records
from agent.run import checkpoint, device, evaluate, heap
from agent.run.beat import Beat
from agent.run.evaluate import Evaluation
from agent.run.failure import reason_of
from agent.run.member import Member
from agent.run.opening import restore_and_prefill, save
from agent.run.pack import Pack, Policies, Start, joined, rows_of
from agent.run.programs import EvalPolicy, Programs


@dataclass
class Playing:
    """The evaluation in flight: whose it is, in the order of its outcomes, and the policies it plays, stacked."""

    members: list[Member]
    policies: Policies
    evaluation: Evaluation


class Loop:
    """Runs a pack to its end."""

    def __init__(
        self, members: list[Member], programs: Programs, *, on_device: bool, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self.programs, self.on_device, self.stopped = programs, on_device, stopped
        self.config = members[0].config
        self.members, self.active = members, list(members)
        self.outcomes: dict[int, str] = {}
        self.pack: Pack | None = None
        self.playing: Playing | None = None
        self.overlaps = evaluate.overlaps(self.config)
        self.check_finite = False
        self.saved_at = time.monotonic()
        self.first_round, self.unsaved = True, False  # no round yet in this process; something that no checkpoint holds

    def run(self) -> list[str]:
        """Train until every member has ended; return "done", "failed" or "stopped" for each, in their order."""
        self.beat = Beat(self.active)
        try:
            self.beat.now()
            self._start_members()
            if device.is_cpu():
                heap.keep()
            while self.active:
                self._step()
        except Exception as error:  # noqa: BLE001 - reported and recorded for every run it ends
            self._fail(list(self.active), error)
        finally:
            self._abandon_evaluation()
            self.beat.stop()
        return [self.outcomes[id(member)] for member in self.members]

    def _start_members(self) -> None:
        """Start every member; one that cannot start fails alone, and a stop leaves each as far as it got."""
        begun: list[tuple[Member, Start]] = []
        for member in list(self.active):
            if self.stopped():
                break
            try:
                begun.append((member, restore_and_prefill(member, self.programs, self.stopped, self.beat.check)))
            except Exception as error:  # noqa: BLE001 - ends this member's run, with its traceback
                self._fail([member], error)
        if self.stopped():
            self._stop_early(begun)
        elif self.active:
            self.unsaved = any(member.unsaved_rounds for member, _ in begun)
            methods = [member.config.method for member, _ in begun]
            self.pack = Pack([start for _, start in begun], methods, self.programs, on_device=self.on_device)
            again = [(member, start.evaluated) for member, start in begun if start.evaluated]
            if again:
                self._play([member for member, _ in again], joined([policies for _, policies in again]))

    def _step(self) -> None:
        """Do what is due between two rounds, then one round."""
        for member in [member for member in self.active if member in self.beat.lost]:
            self._fail([member], self.beat.lost[member])
        if self.check_finite:
            self._fail_not_finite()
        ended = [m for m in list(self.active) if m.at_block and m.steps >= m.final]
        evaluated = self._collect(wait=bool(ended) or not self.overlaps)
        if evaluated:
            self._complete([m for m in ended if m in self.active])
            evaluated = self._evaluate_due()
        if self.stopped():
            self._stop_all()
        if not evaluated:
            return
        if self.active and time.monotonic() - self.saved_at > self.config.run.checkpoint_every_s:
            self._checkpoint(list(self.active))
        if self.first_round and self.unsaved:  # for a stop between the compilations of the first round
            self._checkpoint(list(self.active))
        if self.active:
            self._round()

    def _training_pack(self) -> Pack:
        assert self.pack is not None
        return self.pack

    def _round(self) -> None:
        records = self._step_environments()
        if not self.active:
            return
        pack = self._training_pack()
        self._phase("training")
        pack.act(records, [member.rounds for member in self.active])
        if self.first_round and self.stopped():
            return self._end_stopped(list(self.active))
        for _ in range(self.config.env.amount):
            due = [member.count_step() for member in self.active]
            while any(due):
                self._update(pack, [n > 0 for n in due])
                due = [max(0, n - 1) for n in due]
        for member, batch, (action, stored) in zip(self.active, records, pack.take_actions(), strict=True):
            member.actions = action
            member.keep(batch, stored)
        self.first_round = False

    def _update(self, pack: Pack, due: list[bool]) -> None:
        """Make one update of the members that are due, and log of those whose time it is."""
        log = [updated and member.log_due() for member, updated in zip(self.active, due, strict=True)]
        pack.update_some(due, [member.steps for member in self.active], metrics=any(log))
        for member, updated in zip(self.active, due, strict=True):
            member.updates += updated
        if any(log):
            self._log(pack, log)

    def _step_environments(self) -> list[Records]:
        """Step all members' environments together; a member whose environment is broken ends alone."""
        records: list[tuple[Member, Records]] = []
        broken: list[tuple[Member, Exception]] = []
        members = list(self.active)
        for member in members:
            member.envs.step_async(member.actions)
        for member in members:
            try:
                records.append((member, member.envs.step_wait()))
            except Exception as error:  # noqa: BLE001 - whatever an environment raises ends its run, not the pack
                broken.append((member, error))
        self._collect_for([member for member, _ in broken])
        for member, error in broken:
            if member in self.active:  # unless its evaluation has ended it
                self._fail([member], error)
        return [batch for member, batch in records if member in self.active]

    def _log(self, pack: Pack, wanted: list[bool]) -> None:
        """Write metrics rows; members whose numbers are no longer finite are dropped after the round."""
        bad = pack.not_finite()
        self.check_finite = bool(bad)
        for i, (member, row) in enumerate(zip(self.active, pack.metric_rows(), strict=True)):
            if wanted[i] and i not in bad:
                member.log_metrics(row)

    def _evaluate_due(self) -> bool:
        """Begin the evaluations that are due, and wait for them if training does; return whether it may go on."""
        before = [member.every.anchor for member in self.active]
        due = [member for member in self.active if member.at_block and member.every.due(member.steps)]
        if not due or not self.config.run.eval_episodes:
            return True
        if self.stopped() or not self._collect(wait=True):  # the one before, which was not played in time
            for member, anchor in zip(self.active, before, strict=True):
                member.every.anchor = anchor
            return False
        members = [member for member in due if member in self.active]
        for member in members:
            member.begin_evaluation()
        if members:
            self._play(members, self._training_pack().policies([self.active.index(member) for member in members]))
        return self._collect(wait=not self.overlaps)

    def _play(self, members: list[Member], policies: Policies) -> None:
        """Begin the evaluation that each of these members has noted, with these policies."""
        envs = len(evaluate.quotas(self.config.run.eval_episodes, self.config.run.eval_envs))
        steps = [int((member.evaluating or {})["env_steps"]) for member in members]
        policy = EvalPolicy(self.programs, policies.params, policies.keys, steps, envs)
        self.playing = Playing(members, policies, Evaluation([m.config for m in members], steps, policy))

    def _collect(self, *, wait: bool) -> bool:
        """Write the scores of an evaluation that has been played; return whether training may go on.

        It may not while an evaluation that had to be waited for is still being played, as something else is due first.
        """
        playing = self.playing
        if playing is None:
            return True
        if not any(member in self.active for member in playing.members):
            self._abandon_evaluation()
            return True
        if wait and not playing.evaluation.done:
            self._phase("evaluating")
            playing.evaluation.wait(self._interrupted)
        if not playing.evaluation.done:
            return not wait
        self.playing = None
        seconds = playing.evaluation.seconds / len(playing.members)
        try:
            outcomes = playing.evaluation.outcomes()
        except Exception as error:  # noqa: BLE001 - ends the runs that were being evaluated, with its traceback
            self._fail([member for member in playing.members if member in self.active], error)
            return True
        for member, outcome in zip(playing.members, outcomes, strict=True):
            if member not in self.active:
                continue
            if isinstance(outcome, Exception):
                self._fail([member], outcome)
            else:
                member.log_score(outcome, seconds)
                self.unsaved = True
        return True

    def _collect_for(self, members: list[Member]) -> None:
        """Wait for the scores of runs that are about to fail: they belong to steps at which all was well."""
        if self.playing is not None and any(member in self.playing.members for member in members):
            self._collect(wait=True)

    def _abandon_evaluation(self) -> None:
        """End an evaluation that is nobody's any more, or is left to the next attempt."""
        if self.playing is not None:
            self.playing.evaluation.abandon()
            self.playing = None

    def _interrupted(self) -> bool:
        return self.stopped() or bool(self.beat.lost)

    def _phase(self, phase: str) -> None:
        for member in self.active:
            member.claim.status.phase = phase

    def _checkpoint(self, members: list[Member]) -> None:
        """Write checkpoints in the background; members that are not finite fail instead."""
        self._fail_not_finite()
        for member in [m for m in members if m in self.active]:
            member.save(self._training_pack().arrays(self.active.index(member), self._evaluated(member)))
        self.saved_at, self.unsaved = time.monotonic(), False

    def _evaluated(self, member: Member) -> Policies | None:
        """Return the policy of a member's evaluation while it is being played."""
        if self.playing is None or member not in self.playing.members:
            return None
        return rows_of(self.playing.policies, np.asarray([self.playing.members.index(member)]))

    def _fail_not_finite(self) -> None:
        self.check_finite = False
        bad = [self.active[i] for i in self._training_pack().not_finite()]
        self._collect_for(bad)
        for member in [m for m in bad if m in self.active]:
            text = f"losses or gradients are not finite at step {member.steps}"
            self._fail([member], FloatingPointError(text))

    def _complete(self, members: list[Member]) -> None:
        """Complete members: last checkpoint, result, and the replay removed."""
        if not members:
            return
        self._checkpoint(members)
        finished: list[Member] = []
        try:
            for member in [m for m in members if m in self.active]:
                member.await_checkpoint()
                member.finish()
                checkpoint.drop_replay(member.run.checkpoint)
                finished.append(member)
        finally:
            self._end(finished, "done")

    def _stop_all(self) -> None:
        self._checkpoint(list(self.active))
        settled: list[Member] = []
        try:
            for member in list(self.active):
                member.await_checkpoint()
                settled.append(member)
        finally:
            self._end_stopped(settled)

    def _stop_early(self, begun: list[tuple[Member, Start]]) -> None:
        """End members that have not trained in this process: what they have played is kept, if anything."""
        for member, start in begun:
            try:
                if member.unsaved_rounds:
                    save(member, start)
                member.await_checkpoint()
                self._end_stopped([member] if member.steps else [])
            except Exception as error:  # noqa: BLE001 - ends this member's run, with its traceback
                self._fail([member], error)
        rest = list(self.active)
        self._end(rest, "stopped", "stopped", {id(m): "asked to stop before it began" for m in rest})

    def _end_stopped(self, members: list[Member]) -> None:
        said = {id(m): f"asked to stop at step {m.steps}; checkpoint written" for m in members}
        self._end(members, "stopped", "stopped", said)

    def _fail(self, members: list[Member], error: Exception) -> None:
        """End members with their error; what was checkpointed stays, and the next attempt continues from it."""
        reason, message = reason_of(error)
        text = "".join(traceback.format_exception(error))
        for member in members:
            print(f"{member.run.path}: {reason}: {message}\n{text}", file=sys.stderr, flush=True)
        self._end(members, "failed", reason, {id(member): message for member in members})

    def _end(
        self,
        members: list[Member],
        state: StateWord,
        reason: str | None = None,
        messages: Mapping[int, str] | None = None,
    ) -> None:
        """End members; the rest of the pack is selected once for all of them, as each size of pack is compiled anew."""
        kept = [i for i, member in enumerate(self.active) if member not in members]
        if self.pack is not None and 0 < len(kept) < len(self.active):
            self.pack = self.pack.select(kept)
        self.active[:] = [self.active[i] for i in kept]
        for member in members:
            self.outcomes[id(member)] = state
            try:
                member.await_checkpoint()
                member.end(state, reason, (messages or {}).get(id(member)))
            except Exception as error:  # noqa: BLE001 - the outcome stands; this comes on top of it
                print(f"{member.run.path}: the last status could not be written: {error}", file=sys.stderr, flush=True)
