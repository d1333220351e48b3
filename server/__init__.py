"""Taskhouse: the server, its command line and the worker kit."""
