"""The command line: parses arguments, calls `app`, prints, and exits with the right code.

0 done; 3 done, but some rows could not be judged; 4 Temporal or the database could not be used;
2 wrong usage or configuration; 1 a bug. Every error is one line on stderr. `console` formats the
results, and `app` talks to the servers.
"""
