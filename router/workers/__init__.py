"""Several processes on one main port: a parent, which takes no calls, and workers, which take nothing else.

The parent binds both ports, starts the workers (fresh interpreters that inherit the listener),
watches over them, probes the clusters for all, and answers on the admin port. Each worker has a
feed of its own and goes on without the parent. They speak over a socket pair, in messages.py's
words; nothing in here waits for the other side without a bound.
"""
