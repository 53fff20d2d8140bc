"""Everything that runs on the cluster: media, datasets, training, evaluation and the jobs that join them."""
