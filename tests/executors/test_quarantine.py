"""Calls that have killed workers are remembered by what they ask."""

from __future__ import annotations

from poolinfer._data.requests import Chat
from poolinfer._executors.quarantine import Quarantine


def test_quarantine_knows_content_not_options():
    now = [0.0]
    quarantine = Quarantine(600, lambda: now[0])
    for deaths in (1, 2):
        quarantine.add(Chat("poison", timeout=3), deaths)
        assert quarantine.deaths(Chat("poison", priority=2)) == deaths
    assert not quarantine.deaths(Chat("poison", max_tokens=2))
    now[0] = 601.0
    assert not quarantine.deaths(Chat("poison"))


def test_quarantine_forgets_what_ended_well():
    quarantine = Quarantine()
    quarantine.add(Chat("slow"), 1)
    quarantine.forget(Chat("slow", timeout=9))
    assert not quarantine.deaths(Chat("slow"))
