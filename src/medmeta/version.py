"""The version of medmeta, as it stands in cards and reports."""

__version__ = "0.1.0"
