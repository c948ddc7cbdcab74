"""Published records of a model: what registers, buyers and auditors ask for, made from what is there.

Nothing is invented: what the bundle and the deployment do not say is null, and listed as a gap.
"""
