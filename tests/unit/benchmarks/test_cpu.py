import os
import subprocess
import sys
import threading

from tests.benchmarks.cpu import cpu_s, rss_kb, tree_of

BURN = """
import sys, threading, time
def burn():
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        pass
thread = threading.Thread(target=burn); thread.start(); thread.join()
print("burnt", flush=True); sys.stdin.read()
"""


def test_threads_that_ended_count_too() -> None:
    with subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        assert cpu_s([child.pid]) >= 0.05
        assert rss_kb([child.pid]) > 1_000
        assert child.pid in tree_of(os.getpid())
        child.stdin.close()


def test_tree_holds_children_of_every_thread() -> None:
    found: list[int] = []

    def start() -> None:
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
            found.append(child.pid)
            found.extend(tree_of(os.getpid()))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert found[0] in found[1:]
