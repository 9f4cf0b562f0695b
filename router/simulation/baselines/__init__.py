"""What a user might have picked instead, each as its authors describe it.

They see what our own policy sees of health: drained, ejected and unready clusters are no candidates, unless nobody else
is left. What they do with the others is their own: state, probes, normalising over candidates and holding calls back
are all allowed here, and nowhere else.
"""
