"""The hot path, below ASGI: bytes in, bytes out.

A client's bytes enter `protocol`, which hands an inference call to a `cycle`; its body
complete, the cycle begins an `exchange`; the exchange makes `attempt`s over `upstream`
connections and sends back what comes. `door` is what they all have at hand.

No call waits for a coroutine in here (dialling and `asgi` have them). Memory and time are
bounded: see EdgeSettings and TimeoutSettings.
`heads`, `events`, `answers` and `refusals` are pure. `asgi` runs the same exchange behind any
ASGI server.
"""
