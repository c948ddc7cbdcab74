"""The systems that Grounds is compared with; each runs in an environment of its own."""
