"""A buyer's acceptance of a supplied bundle: what is tried, what came of it, and the signed report."""
