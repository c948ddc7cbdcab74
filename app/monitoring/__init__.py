"""Watching the service and its models while they are used; nothing here is on a decision's path."""
