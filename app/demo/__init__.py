"""The demonstration: a made-up model of discretionary housing support, served for a first look."""
