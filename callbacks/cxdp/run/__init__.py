"""One rocking curve's state machine: frames by index, geometry from documents, endings, provisional looks.

The CXDP callback imports it; `preprocess` doesn't.
"""
