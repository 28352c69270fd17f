"""Networks of all systems. Importing a module here imports torch.

Only training, export and Grad-CAM import it.
"""
