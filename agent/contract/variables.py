"""The environment variables by which a job tells its processes what it is: each is set in one place and read here."""

JOB_ID = "HARMONY_BENCH_JOB_ID"  # the job's id on its cluster
WORKER = "HARMONY_BENCH_WORKER"  # set when the attempt's folder was made by the job's worker
CPUS = "HARMONY_BENCH_CPUS"  # the cores of a slot of the local pool
POOL_FRACTION = "HARMONY_BENCH_POOL_FRACTION"  # of the GPU's memory, promised to each process that shares it
CONFIG_HASH = "HARMONY_BENCH_CONFIG_HASH"  # what another agent's command writes into its result
