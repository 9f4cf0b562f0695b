"""What we believe about the clusters, and how we came to believe it.

A cluster's *agent* says what it has in a signed *heartbeat* (model, wire), written to every
*store* (store/). A front door's *feed* reads the stores, *folds* what it heard, what its
*probes* saw and what came of its calls (*outcomes*) into an immutable *snapshot*, and swaps
it whole. The snapshot seen at one instant is the *view*, which decisions read.

Three judgements, kept apart: *liveness* is about the heartbeat (fresh, stale, lost);
*standing* is about the cluster (admitted, ejected, on probation); a *drain* is an operator's
wish. Silence alone never takes a cluster out.

Pure: model, wire, liveness, ejection, fold, capacity, view, geography, inventory,
transitions, outcome. Shell: feed, probe, store/redis, agent/, embedded, loops, clock.
lab/ is the world on one machine: the emulated model server and `tradewind up`.
"""
