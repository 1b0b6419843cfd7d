//! Which system calls the process, and `nft` that it runs, may make (seccomp).
//!
//! An allow-list. What is not on it fails with ENOSYS, as on a kernel that does not have the call: a C library
//! that has learnt a new one then takes the old one, and routing does not die at night for an update. Nothing
//! is killed. What always holds: none of the calls that change what a process is (user, namespaces, mounts,
//! modules, tracing, keyrings, BPF) is on the list; sockets are of the families that BGP and netlink need.

use std::collections::BTreeMap;

use libc::{c_long, c_ulong};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Memory, threads, signals, time, and what a process may know of itself.
const PROCESS: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // To whom, the user and Landlock decide.
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_tkill,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getpgid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_getrandom,
    libc::SYS_getrlimit,
    libc::SYS_prlimit64,
    libc::SYS_getrusage,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_umask,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    // They can only take away.
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
];

/// Files; which ones, Landlock says.
const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_statfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_ftruncate,
    libc::SYS_fadvise64,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_mkdirat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
];

/// Sockets, once they are made.
const SOCKETS: &[c_long] = &[
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
];

/// Calls that newer architectures do without.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_arch_prctl,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_mkdir,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_getpgrp,
    libc::SYS_renameat,
    libc::SYS_time,
];
#[cfg(target_arch = "aarch64")]
const OLDER: &[c_long] = &[libc::SYS_renameat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const OLDER: &[c_long] = &[];

/// What running `nft` takes beside.
const PROGRAMS: &[c_long] = &[libc::SYS_execve, libc::SYS_wait4, libc::SYS_waitid];
#[cfg(target_arch = "x86_64")]
const OLDER_PROGRAMS: &[c_long] = &[libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const OLDER_PROGRAMS: &[c_long] = &[];

/// `nft` alone asks with these; the rest of them stays shut.
const OPERATIONS: [i32; 6] = [
    libc::PR_SET_NAME,
    libc::PR_CAP_AMBIENT,
    libc::PR_CAPBSET_READ,
    libc::PR_CAPBSET_DROP,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_SET_VMA,
];

/// A namespace of its own is no thread's.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// Routes and links; nftables; and what drivers are told (ethtool).
const NETLINK: [i32; 3] = [
    libc::NETLINK_ROUTE,
    libc::NETLINK_NETFILTER,
    libc::NETLINK_GENERIC,
];

/// They put words into a terminal's mouth.
const TERMINAL: [c_ulong; 2] = [libc::TIOCSTI as c_ulong, libc::TIOCLINUX as c_ulong];

/// A condition on an argument.
type Condition = (u8, SeccompCmpOp, u64);

/// Lets all threads make these calls and no others, for good. `runs_programs`: `nft` may be started.
///
/// # Errors
/// Why there is no filter, in words.
pub(super) fn restrict(runs_programs: bool) -> Result<(), String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)
        .map_err(|_| format!("none is known for {}", std::env::consts::ARCH))?;
    let program = program(arch, runs_programs).map_err(|error| error.to_string())?;
    seccompiler::apply_filter_all_threads(&program)
        .map_err(|error| format!("the kernel refuses it ({error})"))
}

fn program(arch: TargetArch, runs_programs: bool) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let lists = [PROCESS, FILES, SOCKETS, OLDER];
    let of_programs = [PROGRAMS, OLDER_PROGRAMS];
    let of_programs = of_programs.into_iter().filter(|_| runs_programs);
    for call in lists.into_iter().chain(of_programs).flatten() {
        rules.insert(*call, Vec::new());
    }
    for (call, alternatives) in limited(runs_programs) {
        let of_call = rules.entry(call).or_default();
        for conditions in alternatives {
            of_call.push(rule(conditions)?);
        }
    }
    let refused = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = SeccompFilter::new(rules, refused, SeccompAction::Allow, arch)?;
    filter.try_into()
}

/// Calls of which only some are let through: for each the alternatives, each of conditions that hold together.
fn limited(runs_programs: bool) -> Vec<(c_long, Vec<Vec<Condition>>)> {
    let is =
        |argument: u8, value: i32| (argument, SeccompCmpOp::Eq, u64::from(value.unsigned_abs()));
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];
    let mut sockets: Vec<Vec<Condition>> = families.map(|family| vec![is(0, family)]).into();
    for protocol in NETLINK {
        sockets.push(vec![is(0, libc::AF_NETLINK), is(2, protocol)]);
    }
    // The number of an operation is 32 bits wide, whatever stands above them.
    let not = |number: c_ulong| (1, SeccompCmpOp::Ne, number);
    // A program is begun in a process of its own; without one, only threads are.
    let threads = libc::CLONE_THREAD.unsigned_abs();
    let namespaces = u64::from(NAMESPACES.unsigned_abs());
    let mut clone = vec![(0, SeccompCmpOp::MaskedEq(namespaces), 0)];
    if !runs_programs {
        clone.push((
            0,
            SeccompCmpOp::MaskedEq(u64::from(threads)),
            u64::from(threads),
        ));
    }
    vec![
        (libc::SYS_socket, sockets),
        (libc::SYS_socketpair, vec![vec![is(0, libc::AF_UNIX)]]),
        (libc::SYS_ioctl, vec![TERMINAL.map(not).into()]),
        (
            libc::SYS_prctl,
            OPERATIONS.map(|operation| vec![is(0, operation)]).into(),
        ),
        (libc::SYS_clone, vec![clone]),
    ]
}

fn rule(conditions: Vec<Condition>) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions.into_iter().map(|(argument, operator, value)| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}
