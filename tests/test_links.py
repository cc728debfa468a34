"""A sweep over several hosts whose link is cut."""

from __future__ import annotations

import time
from pathlib import Path

from host_sweep_helpers import ENDLESS, MARKS, WORDS, both_train, check, enough, seconds, taken_up, trains
from hosts_helpers import PORTS, Cluster
from sweep_helpers import poll

pytestmark = MARKS


def test_a_link_is_cut(cluster: Cluster, folder: Path) -> None:
    """Ten seconds cost time only. After 90 s the host has been given up: its pack goes on elsewhere, and what is left
    of it there does no harm when the link is back; Ray started there again, it trains again."""
    away, other = cluster.workers
    with cluster.sweep(cluster.head, folder, *WORDS, ENDLESS) as run:
        both_train(cluster, folder)
        cluster.network.cut(away)
        time.sleep(10)
        cluster.network.mend(away)
        poll(lambda: trains(away), "pack on the host that was away for a moment", 60)
        time.sleep(5)
        assert not taken_up(run.out) and len(cluster.alive()) == 3
        both_train(cluster, folder)
        cluster.network.cut(away)
        cut = time.monotonic()
        lost = seconds(lambda: poll(lambda: taken_up(run.out), "word of a lost host", 150))
        assert away.processes("PackTrainable") + away.processes("ResourceTrainable")
        poll(lambda: trains(other), "pack on the host that is left")  # not between two packs
        time.sleep(max(0, 90 - (time.monotonic() - cut)))
        cluster.network.mend(away)
        left = seconds(lambda: poll(lambda: not away.processes("raylet/raylet"), "end of what was given up", 150))
        # before the head tries an address again that did not answer, it waits; and loses the pack that it sends there
        cluster.join(away, PORTS | {"node-manager-port": 6710})
        back = seconds(lambda: poll(lambda: trains(away), "pack on the host that is back", 150))
        ended = enough(cluster.head, folder, run)
    check(folder, ended, taken_up(ended.out))
    print(
        f"given up after {lost:.0f} s, gone {left:.0f} s after the link was back, training {back:.0f} s after joining"
    )
