"""The world on one machine: model servers that need no accelerator, and the processes of `tradewind up`.

A *replica* is one copy of a model with its queue, batch and KV cache (`batching`, pure; `presets` says how fast it
is). An *emulated cluster* is one process with a few replicas, each on a port with metrics of its own, and one endpoint
that spreads calls over them by least outstanding, as a cluster's own gateway would (`model_server`). Its text is a
function of the prompt (`text`), so that tests compare answers byte for byte, also across a resume. *Faults* are
asked for on a control port.
"""
