"""The jobs that a pool's executor has, and the calls that they belong to."""

from __future__ import annotations

from .ticket import Ticket


class GivenJobs(dict[int, Ticket]):
    """The tickets of all jobs that the executor has, by the jobs' ids. A call with `n` has several jobs."""

    def of(self, ticket: Ticket) -> list[int]:
        """The ids of a call's jobs."""
        if ticket.n == 1:
            return [ticket.job.id] if ticket.job.id in self else []
        return [job_id for job_id, other in self.items() if other is ticket]

    @property
    def running(self) -> set[Ticket]:
        """The calls that have a job here and have not ended for their owners."""
        return {ticket for ticket in self.values() if not ticket.ended}

    @property
    def stopping(self) -> int:
        """How many jobs belong to calls that have ended for their owners."""
        return sum(ticket.ended for ticket in self.values())
