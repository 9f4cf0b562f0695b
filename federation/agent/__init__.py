"""The agent: one process in a cluster that says, once an interval, what the cluster can serve.

    model servers --scrape--> ServerFacts --summarize--> ModelPools --seal--> one Publisher per store

`scrape` asks every model server at once, each within a bound; `exposition` finds the few
figures we need on a metrics page; `summarize` makes pools of them; `loop` does that on an
absolute schedule and hands the sealed heartbeat to the *publishers*, which never wait for
one another. A model server that does not answer counts as not ready, never as idle.
"""
