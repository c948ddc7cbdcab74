"""The HTTP interface: parse, hand to the service, shape the answer."""
