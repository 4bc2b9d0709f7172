"""The environment variables by which a cluster tells a job, and a job its processes, what they are.

The first four are the backend's to set; those that its cluster has no word for are left out.
"""

JOB_ID = "HARMONY_BENCH_JOB_ID"  # the job's id on its cluster
RESTARTS = "HARMONY_BENCH_RESTARTS"  # how often the cluster has queued it again
ENDS_AT = "HARMONY_BENCH_ENDS_AT"  # when its time is up, in unix seconds
QUEUE_AGAIN = "HARMONY_BENCH_QUEUE_AGAIN"  # the command by which it is queued again
WORKER = "HARMONY_BENCH_WORKER"  # set when the attempt's folder was made by the job's worker
CPUS = "HARMONY_BENCH_CPUS"  # the cores of a slot of the local pool
POOL_FRACTION = "HARMONY_BENCH_POOL_FRACTION"  # of the GPU's memory, promised to each process that shares it
CONFIG_HASH = "HARMONY_BENCH_CONFIG_HASH"  # what another agent's command writes into its result
ATTEMPT = "HARMONY_BENCH_ATTEMPT"  # the folder of the attempt that a command's processes make
