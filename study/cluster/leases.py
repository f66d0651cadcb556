"""Leases on artifacts: studies that share a cluster train each artifact once.

A driver acquires an artifact's lease before it hands out the job; while another study holds the lease, it hands out
other jobs, so no worker waits. One actor of the cluster keeps the leases. A lease that its holder does not renew for
`LEASE_SECONDS` (the driver died) expires; all times are of the actor's clock. If the actor's node dies, Ray restarts it
on another node without its leases, so it grants none until every living holder has had time to renew. If two studies
hold a lease all the same, both train the same artifact, and the store keeps the first (`training/artifact_store.py`).
Every driver calls the actor each `RENEW_SECONDS`; the actor ends once none has called for `LEASE_SECONDS`.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

LEASE_SECONDS = 60.0
RENEW_SECONDS = 10.0
RETRY_SECONDS = 1.0  # between two requests for a lease
NAMESPACE = "aesop-study"
ACTOR = "leases-1"  # the number is that of the protocol: studies of different versions may share a cluster

_CALL_SECONDS = 10.0

log = logging.getLogger(__name__)


class LeaseTable:
    """Leases by artifact, each with its holder and its time of expiry."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, restarted: bool = False) -> None:
        """Start empty.

        Args:
            clock: returns seconds.
            restarted: whether leases may be held that this table has lost.
        """
        self._clock = clock
        self._leases: dict[str, tuple[str, float]] = {}
        self._settled_at = clock() + 2 * RENEW_SECONDS if restarted else clock()

    def acquire(self, name: str, holder: str) -> str | None:
        """Grant a lease; return None if it was granted, else its holder."""
        owner = self._owner(name)
        if owner is None and self._clock() < self._settled_at:
            return "another study, perhaps (the lease actor was restarted and waits for the holders to renew)"
        if owner is not None and owner != holder:
            return owner
        self._leases[name] = (holder, self._clock() + LEASE_SECONDS)
        return None

    def renew(self, holder: str, names: list[str]) -> list[str]:
        """Renew leases, also those that a restart lost; return those that another holder has."""
        lost = [name for name in names if self._owner(name) not in (None, holder)]
        for name in set(names) - set(lost):
            self._leases[name] = (holder, self._clock() + LEASE_SECONDS)
        return lost

    def release(self, name: str, holder: str) -> None:
        """Release a lease of this holder."""
        if self._owner(name) == holder:
            del self._leases[name]

    def _owner(self, name: str) -> str | None:
        holder, end = self._leases.get(name, (None, 0.0))
        return holder if self._clock() < end else None


class LeaseActor:
    """Ray actor with the `LeaseTable` of a cluster; it ends when no study uses it."""

    def __init__(self, idle_seconds: float = LEASE_SECONDS) -> None:
        self._table = LeaseTable(restarted=ray.get_runtime_context().was_current_actor_reconstructed)
        self._called = threading.Event()
        threading.Thread(target=self._end_when_idle, args=(idle_seconds,), daemon=True).start()

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the table."""
        self._called.set()
        return getattr(self._table, method)(*arguments)

    def _end_when_idle(self, idle_seconds: float) -> None:
        while self._called.wait(idle_seconds):
            self._called.clear()
            time.sleep(idle_seconds)
        ray.kill(ray.get_runtime_context().current_actor)


class ClusterLeases:
    """A driver's leases on the artifacts of one store; a thread renews them until `close`."""

    def __init__(self, store: str, holder: str) -> None:
        """Set up.

        Args:
            store: name of the artifact store, the same for all studies that share it.
            holder: readable name of this driver, unique in the cluster.
        """
        self._store, self._holder = store, holder
        self._held: set[str] = set()
        self._lock = threading.Lock()  # otherwise a concurrent renewal could acquire a released lease again
        self._refused: dict[str, tuple[str, float]] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)
        self._thread.start()

    def acquire(self, key: str) -> str | None:
        """Acquire an artifact's lease; return None on success, else the holder, or why it is unknown."""
        name = self._name(key)
        owner, until = self._refused.get(name, (None, 0.0))
        if time.monotonic() < until:
            return owner
        try:
            owner = self._call("acquire", name, self._holder)
        except RayError as error:
            owner = f"another study, perhaps (the lease actor does not respond: {type(error).__name__})"
        if owner is None:
            self._held.add(name)
        else:
            self._refused[name] = (owner, time.monotonic() + RETRY_SECONDS)
        return owner

    def release(self, key: str) -> None:
        """Release a lease; if the actor does not respond, the lease expires."""
        name = self._name(key)
        if name not in self._held:
            return
        with self._lock:
            self._held.discard(name)
            try:
                self._call("release", name, self._holder)
            except RayError as error:
                log.warning("the lease of %s could not be released (%s); it will expire", key, type(error).__name__)

    def close(self) -> None:
        """Release all leases and stop the thread: a call after `ray.shutdown` would end the process."""
        self._closed.set()
        self._thread.join()
        for name in list(self._held):
            self.release(name.removeprefix(f"{self._store}/"))

    def _name(self, key: str) -> str:
        return f"{self._store}/{key}"

    def _renew(self) -> None:
        while not self._closed.wait(RENEW_SECONDS):
            try:
                with self._lock:
                    lost = self._call("renew", self._holder, list(self._held))
            except RayError:
                continue  # retry at the next renewal
            for name in lost:
                log.warning("another study trains %s as well; the store keeps the first result", name)

    def _call(self, method: str, *arguments: Any) -> Any:
        """Call the actor; start it if there is none."""
        try:
            return ray.get(lease_actor().call.remote(method, *arguments), timeout=_CALL_SECONDS)
        except RayActorError:
            return ray.get(lease_actor().call.remote(method, *arguments), timeout=_CALL_SECONDS)


def lease_actor(**options: Any) -> Any:
    """Return the handle of the cluster's lease actor, started with Ray's `options` if there is none."""
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(LeaseActor)
    fixed = {"name": ACTOR, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    return actor.options(**fixed, **options).remote()
