"""One decision explained in the six kinds of the ICO and the Alan Turing Institute. No HTTP.

*Explaining decisions made with AI* (2020): rationale, responsibility, data, fairness, safety and
performance, impact. Each has a process half, true of every case of one bundle, and an outcome half,
about this case. What nobody has said is ``not_provided`` with the reason, and never made up.
"""
