"""What every test of the Hub client needs: a server that speaks the Hub's protocol, models on it, `rushes weights`."""
from .client import environment, pull, rushes, start
from .disk import Disk
from .repos import git_id, pipeline_files, sha256
from .server import Fault, HubServer, Repo

__all__ = ["Disk", "Fault", "HubServer", "Repo", "environment", "git_id", "pipeline_files", "pull", "rushes", "sha256", "start"]
