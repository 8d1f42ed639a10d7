"""The command line. Parses, calls `app`, prints, and says with its exit code how it went.

0 done; 3 done, but some rows could not be judged; 4 Temporal or the database could not be used;
2 wrong usage or configuration; 1 a bug. Every refusal is one line on stderr.
"""
