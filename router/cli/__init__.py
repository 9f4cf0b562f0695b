"""The `tradewind` command: one file a sub-command, loaded when it is asked for (`main`).

What they share: how a running fleet is asked (`admin`), how a duration is
written (`duration`), and how a table is shown (`screen`).
"""
