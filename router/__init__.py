"""From an incoming call to the last byte back.

A *call* enters by the edge's protocol (edge/protocol), is *admitted* (admission), placed by
a *decision* (policy/decide) over the federation's view, and carried out by an *exchange*
(edge/exchange): *attempts* at candidates in order, *failover* until the first byte, bytes
back as they come. What came of each attempt goes to the federation's feed as an *outcome*.

Pure: call, body, admission, decision, policy/, retry, errors, auth, edge/heads, edge/events,
edge/answers, edge/refusals. Shell: edge/, api/ (FastAPI), cli/, configuration. Root: app.
"""
