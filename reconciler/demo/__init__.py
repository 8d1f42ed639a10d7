"""`reconciler demo`: a sample application on embedded servers, before and after a pass."""
