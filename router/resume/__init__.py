"""Resume: a stream that broke in one region goes on from another. Pure; the edge does what is said here.

While all is well nothing is parsed: `Kept` holds the events that went out, packed. When the
stream breaks, `delivered` reads them, `obstacle` says whether the request is one that can be
gone on with, `continued` makes the request for the rest, and a `Stitcher` rewrites the events
of the second stream so that the client sees one. `ResumeBudget` bounds how many go on at once,
`Pace` how fast one cluster takes them in.

What is kept equal is the text where it is deterministic, and otherwise its meaning: a chat
template may trim the text that it continues, and the join is cut into tokens anew.
"""
