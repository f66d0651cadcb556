"""Disconnecting from a cluster while another thread of the driver runs, as the exporter to MLflow does."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.cluster

# The thread allocates and drops Ray references: without the guard, they would be collected while Ray shuts down.
SCRIPT = """
import sys, threading, ray
from study.cluster.connection import connected

class Node: pass

def litter():
    while not over.is_set():
        if references:
            node = Node()
            node.itself, node.reference = node, references.pop()
        [[] for _ in range(5000)]

over = threading.Event()
with connected(sys.argv[1], dashboard=False):
    references = [ray.put(0) for _ in range(5000)]
    thread = threading.Thread(target=litter)
    thread.start()
print(f"{len(references)} references left")
over.set()
thread.join()
"""


def test_garbage_that_another_thread_collects_does_not_end_the_driver(shared_ray: str) -> None:
    driver = subprocess.run([sys.executable, "-c", SCRIPT, shared_ray], capture_output=True, text=True, timeout=120)
    assert driver.returncode == 0, driver.stderr
    left = int(driver.stdout.split()[0])
    assert 0 < left < 5000, "the thread was not at it while Ray was shut down"
