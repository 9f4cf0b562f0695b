"""Policies over a fleet in simulated time: `tradewind simulate`, and the routing study.

A discrete-event simulation: one heap of events (`timeline`), replicas that are the emulated model server's own
(`cluster`), agents and front doors that run production's summaries, folds and views (`heartbeats`, `door`), calls of a
trace or a generator (`workload`), faults (`faults`). What decides at a front door is a `strategy`: our policy, or one
of `baselines`. `runs` is one run, `experiment` the shell around many.
"""
