"""How fast LR-Net runs on this machine."""
