"""What runs by itself: reads wishes and sights, decides, writes states and manifests. One table in `registry.py`."""
