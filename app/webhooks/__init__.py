"""Events to other systems: CloudEvents, signed, sent from the log by index, at least once, in order.

The log is the queue: each endpoint has a durable place in it, and what was not acknowledged is sent
again after a fault or a restart. Nothing of a person is in an event: what a leaf shows, and less.
"""
