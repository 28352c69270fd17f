"""Assembles one rocking curve: frames by index, geometry from documents, endings, provisional verdicts.

The CXDP callback imports it; `preprocess` doesn't.
"""
