"""What tests of several storeys share: `pythonpath` in pyproject.toml makes it importable."""
