"""The `tradewind` command: one file a sub-command, loaded when it is asked for (`main`).

What they share: how a running fleet is asked (`admin`), and how a duration is written (`duration`).
"""
