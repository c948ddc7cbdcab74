"""The tests. What is set here holds before any library has made its threads, or a service is started."""

import os

# scikit-learn's threads wait for each other by spinning. On a busy machine that took the demonstration's
# training from 4 s of processor time to 65, and on an idle one they gain a second.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an answer takes is no claim, but of the tests that set this themselves: two processes of tests,
# on a machine with other work, can keep a record waiting for longer than the ten seconds it may take.
os.environ.setdefault("GROUNDS_REQUEST_TIMEOUT_SECONDS", "60")
