"""Ask the trials of this node to save where they are, and wait until they have: for the moment before a node goes.

python cluster/save_and_leave.py [SECONDS]

Kubernetes calls it as a pod's `preStop` hook, others from whatever tells them that a machine will go. A trial
that was told so ends its process; Ray starts it anew on another node, and it goes on from there.
"""

import contextlib
import sys

import psutil

WORKERS = "ray::Worker"  # the title of a process that runs trials and artifacts, one worker each


def main() -> None:
    """Send SIGTERM to each worker, and wait for at most as long as was said."""
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
