"""What every provider must do. An implementation joins with `provider` and `market`, the test's hands in it."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

import pytest

from shared import errors
from shared.domain.attempt import LABEL_PREFIX
from shared.domain.offer import MachineSpec, Need, Offer
from shared.providers.base import MachineStatus, Provider, RentedMachine

SPEC = MachineSpec(image="pytorch/pytorch:latest", disk_gib=20, onstart="true", env={"A": "b"}, ports=(8888,))
WHATEVER = Need(disk_gib=20, min_reliability=0)


class Market(Protocol):
    """What a test does to a provider from the other side."""

    def sell_out(self, offer: Offer) -> None: ...
    def lose_next_create(self) -> None:
        """The next create acts and its answer never arrives."""

    def rate_limit_next(self, verb: str) -> None: ...
    def break_next(self, verb: str) -> None:
        """The next call of a verb is answered with a server error."""

    def with_bad_credentials(self) -> Provider: ...
    def add_foreign(self, label: str) -> str:
        """A machine in the account that is not ours; its id."""

    def sells(self) -> Need:
        """A need that several offers fit."""


def token() -> str:
    return LABEL_PREFIX + uuid.uuid4().hex[:28]


def gone(provider: Provider, machine_id: str, patience_s: float = 20.0) -> None:
    """Terminate until the provider no longer finds the machine."""
    until = time.monotonic() + patience_s
    while True:
        try:
            provider.terminate(machine_id)
        except errors.MachineNotFound:
            return
        assert time.monotonic() < until, "the machine never went"
        time.sleep(0.05)


def by_token(provider: Provider, label: str) -> list[RentedMachine]:
    return [machine for machine in provider.list() if machine.token == label]


class ProviderContract:
    def test_offers_come_cheapest_first(self, provider: Provider, market: Market) -> None:
        prices = [offer.usd_per_hour for offer in provider.offers(market.sells())]

        assert len(prices) >= 2
        assert prices == sorted(prices)

    def test_prices_are_decimal_dollars_per_hour(self, provider: Provider, market: Market) -> None:
        for offer in provider.offers(market.sells()):
            assert isinstance(offer.usd_per_hour, Decimal)
            assert Decimal("0.001") < offer.usd_per_hour < 1000
            assert offer.provider == provider.name
            assert offer.offer_id and offer.machine_id and offer.host_id

    def test_no_fitting_offer_is_an_empty_list(self, provider: Provider, market: Market) -> None:
        from shared.domain.offer import misfit

        need = replace(market.sells(), gpu_name="RTX 1", max_usd_per_hour=Decimal("0.000001"))

        assert [offer for offer in provider.offers(need) if misfit(offer, need) is None] == []

    def test_a_created_machine_can_be_read_back(self, provider: Provider, market: Market) -> None:
        offer, label = provider.offers(market.sells())[0], token()

        machine = provider.create(offer, SPEC, label)

        found = provider.get(machine.machine_id)
        assert (found.machine_id, found.token, found.provider) == (machine.machine_id, label, provider.name)
        assert found.status in (MachineStatus.LOADING, MachineStatus.RUNNING)
        gone(provider, machine.machine_id)

    def test_a_machine_can_be_found_by_its_token(self, provider: Provider, market: Market) -> None:
        offer, label = provider.offers(market.sells())[0], token()

        machine = provider.create(offer, SPEC, label)

        assert [m.machine_id for m in by_token(provider, label)] == [machine.machine_id]
        gone(provider, machine.machine_id)

    def test_every_machine_is_listed_however_many(self, provider: Provider, market: Market) -> None:
        labels = []
        for offer in list(provider.offers(market.sells()))[:30]:
            labels.append(token())
            provider.create(offer, SPEC, labels[-1])

        listed = {machine.token: machine.machine_id for machine in provider.list()}

        assert set(labels) <= set(listed)
        for label in labels:
            provider.terminate(listed[label])
        for label in labels:
            gone(provider, listed[label])

    def test_a_sold_out_offer_means_no_capacity(self, provider: Provider, market: Market) -> None:
        offer, label = provider.offers(market.sells())[0], token()
        market.sell_out(offer)

        with pytest.raises(errors.NoCapacity):
            provider.create(offer, SPEC, label)

        assert by_token(provider, label) == []

    def test_bad_credentials_are_rejected(self, market: Market) -> None:
        stranger = market.with_bad_credentials()

        with pytest.raises(errors.ProviderRejected):
            stranger.offers(WHATEVER)
        with pytest.raises(errors.ProviderRejected):
            stranger.list()

    @pytest.mark.parametrize("verb", ["offers", "create", "list", "terminate"])
    def test_a_rate_limit_is_busy_and_nothing_happened(self, provider: Provider, market: Market, verb: str) -> None:
        offer, label = provider.offers(market.sells())[0], token()
        machine = provider.create(offer, SPEC, label) if verb == "terminate" else None
        market.rate_limit_next(verb)

        with pytest.raises(errors.ProviderBusy) as caught:
            if verb == "offers":
                provider.offers(market.sells())
            elif verb == "create":
                provider.create(offer, SPEC, label)
            elif verb == "list":
                provider.list()
            elif machine is not None:
                provider.terminate(machine.machine_id)

        assert caught.value.retry_after_s > 0
        if verb == "create":
            assert by_token(provider, label) == []
        if machine is not None:
            gone(provider, machine.machine_id)

    def test_a_lost_answer_is_an_unknown_outcome_and_the_token_finds_the_machine(
        self, provider: Provider, market: Market
    ) -> None:
        offer, label = provider.offers(market.sells())[0], token()
        market.lose_next_create()

        with pytest.raises(errors.OutcomeUnknown):
            provider.create(offer, SPEC, label)

        machines = by_token(provider, label)
        assert len(machines) == 1
        gone(provider, machines[0].machine_id)

    @pytest.mark.parametrize("verb", ["offers", "list"])
    def test_a_server_error_on_a_read_is_busy(self, provider: Provider, market: Market, verb: str) -> None:
        market.break_next(verb)

        with pytest.raises(errors.ProviderBusy):
            provider.offers(market.sells()) if verb == "offers" else provider.list()

    def test_termination_may_be_repeated_until_the_machine_is_gone(self, provider: Provider, market: Market) -> None:
        offer, label = provider.offers(market.sells())[0], token()
        machine = provider.create(offer, SPEC, label)

        gone(provider, machine.machine_id)

        with pytest.raises(errors.MachineNotFound):
            provider.get(machine.machine_id)
        assert by_token(provider, label) == []

    def test_a_machine_that_never_was_is_not_found(self, provider: Provider) -> None:
        with pytest.raises(errors.MachineNotFound):
            provider.get("987654321")
        with pytest.raises(errors.MachineNotFound):
            provider.terminate("987654321")

    def test_machines_that_are_not_ours_are_never_listed(self, provider: Provider, market: Market) -> None:
        foreign = [market.add_foreign("my-own-work"), market.add_foreign("")]

        assert not {machine.machine_id for machine in provider.list()} & set(foreign)
