"""`reconciler doctor`: checks everything a pass needs before a pass needs it. Writes nothing.

Checks that every start makes stay next to what they check; `doctor` reports them too.
"""
