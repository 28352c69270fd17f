"""How a bundle is made, and which tasks there are; what a bundle says in a task's own words is that task's to read.

Every system's training imports this, and so does whoever reads a bundle; it imports no system itself.
"""
