# shellcheck shell=bash
# The configuration of slurm/testcluster, which sources this file: needs RUN, PORT, CLUSTER, NODES and die.

host_name() {  # slurmctld insists on the host's own name, and listens on what that name resolves to
    local name
    name=$(hostname -s)
    if [[ $(resolve "$name") != 127.* ]] && unshare --uts true 2>/dev/null; then name=localhost; fi
    echo "$name"
}

host_address() {  # loopback, but where the host's name means another address and no namespace may be made
    local found
    found=$(resolve "$(host_name)")
    if [[ $found == 127.* ]]; then echo 127.0.0.1; else echo "$found"; fi
}

resolve() { getent ahostsv4 "$1" | awk 'NR == 1 {print $1}'; }

slurm_is() { [[ $(printf '%s\n%s\n' "$1" "$(slurmctld -V | awk '{print $2}')" | sort -V | head -n1) == "$1" ]]; }  # at least that version

cgroup() {  # v1 where the memory and freezer hierarchies can be written; else Slurm polls memory and kills by itself
    case ${HARMONY_BENCH_SLURM_CGROUP:-auto} in
        v1 | none) echo "$HARMONY_BENCH_SLURM_CGROUP" ;;
        auto) if [[ -w /sys/fs/cgroup/memory/tasks && -w /sys/fs/cgroup/freezer/tasks && -w /sys/fs/cgroup/cpuset/tasks ]] \
                && ! slurm_is 25.05; then echo v1; else echo none; fi ;;
    esac
}

check_settings() {
    [[ ${HARMONY_BENCH_SLURM_CGROUP:-auto} =~ ^(auto|v1|none)$ ]] \
        || die "HARMONY_BENCH_SLURM_CGROUP is '$HARMONY_BENCH_SLURM_CGROUP'; it can be auto, v1 or none"
    [[ -n $(host_address) ]] || die "the host's name $(hostname -s) has no IPv4 address; add it to /etc/hosts"
    [[ $PORT =~ ^[0-9]{4,5}$ ]] || die "HARMONY_BENCH_SLURM_PORT is '$PORT'; a port number is expected"
}

make_folders() {
    mkdir -p "$RUN"
    chmod 755 "$RUN"
    mkdir -p "$RUN"/{munge,log,state,spool,dev}
    local i
    for i in 0 1 2 3; do ln -sfn /dev/null "$RUN/dev/fakegpu$i"; done    # a symlink to a device: plain files give no CUDA_VISIBLE_DEVICES
    if [[ ! -s $RUN/munge/key ]]; then (umask 077 && head -c 128 /dev/urandom >"$RUN/munge/key"); fi
}

write_configuration() {  # write_configuration ACCOUNTING(yes|no)
    make_folders
    echo "$1" >"$RUN/accounting"
    slurm_conf "$1" >"$RUN/slurm.conf"
    gres_conf >"$RUN/gres.conf"
    cgroup_conf >"$RUN/cgroup.conf"
    if [[ $1 == yes ]]; then
        if [[ ! -s $RUN/password ]]; then (umask 077 && head -c 18 /dev/urandom | base64 | tr -d '/+=' >"$RUN/password"); fi
        (umask 077 && slurmdbd_conf >"$RUN/slurmdbd.conf" && init_sql >"$RUN/init.sql")
        chmod 600 "$RUN/slurmdbd.conf"
    fi
}

make_database() {
    if [[ -d $RUN/mariadb/mysql ]]; then return; fi
    mkdir -p -m 700 "$RUN/mariadb"
    mariadb-install-db --no-defaults --user=root --datadir="$RUN/mariadb" --auth-root-authentication-method=normal --skip-test-db \
        >"$RUN/log/mariadb-install.log" 2>&1 || die "MariaDB's tables could not be made; see $RUN/log/mariadb-install.log"
}

init_sql() {
    echo "CREATE DATABASE IF NOT EXISTS slurm_acct_db;"
    echo "CREATE OR REPLACE USER 'slurm'@'127.0.0.1' IDENTIFIED BY '$(cat "$RUN/password")';"
    echo "GRANT ALL ON slurm_acct_db.* TO 'slurm'@'127.0.0.1';"
    echo "ALTER USER 'root'@'localhost' IDENTIFIED VIA unix_socket;"
}

