"""The actions of the house itself."""

from server.worker.kit import Result, Task, Worker

worker = Worker(service="cloak")


@worker.action("histogram")
def histogram(task: Task) -> Result:
    """Count the users of a dataset: `dataset`, `column`, and `bin_width` or `categories`; `where` says which rows."""
    return Result.histogram(*task.count_users(**task.parameters))
