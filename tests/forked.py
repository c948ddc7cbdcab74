"""Processes that tests start by the dozen, forked from one that has everything imported and compiled."""

import multiprocessing

forks = multiprocessing.get_context("forkserver")
# There is one server of forks for a whole run, and the list that was given last would count.
forks.set_forkserver_preload(["tests.preloaded"])