slurmdbd_conf() {
    cat <<TEXT
DbdHost=$(host_name)
DbdAddr=$(host_address)
DbdPort=$((PORT + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=$RUN/munge/socket
CommunicationParameters=NoInAddrAny
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((PORT + 2))
StorageUser=slurm
StoragePass=$(cat "$RUN/password")
StorageLoc=slurm_acct_db
LogFile=$RUN/log/slurmdbd.log
PidFile=$RUN/slurmdbd.pid
TEXT
}

gres_conf() {
    echo "NodeName=n[1-4] Name=gpu Type=fake File=$RUN/dev/fakegpu[0-3]"
    echo "NodeName=n[1-4] Name=shard Count=16"
}

cgroup_conf() {
    if [[ $(cgroup) == v1 ]]; then
        echo "CgroupPlugin=cgroup/v1"
        echo "ConstrainRAMSpace=yes"
        echo "ConstrainSwapSpace=yes"
        echo "AllowedSwapSpace=0"
    fi
}

memory_settings() {  # two ways to keep a job within its memory: the kernel's, or Slurm's own poll
    if [[ $(cgroup) == v1 ]]; then
        echo "ProctrackType=proctrack/cgroup"
        echo "TaskPlugin=task/cgroup"
    else
        echo "ProctrackType=proctrack/pgid"
        echo "TaskPlugin=task/none"
        echo "JobAcctGatherParams=OverMemoryKill"
    fi
}

accounting_settings() {
    if [[ $1 == yes ]]; then
        echo "AccountingStorageType=accounting_storage/slurmdbd"
        echo "AccountingStorageHost=$(host_address)"
        echo "AccountingStoragePort=$((PORT + 1))"
        echo "AccountingStoragePass=$RUN/munge/socket"    # with slurmdbd and munge this names the socket
        echo "AccountingStorageTRES=gres/gpu"
    elif ! slurm_is 23.11; then
        echo "AccountingStorageType=accounting_storage/none"
    fi
}

preempt_signal() { if slurm_is 24.05; then echo "PreemptParameters=send_user_signal"; else echo "SlurmctldParameters=preempt_send_user_signal"; fi; }

slurm_conf() {  # slurm_conf ACCOUNTING(yes|no)
    local host address
    host=$(host_name)
    address=$(host_address)
    cat <<TEXT
ClusterName=$CLUSTER
SlurmctldHost=$host($address)
SlurmctldPort=$PORT
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire is also how long a requeued job waits: 120 s by default
AuthInfo=socket=$RUN/munge/socket,cred_expire=8
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$RUN/state
SlurmdSpoolDir=$RUN/spool/%n
SlurmctldPidFile=$RUN/slurmctld.pid
SlurmdPidFile=$RUN/slurmd-%n.pid
SlurmctldLogFile=$RUN/log/slurmctld.log
SlurmdLogFile=$RUN/log/%n.log
$(memory_settings)
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
SlurmdParameters=config_overrides
$(preempt_signal)
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
RequeueExit=142
EnforcePartLimits=ALL
MaxArraySize=5001
ReturnToService=2
SlurmdTimeout=15
KillWait=5
SchedulerParameters=bf_interval=3,sched_interval=5,batch_sched_delay=0
$(accounting_settings "$1")
GresTypes=gpu,shard
NodeName=n[1-4] NodeHostname=$host NodeAddr=$address Port=[$((PORT + 11))-$((PORT + 14))] CPUs=16 RealMemory=16000 Gres=gpu:fake:4,shard:16 State=UNKNOWN
PartitionName=DEFAULT Nodes=ALL State=UP MaxTime=INFINITE DefaultTime=10
PartitionName=main Default=YES PriorityTier=50 PreemptMode=OFF
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=lowgrace PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=high PriorityTier=100 PreemptMode=OFF
PartitionName=short PriorityTier=50 PreemptMode=OFF MaxTime=1 DefaultTime=1
TEXT
}
