"""Make the trials of this node save and stop, and wait for them, before the node is removed.

python cluster/save_and_leave.py [SECONDS]

Kubernetes calls it as a pod's `preStop` hook; elsewhere, call it when the removal is announced. Each trial saves and
ends its process; Ray restarts it on another node, where it resumes.
"""

import contextlib
import sys

import psutil

WORKERS = "ray::Worker"  # title of the processes that run jobs


def main() -> None:
    """Send SIGTERM to each worker and wait for at most SECONDS, 90 by default."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 90.0
    workers = []
    for process in psutil.process_iter(["cmdline"]):
        if " ".join(process.info["cmdline"] or []).startswith(WORKERS):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
                workers.append(process)
    gone, left = psutil.wait_procs(workers, timeout=seconds)
    print(f"{len(gone)} workers have saved and ended, {len(left)} have not within {seconds:g} s")


if __name__ == "__main__":
    main()
