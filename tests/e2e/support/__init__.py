"""What every end-to-end test needs: a tiny model, jobs, `rushes run` under mpirun, and what a folder must look like after."""
from .checks import assert_clean, digests, done_counts, events, listing, no_processes, records
from .jobs import expect, poisoned, tiny_model, write_job
from .launch import Launch, binary, launch, run, rushes
from .cases import SKIPPED, Skip, cases_of, main

__all__ = ["Launch", "SKIPPED", "Skip", "assert_clean", "binary", "cases_of", "digests", "done_counts", "events", "expect",
           "launch", "listing", "main", "no_processes", "poisoned", "records", "run", "rushes", "tiny_model", "write_job"]
