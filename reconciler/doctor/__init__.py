"""`reconciler doctor`: what a pass needs, checked before it is needed. Writes nothing."""
