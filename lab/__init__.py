"""The lab: a local fleet for the linda.ops collection."""
