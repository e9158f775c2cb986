//! What the kernel tells of a machine and of the process that asks, as files (proc(5), sysfs(5)): those that libraries read.
//!
//! The machine answers, not the one that simulates, so that a run repeats elsewhere. No processor time is used, and no memory is
//! counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::UNIX_EPOCH;

use super::cluster::Cluster;
use super::limits::Limit;
use super::world::Process;

/// The CPUs of every machine.
pub(crate) const CPUS: usize = 4;

/// The memory of each machine, in bytes, and what is free of it.
pub(crate) const MEMORY: u64 = 8 << 30;
pub(crate) const FREE: u64 = 4 << 30;

/// How many bytes a page has.
pub(crate) const PAGE: u64 = 4096;

/// What every process is said to have in memory.
const RESIDENT: u64 = 16 << 20;

/// The user and the group of every process, who has no entry in passwd(5).
pub(crate) const USER: u32 = 1000;

/// The parent of every process: the machine's init system.
pub(crate) const PARENT: i32 = 1;

/// The number of a machine's first process; every life of a machine has another.
const FIRST_PROCESS: u32 = 1000;

/// How often in a second the kernel counts time (USER_HZ).
const TICKS: u64 = 100;

const SECOND: u64 = 1_000_000_000;

pub(crate) fn process_number(process: Process) -> i32 {
    (FIRST_PROCESS + process.machine * 1000 + process.incarnation % 1000) as i32
}

/// What processes have set for themselves that has no effect here (prctl(2)), by machine and operation.
#[derive(Default)]
pub(crate) struct Attributes(BTreeMap<(u32, i32), u64>);

impl Attributes {
    pub(crate) fn set(&mut self, machine: u32, operation: i32, value: u64) {
        self.0.insert((machine, operation), value);
    }

    pub(crate) fn get(&self, machine: u32, operation: i32) -> Option<u64> {
        self.0.get(&(machine, operation)).copied()
    }
}

impl Cluster {
    /// A process has ended.
    pub(super) fn attributes_gone(&mut self, machine: u32) {
        self.attributes.0.retain(|(of, _), _| *of != machine);
    }

    /// What is in such a file; `None` if there is none at that path.
    pub(super) fn proc_file(&self, process: Process, path: &str) -> Option<String> {
        let own = ["/proc/self/", "/proc/thread-self/", &format!("/proc/{}/", process_number(process))]
            .iter()
            .find_map(|prefix| path.strip_prefix(prefix));
        match own {
            Some(file) => self.file_of_process(process, file),
            None => self.file_of_machine(process.machine, path),
        }
    }

    fn file_of_process(&self, process: Process, file: &str) -> Option<String> {
        let name = &self.hosts[process.machine].name;
        let name: String = name.chars().take(15).collect();
        let number = process_number(process);
        let threads = self.threads.count(process.machine).max(1);
        let pages = RESIDENT / PAGE;
        Some(match file {
            "comm" => format!("{name}\n"),
            "cmdline" => self.command_line(process.machine),
            "stat" => {
                let zeros = |count: usize| " 0".repeat(count);
                format!(
                    "{number} ({name}) S {PARENT} {number} {number} 0 -1 4194304{} 20 0 {threads} 0 0 {RESIDENT} {pages} \
                     18446744073709551615{}\n",
                    zeros(8),
                    zeros(27)
                )
            }
            "statm" => format!("{pages} {pages} 0 0 0 0 0\n"),
            "status" => format!(
                "Name:\t{name}\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t{number}\nNgid:\t0\nPid:\t{number}\nPPid:\t{PARENT}\n\
                 TracerPid:\t0\nUid:\t{USER}\t{USER}\t{USER}\t{USER}\nGid:\t{USER}\t{USER}\t{USER}\t{USER}\nFDSize:\t256\n\
                 Groups:\t\nVmPeak:\t{kilo} kB\nVmSize:\t{kilo} kB\nVmHWM:\t{kilo} kB\nVmRSS:\t{kilo} kB\nVmData:\t{kilo} kB\n\
                 VmSwap:\t0 kB\nThreads:\t{threads}\nNoNewPrivs:\t0\nSeccomp:\t0\nCpus_allowed:\t{mask:x}\n\
                 Cpus_allowed_list:\t0-{last}\n",
                kilo = RESIDENT / 1024,
                mask = (1 << CPUS) - 1,
                last = CPUS - 1,
            ),
            "limits" => self.limits_file(process.machine),
            _ => return None,
        })
    }

    /// The arguments of a machine's program, each with a zero behind it.
    fn command_line(&self, machine: u32) -> String {
        let found = self.machines.iter().find(|other| other.id() == machine);
        let arguments = found.map(|machine| machine.arguments()).unwrap_or_default();
        let name = self.hosts[machine].name.to_string();
        std::iter::once(name).chain(arguments).map(|argument| argument + "\0").collect()
    }

