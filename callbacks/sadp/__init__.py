"""From a diffraction picture to spots about their centre: finding, centring, quality."""
