"""Who trains which artifact, so that each is trained once on a cluster, by however many studies.

A driver takes an artifact's lease before it hands the job out, and hands out something else while another study has it:
nothing waits inside a worker. The leases are kept by one actor of the cluster. A holder that does not renew its leases
for `LEASE_SECONDS` (its driver died) has lost them; time is the actor's own, so that no two clocks are compared. The
actor is restarted on another node when its own dies. It comes back empty and gives out nothing until every living
holder has had the time to say what it holds. Two who hold a lease nevertheless do harm to nobody: what they train is
the same, and the artifact store keeps the first (`training/artifact_store.py`).
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
ASK_SECONDS = 1.0  # between two times that a lease is asked for
NAMESPACE = "aesop-study"
ACTOR = "leases-1"  # the number changes with the protocol: studies of different versions may share a cluster

_CALL_SECONDS = 10.0

log = logging.getLogger(__name__)


class LeaseTable:
    """What the actor keeps: leases by artifact, each with its holder and the time at which it ends."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, restarted: bool = False) -> None:
        """Start empty.

        Args:
            clock: seconds.
            restarted: leases were given that this table does not know of.
        """
        self._clock = clock
        self._leases: dict[str, tuple[str, float]] = {}
        self._settled_at = clock() + 2 * RENEW_SECONDS if restarted else clock()

    def acquire(self, name: str, holder: str) -> str | None:
        """Give a lease; None if it was given, else who has it."""
        owner = self._owner(name)
        if owner is None and self._clock() < self._settled_at:
            return "(the keeper of leases was restarted, and asks around who has them)"
        if owner is not None and owner != holder:
            return owner
        self._leases[name] = (holder, self._clock() + LEASE_SECONDS)
        return None

    def renew(self, holder: str, names: list[str]) -> list[str]:
        """Prolong leases, and take up what a restart forgot; returns those that somebody else has by now."""
        lost = [name for name in names if self._owner(name) not in (None, holder)]
        for name in set(names) - set(lost):
            self._leases[name] = (holder, self._clock() + LEASE_SECONDS)
        return lost

    def release(self, name: str, holder: str) -> None:
        """Give a lease back."""
        if self._owner(name) == holder:
            del self._leases[name]

    def _owner(self, name: str) -> str | None:
        holder, end = self._leases.get(name, (None, 0.0))
        return holder if self._clock() < end else None


class Keeper:
    """The actor: a `LeaseTable` that all drivers of a cluster reach."""

    def __init__(self) -> None:
        self._table = LeaseTable(restarted=ray.get_runtime_context().was_current_actor_reconstructed)

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the table."""
        return getattr(self._table, method)(*arguments)


class ClusterLeases:
    """A driver's leases on the artifacts of one store; renewed by a thread until `close`."""

    def __init__(self, store: str, holder: str) -> None:
        """Set up.

        Args:
            store: names the artifact store, the same for all studies that share it.
            holder: says who this is, to a person who reads it; no other driver says the same.
        """
        self._store, self._holder = store, holder
        self._held: set[str] = set()
        self._asking = threading.Lock()  # or a renewal under way would take up again what is given back meanwhile
        self._refused: dict[str, tuple[str, float]] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)
        self._thread.start()

    def acquire(self, key: str) -> str | None:
        """Take an artifact's lease; None if it is ours now, else who has it, or why nobody can tell."""
        name = self._name(key)
        owner, until = self._refused.get(name, (None, 0.0))
        if time.monotonic() < until:
            return owner
        try:
            owner = self._ask("acquire", name, self._holder)
        except RayError as error:
            owner = f"(the keeper of leases does not answer: {type(error).__name__})"
        if owner is None:
            self._held.add(name)
        else:
            self._refused[name] = (owner, time.monotonic() + ASK_SECONDS)
        return owner

    def release(self, key: str) -> None:
        """Give a lease back; one that cannot be given back ends by itself."""
        name = self._name(key)
        if name not in self._held:
            return
        with self._asking:
            self._held.discard(name)
            try:
                self._ask("release", name, self._holder)
            except RayError as error:
                log.warning("the lease of %s could not be given back (%s)", key, type(error).__name__)

    def close(self) -> None:
        """Give back what is held, and ask nothing more: after `ray.shutdown` that would end the process."""
        self._closed.set()
        self._thread.join()
        for name in list(self._held):
            self.release(name.removeprefix(f"{self._store}/"))

    def _name(self, key: str) -> str:
        return f"{self._store}/{key}"

    def _renew(self) -> None:
        while not self._closed.wait(RENEW_SECONDS):
            try:
                with self._asking:
                    lost = self._ask("renew", self._holder, list(self._held)) if self._held else []
            except RayError:
                continue  # the next time
            for name in lost:
                log.warning("%s is being trained by another study as well; the first to finish counts", name)

    def _ask(self, method: str, *arguments: Any) -> Any:
        """Call the actor, and start it where there is none (any more)."""
        try:
            return ray.get(keeper().call.remote(method, *arguments), timeout=_CALL_SECONDS)
        except RayActorError:
            return ray.get(keeper().call.remote(method, *arguments), timeout=_CALL_SECONDS)


def keeper(**options: Any) -> Any:
    """The handle of the cluster's one actor, which is started if there is none; `options` as Ray's."""
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Keeper)
    fixed = {"name": ACTOR, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
    return actor.options(**fixed, **options).remote()
