"""YAML into a frozen, validated model of the cluster, or into every problem at once.

Pure: text in, model or problems out. Touches no port, no disk and no name service; ``doctor`` does that.
"""
