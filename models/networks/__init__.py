"""Networks. Importing a module here imports torch: only training and export do."""