    fn limits_file(&self, machine: u32) -> String {
        const NAMES: [(&str, &str); 16] = [
            ("Max cpu time", "seconds"),
            ("Max file size", "bytes"),
            ("Max data size", "bytes"),
            ("Max stack size", "bytes"),
            ("Max core file size", "bytes"),
            ("Max resident set", "bytes"),
            ("Max processes", "processes"),
            ("Max open files", "files"),
            ("Max locked memory", "bytes"),
            ("Max address space", "bytes"),
            ("Max file locks", "locks"),
            ("Max pending signals", "signals"),
            ("Max msgqueue size", "bytes"),
            ("Max nice priority", ""),
            ("Max realtime priority", ""),
            ("Max realtime timeout", "us"),
        ];
        let told = |limit: u64| if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
        let mut file = format!("{:<26}{:<21}{:<21}{:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
        for (kind, (name, unit)) in (0..).zip(NAMES) {
            let Ok(Limit { soft, hard }) = self.limits.get(machine, kind) else { continue };
            // Writing to a string cannot fail.
            let _ = writeln!(file, "{name:<26}{:<21}{:<21}{unit:<10}", told(soft), told(hard));
        }
        file
    }

    fn file_of_machine(&self, machine: u32, path: &str) -> Option<String> {
        let kilo = |bytes: u64| bytes / 1024;
        let up = self.boot_now(machine);
        Some(match path {
            "/proc/meminfo" => format!(
                "MemTotal: {total:>15} kB\nMemFree: {free:>16} kB\nMemAvailable: {free:>11} kB\nBuffers: {zero:>16} kB\n\
                 Cached: {cached:>17} kB\nSwapCached: {zero:>13} kB\nShmem: {zero:>18} kB\nSReclaimable: {zero:>11} kB\n\
                 SwapTotal: {zero:>14} kB\nSwapFree: {zero:>15} kB\n",
                total = kilo(MEMORY),
                free = kilo(FREE),
                cached = 0,
                zero = 0,
            ),
            "/proc/cpuinfo" => (0..CPUS).map(cpu_info).collect(),
            "/proc/stat" => {
                let idle = up / (SECOND / TICKS);
                let line = |name: &str, idle: u64| format!("{name} 0 0 0 {idle} 0 0 0 0 0 0\n");
                let started = self.wall(machine).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let mut file = line("cpu ", idle * CPUS as u64);
                file.extend((0..CPUS).map(|cpu| line(&format!("cpu{cpu}"), idle)));
                file + &format!(
                    "intr 0\nctxt 0\nbtime {}\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n",
                    started.saturating_sub(up / SECOND)
                )
            }
            "/proc/loadavg" => "0.00 0.00 0.00 1/1 1000\n".to_owned(),
            "/proc/uptime" => {
                let hundredths = up / (SECOND / 100);
                let told = |hundredths: u64| format!("{}.{:02}", hundredths / 100, hundredths % 100);
                format!("{} {}\n", told(hundredths), told(hundredths * CPUS as u64))
            }
            "/proc/sys/kernel/ostype" => "Linux\n".to_owned(),
            "/proc/sys/kernel/pid_max" => "4194304\n".to_owned(),
            "/proc/sys/kernel/threads-max" => "63000\n".to_owned(),
            "/proc/sys/kernel/random/boot_id" => format!("{}\n", self.uuid_of(machine)),
            "/proc/sys/net/core/somaxconn" => "4096\n".to_owned(),
            "/proc/sys/fs/file-max" => "9223372036854775807\n".to_owned(),
            "/proc/sys/vm/overcommit_memory" => "0\n".to_owned(),
            "/proc/sys/vm/max_map_count" => "65530\n".to_owned(),
            "/proc/self/cgroup" => return None,
            "/sys/devices/system/cpu/online"
            | "/sys/devices/system/cpu/possible"
            | "/sys/devices/system/cpu/present" => format!("0-{}\n", CPUS - 1),
            "/sys/kernel/mm/transparent_hugepage/enabled" => "always [madvise] never\n".to_owned(),
            "/etc/machine-id" | "/var/lib/dbus/machine-id" => {
                format!("{}\n", self.uuid_of(machine).replace('-', ""))
            }
            "/etc/os-release" | "/usr/lib/os-release" => {
                "NAME=\"Linux\"\nID=linux\nPRETTY_NAME=\"Linux\"\n".to_owned()
            }
            _ => return None,
        })
    }

    /// A number that no other machine has.
    fn uuid_of(&self, machine: u32) -> String {
        format!("00000000-0000-4000-8000-{machine:012x}")
    }
}

fn cpu_info(cpu: usize) -> String {
    format!(
        "processor\t: {cpu}\nvendor_id\t: steelmill\nmodel name\t: simulated\ncpu MHz\t\t: 1000.000\nphysical id\t: 0\n\
         siblings\t: {CPUS}\ncore id\t\t: {cpu}\ncpu cores\t: {CPUS}\n\n"
    )
}
