"""Cloud Scheduler's jobs: created or corrected, never resumed. By google-cloud-scheduler over REST."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from google.api_core import exceptions
from google.cloud import scheduler_v1
from google.protobuf import duration_pb2, field_mask_pb2

MASK = ("schedule", "time_zone", "http_target", "retry_config", "attempt_deadline")
"""Not `state`: a job that somebody paused stays paused."""


@dataclass(frozen=True)
class Job:
    name: str
    cron: str
    url: str
    account: str
    audience: str
    deadline_s: int


class Jobs(Protocol):
    def reconcile(self, wanted: Sequence[Job], *, dry: bool = False) -> list[str]: ...
    def remove(self, prefix: str) -> list[str]: ...


def connect(project: str, region: str, transport: Any = None) -> CloudJobs:
    client = scheduler_v1.CloudSchedulerClient(transport=transport or "rest")
    return CloudJobs(client, f"projects/{project}/locations/{region}")


class CloudJobs:
    def __init__(self, client: scheduler_v1.CloudSchedulerClient, parent: str) -> None:
        self._client = client
        self._parent = parent

    def reconcile(self, wanted: Sequence[Job], *, dry: bool = False) -> list[str]:
        """What was created or corrected, in words; `dry` what would be."""
        known = {job.name: job for job in self._client.list_jobs(parent=self._parent)}
        done = []
        for one in wanted:
            job = self._job(one)
            there = known.get(job.name)
            if dry:
                if there is None or not _same(there, job):
                    done.append(f"scheduler  {'create' if there is None else 'correct'} {one.name} ({one.cron})")
                continue
            if there is None:
                try:
                    self._client.create_job(parent=self._parent, job=job)
                    done.append(f"scheduler  created {one.name} ({one.cron})")
                    continue
                except exceptions.Conflict:
                    # Made a moment ago by somebody else: corrected below.
                    there = self._client.get_job(name=job.name)
            if _same(there, job):
                continue
            self._client.update_job(job=job, update_mask=field_mask_pb2.FieldMask(paths=list(MASK)))
            done.append(f"scheduler  corrected {one.name}")
        return done

    def remove(self, prefix: str) -> list[str]:
        done = []
        for job in list(self._client.list_jobs(parent=self._parent)):
            name = job.name.rsplit("/", 1)[-1]
            if name.startswith(prefix):
                self._client.delete_job(name=job.name)
                done.append(f"scheduler  deleted {name}")
        return done

    def _job(self, one: Job) -> scheduler_v1.Job:
        return scheduler_v1.Job(
            name=f"{self._parent}/jobs/{one.name}",
            schedule=one.cron,
            time_zone="Etc/UTC",
            attempt_deadline=duration_pb2.Duration(seconds=one.deadline_s),
            # The next minute is the retry.
            retry_config=scheduler_v1.RetryConfig(retry_count=0),
            http_target=scheduler_v1.HttpTarget(
                uri=one.url,
                http_method=scheduler_v1.HttpMethod.POST,
                oidc_token=scheduler_v1.OidcToken(service_account_email=one.account, audience=one.audience),
            ),
        )


def _same(there: scheduler_v1.Job, wanted: scheduler_v1.Job) -> bool:
    return (
        there.schedule == wanted.schedule
        and there.time_zone == wanted.time_zone
        and there.http_target.uri == wanted.http_target.uri
        and there.http_target.oidc_token == wanted.http_target.oidc_token
        and there.attempt_deadline == wanted.attempt_deadline
    )
