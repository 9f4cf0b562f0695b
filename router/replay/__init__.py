"""Replaying a trace's arrivals and lengths against a live endpoint: an open loop that never waits for answers.

A *trace* is a list of arrivals (`traces`, pure); each becomes a body of the right length (`prompts`, pure) that is
sent when its time has come (`pacing`) over our own small client (`client`); what came of it all is a *tally*.
"""
