"""The actions of the house itself."""

from server.worker.kit import Result, Task, Worker

worker = Worker(service="cloak")


@worker.action("histogram")
def histogram(task: Task) -> Result:
    """Count the users of a dataset by bins of a column: `dataset`, `column`, `bin_width`."""
    asked = task.parameters
    return Result.histogram(
        task.count_users(dataset=asked["dataset"], column=asked["column"], bin_width=asked["bin_width"])
    )
