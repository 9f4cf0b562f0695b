"""Half an hour of mixed load over regions that fail at random: `make soak`.

An *ask* is one call that will be made and what must come back; a *record* is what came. A
*fault* befalls one region (or the store) for a while, and at least one region is spared at
every moment. A *verdict* says of a call that failed whether it could have been saved. *Samples*
of the front door's process say whether memory and descriptors stay flat.
"""
