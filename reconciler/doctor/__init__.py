"""`reconciler doctor`: checks everything a pass needs before it is needed. Writes nothing.

Checks that every start makes stay with what they check; `doctor` reports them, too.
"""
