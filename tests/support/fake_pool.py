"""A stand-in for the pool of workers: it does tasks in this process."""


class FakePool:
    """Calls `worker` for each task, or each file, when its result is asked for; without one files have no results.

    Attributes:
        submitted: the tasks of every call, in the order in which they were given.
        started: those that `worker` was called for, in the order of the calls; backwards where `backwards` is set.
    """

    def __init__(self, worker=None, backwards=False):
        self.worker, self.backwards = worker, backwards
        self.submitted, self.started = [], []

    def map(self, worker, init_args, tasks, actor_options):
        self.submitted += tasks
        for task in reversed(tasks) if self.backwards else tasks:
            self.started.append(task)
            yield self.worker(task)

    def map_files(self, function, files, config, num_retries):
        for file in files:
            self.started.append(file)
            if self.worker:
                yield file, self.worker(file)
