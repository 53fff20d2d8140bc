"""A stand-in for the pool of workers: it does tasks in this process."""


class FakePool:
    """Calls `worker` for each task when its result is asked for; `started` are the tasks it was called for."""

    def __init__(self, worker=None, backwards=False):
        self.worker, self.backwards, self.started = worker, backwards, []

    def map(self, worker, init_args, tasks, actor_options):
        for task in reversed(tasks) if self.backwards else tasks:
            self.started.append(task)
            yield self.worker(task)

    def map_files(self, function, files, config, num_retries):
        self.started += files
        return iter(())
