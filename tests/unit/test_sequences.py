"""Any sequence of requests, failures and time: after every step the books are right.

No rule has a precondition: ids are random, so what the world looks like may differ the next time, and Hypothesis would call a
choice of rules that depends on it flaky. A rule with nothing to act on does nothing.
"""

from __future__ import annotations

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shared import errors
from shared.domain.attempt import Attempt, Stage
from shared.domain.instance import State
from shared.flows import instances
from shared.sweeps.machines import machines
from tests.support.world import FakeAgent, World


class Fleet(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(offers=30, boot_deadline_s=120)
        self.ids: list[str] = []

    def asked(self, act: object, number: int) -> None:
        if not self.ids:
            return
        try:
            act(self.ids[number % len(self.ids)], 0, self.world.user.id, self.world.deps)  # type: ignore[operator]
        except errors.Conflict:
            # Not possible in this state; that is an answer.
            pass

    @initialize(width=st.integers(1, 3))
    def begin(self, width: int) -> None:
        self.provision(width, lose=False)

    @rule(width=st.integers(1, 3), lose=st.booleans())
    def provision(self, width: int, lose: bool) -> None:
        self.world.provider.lose_creates = int(lose)
        if len(self.ids) >= 4:
            return
        try:
            self.ids.append(self.world.provision(width=width).id)
        except (errors.NoCapacity, errors.ProviderBusy):
            # Everything rests after failures; nothing was rented.
            pass

    @rule(number=st.integers(0, 9))
    def hibernate(self, number: int) -> None:
        self.asked(instances.hibernate, number)

    @rule(number=st.integers(0, 9))
    def wake(self, number: int) -> None:
        self.asked(instances.wake, number)

    @rule(number=st.integers(0, 9))
    def destroy(self, number: int) -> None:
        self.asked(instances.destroy, number)

    @rule(number=st.integers(0, 9), damage=st.booleans())
    def agents_act(self, number: int, damage: bool) -> None:
        if not self.ids:
            return
        for attempt in self.world.deps.records.open_attempts(self.ids[number % len(self.ids)]):
            attempt = self.world.deps.records.load(Attempt, attempt.id)
            if attempt.machine_id not in self.world.provider.made:
                continue
            agent = FakeAgent(self.world, attempt.id)
            if attempt.stage is Stage.CREATED:
                agent.register()
            elif attempt.stage is Stage.ADOPTED:
                for _ in agent.orders("snapshot"):
                    agent.take_snapshot(damage=damage)
                agent.finish("restore", stage="restored")
                agent.beat()

    @rule(number=st.integers(0, 9))
    def a_host_dies(self, number: int) -> None:
        made = list(self.world.provider.made)
        if made:
            del self.world.provider.made[made[number % len(made)]]

    @rule(verb=st.sampled_from(["create", "list", "get", "terminate", "offers"]), unknown=st.booleans())
    def the_provider_fails(self, verb: str, unknown: bool) -> None:
        lost = unknown and verb in ("create", "terminate")
        error = errors.OutcomeUnknown("lost") if lost else errors.ProviderBusy("500", 1.0)
        self.world.provider.fail_next[verb].append(error)

    @rule(seconds=st.sampled_from([1, 10, 60, 400]))
    def time_passes(self, seconds: int) -> None:
        self.world.clock.step(seconds=seconds)
        for id in self.ids:
            due = self.world.instance(id).next_action_at
            if due is not None and due <= self.world.clock.now():
                self.world.advance(id)

    @rule()
    def sweep(self) -> None:
        machines(self.world.deps)

    @invariant()
    def every_live_machine_is_wanted_or_has_a_receipt_pending(self) -> None:
        for made in self.world.provider.made.values():
            attempt = self.world.deps.records.find(Attempt, made.machine.token.removeprefix("dumont-"))
            assert attempt is not None and attempt.stage is not Stage.CLOSED, made.machine

    @invariant()
    def a_running_instance_has_exactly_one_adopted_machine(self) -> None:
        for id in self.ids:
            instance = self.world.instance(id)
            adopted = [a for a in self.world.deps.records.open_attempts(id) if a.stage is Stage.ADOPTED]
            if instance.state is State.RUNNING:
                assert [a.id for a in adopted] == [instance.attempt_id]
            assert len(adopted) <= 1

    @invariant()
    def no_snapshot_of_a_live_instance_misses_an_object(self) -> None:
        for id in self.ids:
            instance = self.world.instance(id)
            if instance.snapshot_id is not None and instance.state not in (State.DESTROYING, State.DESTROYED):
                assert f"instances/{id}/m/{instance.snapshot_id}" in self.world.objects.objects

    def teardown(self) -> None:
        self.world.provider.fail_next.clear()
        for number, id in enumerate(self.ids):
            self.asked(instances.destroy, number)
            self.world.settle(id, lambda i: i.state is State.DESTROYED, steps=3000)
        assert self.world.provider.made == {}
        assert self.world.objects.objects == {}


TestFleet = Fleet.TestCase
TestFleet.settings = hypothesis_settings(max_examples=40, stateful_step_count=30, deadline=None)
