//! The processor's time stamp counter, which programs read by an instruction (`rdtsc`, `rdtscp`), as the crate quanta does.
//!
//! The kernel can have that instruction raise a signal (`PR_SET_TSC`,
//! [prctl(2)](https://man7.org/linux/man-pages/man2/PR_SET_TSC.2const.html)), on the thread on which a run executes. It is answered
//! with the nanoseconds of the machine's monotonic clock: a counter of 1 GHz.
#![allow(unsafe_code, reason = "answering an instruction; the argument stands beside each place")]

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::OnceLock;

use libc::{siginfo_t, ucontext_t};

use super::raw_calls::is_under_valgrind;
use super::{audit, purity};
use crate::kernel::code::code_at;
use crate::kernel::decisions::mix;
use crate::machine::world::Process;
use crate::machine::{cluster, real, threads};
use crate::schema::system_use::SystemCall;

/// Where the code is that the kernel maps into each process, to read its clocks (vdso(7)).
static OF_KERNEL: OnceLock<Option<Range<usize>>> = OnceLock::new();

/// What handled the signal before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// As long as it lives, the instruction is answered on this thread.
pub(crate) struct Caught {
    /// It is of one thread.
    _not_send: PhantomData<*const ()>,
}

/// Catches this thread's reads of the counter; `None` where the kernel cannot.
pub(crate) fn catch() -> Option<Caught> {
    if is_under_valgrind() || threads::change_by_futex_alone() {
        return None;
    }
    // SAFETY: getauxval(3) takes any type.
    OF_KERNEL.get_or_init(|| code_at(unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) } as usize));
    BEFORE.get_or_init(set_handler);
    raises_signal(true).then_some(Caught { _not_send: PhantomData })
}

impl Drop for Caught {
    fn drop(&mut self) {
        raises_signal(false);
    }
}

fn raises_signal(is_on: bool) -> bool {
    let mode = if is_on { libc::PR_TSC_SIGSEGV } else { libc::PR_TSC_ENABLE };
    real::syscall(libc::SYS_prctl, [libc::PR_SET_TSC as usize, mode as usize, 0, 0, 0, 0]) == 0
}

fn set_handler() -> libc::sigaction {
    let mut before = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: zeros are a sigaction, with an empty mask; the handler keeps to what it says. The kernel writes what was set before.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handle as *const () as usize;
        // std's handler reports an overflow of the stack, on another.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGSEGV, &raw const action, before.as_mut_ptr());
        before.assume_init()
    }
}

/// The length of the instruction at an address, if it is one that reads the counter, and whether it gives the processor's
/// number, too.
///
/// # Safety
/// The address is that of an instruction which was just executed.
unsafe fn read_at(address: usize) -> Option<(usize, bool)> {
    let code: *const u8 = std::ptr::with_exposed_provenance(address);
    // SAFETY: the processor has fetched the instruction, whole. Each byte is read only after those before it were found.
    unsafe {
        match (*code, *code.add(1)) {
            (0x0f, 0x31) => Some((2, false)),
            (0x0f, 0x01) if *code.add(2) == 0xf9 => Some((3, true)),
            _ => None,
        }
    }
}

/// What the counter shows to an instruction at an address: in a program its machine's clock; in the simulation itself and in
/// the kernel's code the processor's.
fn counter(address: usize) -> u64 {
    let is_of_kernel = OF_KERNEL.get().and_then(Option::as_ref).is_some_and(|code| code.contains(&address));
    if let Some(process) = threads::process().filter(|_| !is_of_kernel) {
        audit::note(SystemCall::Instruction);
        return shown_to(process);
    }
    raises_signal(false);
    // SAFETY: the instruction raises no signal now.
    let value = unsafe { std::arch::x86_64::_rdtsc() };
    raises_signal(true);
    value
}

/// What a machine's counter shows: its clock, but each time something more. So libraries that take the jitter of reading it for
/// entropy, as AWS-LC does, find some; it repeats, as all does.
fn shown_to(process: Process) -> u64 {
    let clock = purity::monotonic_nanos();
    cluster::with(process.run, |run| {
        let seed = run.kernel.settings.seed.0;
        let counter = &mut run.hosts[process.machine].counter;
        counter.reads += 1;
        let taken = LEAST_TAKEN + mix(seed ^ counter.reads) % TAKEN_BESIDES;
        counter.last = clock.max(counter.last + taken);
        counter.last
    })
}

/// How much a read takes, in nanoseconds. The crate quanta is content with its calibration if that is less than ten on average.
const LEAST_TAKEN: u64 = 1;
const TAKEN_BESIDES: u64 = 9;

unsafe extern "C" fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: sigaction(2): with SA_SIGINFO it is valid for as long as the handler executes.
    let registers = unsafe { &mut (*context.cast::<ucontext_t>()).uc_mcontext.gregs };
    let address = registers[libc::REG_RIP as usize] as usize;
    // The kernel says SI_KERNEL of an instruction that may not be executed; an address that may not be read has another code.
    // SAFETY: as above.
    let is_instruction = unsafe { (*info).si_code } == libc::SI_KERNEL && cluster::is_simulating();
    // SAFETY: that instruction was executed.
    if let Some((length, has_processor)) = is_instruction.then(|| unsafe { read_at(address) }).flatten() {
        let value = counter(address);
        registers[libc::REG_RAX as usize] = (value & u64::from(u32::MAX)) as i64;
        registers[libc::REG_RDX as usize] = (value >> 32) as i64;
        if has_processor {
            registers[libc::REG_RCX as usize] = 0;
        }
        registers[libc::REG_RIP as usize] += length as i64;
        return;
    }
    // SAFETY: sigaction(2): what was set before is called as it was to be; a default action takes its course when the
    // instruction is executed again.
    unsafe {
        match BEFORE.get() {
            Some(before) if !matches!(before.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN) => {
                let handler: *const () = std::ptr::with_exposed_provenance(before.sa_sigaction);
                type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
                std::mem::transmute::<*const (), Handler>(handler)(signal, info, context);
            }
            _ => {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}
