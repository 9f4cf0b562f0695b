"""Both parsers' glue and the whole edge under random input, judged by a strict reader of our own.

Everything runs in memory and in virtual time, so that a seed gives the same run again and a
second holds thousands of cases: `loop` and `transports` stand in for the event loop and for
sockets, `world` is a front door between clients and clusters made of them. `sockets` does the
same over real ones. `make fuzz` runs all of it for as long as it is told.
"""
