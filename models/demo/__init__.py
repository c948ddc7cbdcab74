"""The demonstration model: synthetic applications for discretionary housing support.

Everything in it is invented: the council, the people, the decisions. ``data`` makes the
applications, ``train`` fits and converts the model, ``card`` describes it, ``build`` writes the
bundle and ``cases`` has a few applications to try it with.
"""
