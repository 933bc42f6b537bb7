"""DSGo: the shared code behind every project, server, report and dashboard of the collection."""

__version__ = "0.1.0"
