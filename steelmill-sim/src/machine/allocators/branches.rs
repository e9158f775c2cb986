//! Branches of machine code to fixed addresses, for x86-64 and AArch64: finding them, and having them go elsewhere.
//!
//! x86-64 is not decoded but searched, at each byte, as instructions may begin at any. What looks like a branch and is none
//! does not lead to the first byte of one of a few hundred functions.

/// A branch, by its place in the code it was found in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) at: usize,
    pub(crate) target: Target,
    form: Form,
}

/// Where a branch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    At(usize),
    /// To the address that a word of memory has: an entry of the global offset table.
    Through(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// x86-64: an opcode of so many bytes, and a distance of 32 bits from the instruction's end.
    Distance { opcode: usize },
    /// x86-64: a call or a jump through memory, of six bytes.
    Memory { is_call: bool },
    /// AArch64: this opcode, and a distance of 26 bits in instructions.
    Words { opcode: u32 },
}

/// The branches of some code of this machine, which is executed at an address. On other processors none are found.
pub(crate) fn of(code: &[u8], address: usize) -> Vec<Branch> {
    match std::env::consts::ARCH {
        "x86_64" => of_x86_64(code, address),
        "aarch64" => of_aarch64(code, address),
        _ => Vec::new(),
    }
}

fn of_x86_64(code: &[u8], address: usize) -> Vec<Branch> {
    let mut branches = Vec::new();
    let mut at = 0;
    // Written so that it is fast unoptimized, too.
    while at < code.len() {
        if matches!(code[at], 0xe8 | 0xe9 | 0x0f | 0xff)
            && let Some(branch) = x86_64_at(code, address, at)
        {
            branches.push(branch);
        }
        at += 1;
    }
    branches
}

fn x86_64_at(code: &[u8], address: usize, at: usize) -> Option<Branch> {
    // `call`, `jmp`; `jcc`; the first two through memory (Intel's Software Developer's Manual, volume 2).
    let form = match code[at] {
        0xe8 | 0xe9 => Form::Distance { opcode: 1 },
        0x0f if matches!(code.get(at + 1), Some(0x80..=0x8f)) => Form::Distance { opcode: 2 },
        0xff if code.get(at + 1) == Some(&0x15) => Form::Memory { is_call: true },
        0xff if code.get(at + 1) == Some(&0x25) => Form::Memory { is_call: false },
        _ => return None,
    };
    let end = at + form.length();
    let distance = i32::from_le_bytes(code.get(end - 4..end)?.try_into().ok()?);
    let to = (address + end).wrapping_add_signed(distance as isize);
    let target = if matches!(form, Form::Memory { .. }) { Target::Through(to) } else { Target::At(to) };
    Some(Branch { at, target, form })
}

fn of_aarch64(code: &[u8], address: usize) -> Vec<Branch> {
    let branch = |(at, word): (usize, &[u8; 4])| {
        let word = u32::from_le_bytes(*word);
        // `b` and `bl` (Arm Architecture Reference Manual, C6.2).
        let opcode = word & !DISTANCE;
        let distance = ((word << 6) as i32 >> 6) as isize * 4;
        let at = at * 4;
        let target = Target::At((address + at).wrapping_add_signed(distance));
        (opcode & 0x7fff_ffff == 0x1400_0000).then_some(Branch { at, target, form: Form::Words { opcode } })
    };
    code.as_chunks().0.iter().enumerate().filter_map(branch).collect()
}

/// The bits of a distance in AArch64's branches.
const DISTANCE: u32 = (1 << 26) - 1;

impl Form {
    fn length(self) -> usize {
        match self {
            Form::Distance { opcode } => opcode + 4,
            Form::Memory { .. } => 6,
            Form::Words { .. } => 4,
        }
    }
}

impl Branch {
    /// Has the branch go to another target, in code at an address; `None` if that is too far away.
    pub(crate) fn redirect(&self, target: usize, code: &mut [u8], address: usize) -> Option<()> {
        let instruction = self.to(target, code, address)?;
        code.get_mut(self.at..self.at + instruction.len())?.copy_from_slice(&instruction);
        Some(())
    }

    fn to(&self, target: usize, code: &[u8], address: usize) -> Option<Vec<u8>> {
        let (begin, length) = (address + self.at, self.form.length());
        let near = |end: usize| i32::try_from(target.wrapping_sub(end) as isize).ok().map(i32::to_le_bytes);
        Some(match self.form {
            Form::Distance { opcode } => {
                let opcode = code.get(self.at..self.at + opcode)?;
                [opcode, &near(begin + length)?].concat()
            }
            // As linkers relax it: the call with a prefix that does nothing, the jump with a byte behind it.
            Form::Memory { is_call: true } => [&[0x67, 0xe8][..], &near(begin + length)?].concat(),
            Form::Memory { is_call: false } => [&[0xe9][..], &near(begin + length - 1)?, &[0xcc]].concat(),
            Form::Words { opcode } => {
                let distance = target.wrapping_sub(begin) as isize / 4;
                let is_near = (-(1 << 25)..1 << 25).contains(&distance);
                is_near.then(|| (opcode | distance as u32 & DISTANCE).to_le_bytes())?.to_vec()
            }
        })
    }
}

/// How long a [`jump`] is.
pub(crate) const JUMP_LENGTH: usize = 16;

/// Code of this machine that jumps to any address.
pub(crate) fn jump(to: usize) -> [u8; JUMP_LENGTH] {
    let address = (to as u64).to_le_bytes();
    let instructions: [u8; 8] = if cfg!(target_arch = "aarch64") {
        // ldr x16, .+8; br x16
        [0x50, 0x00, 0x00, 0x58, 0x00, 0x02, 0x1f, 0xd6]
    } else {
        // jmp qword ptr [rip + 2]; two bytes that are not executed
        [0xff, 0x25, 0x02, 0x00, 0x00, 0x00, 0xcc, 0xcc]
    };
    let mut code = [0; JUMP_LENGTH];
    code[..8].copy_from_slice(&instructions);
    code[8..].copy_from_slice(&address);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where branches go, and where they go once they were changed.
    #[track_caller]
    fn check(of: fn(&[u8], usize) -> Vec<Branch>, code: &[u8], expected: &[Target]) {
        const ADDRESS: usize = 0x40_0000;
        let found = of(code, ADDRESS);
        assert_eq!(found.iter().map(|branch| branch.target).collect::<Vec<_>>(), expected);
        for branch in found {
            let changed = branch.to(0x41_0000, code, ADDRESS).expect("near enough");
            let mut code = code.to_vec();
            code[branch.at..branch.at + changed.len()].copy_from_slice(&changed);
            assert!(
                of(&code, ADDRESS).iter().any(|branch| branch.target == Target::At(0x41_0000)),
                "{branch:?}"
            );
            assert_eq!(branch.redirect(usize::MAX / 2, &mut code, ADDRESS), None);
        }
    }

    #[test]
    fn branches_of_x86_64() {
        // What an assembler makes of `call`, `addr32 call`, `jmp` and `jne` to 0x400100 and behind.
        check(of_x86_64, &[0xe8, 0xfb, 0x00, 0x00, 0x00], &[Target::At(0x40_0100)]);
        check(of_x86_64, &[0x67, 0xe8, 0xfa, 0x00, 0x00, 0x00], &[Target::At(0x40_0100)]);
        check(of_x86_64, &[0x90, 0xe9, 0xfa, 0xff, 0xff, 0xff], &[Target::At(0x40_0000)]);
        check(of_x86_64, &[0x0f, 0x85, 0xfa, 0x00, 0x00, 0x00], &[Target::At(0x40_0100)]);
        check(of_x86_64, &[0xff, 0x15, 0xfa, 0x00, 0x00, 0x00], &[Target::Through(0x40_0100)]);
        check(of_x86_64, &[0xff, 0x25, 0xfa, 0x00, 0x00, 0x00], &[Target::Through(0x40_0100)]);
        // `call rax`, and one that is cut off.
        check(of_x86_64, &[0xff, 0xd0, 0x90, 0x90, 0x90, 0x90, 0xe8, 0x00], &[]);
    }

    #[test]
    fn branches_of_aarch64() {
        // `nop`, `bl .+0xfc`, `b .-8`, `b.ne .+4`, `blr x0`.
        let words: [u32; 5] = [0xd503_201f, 0x9400_003f, 0x17ff_fffe, 0x5400_0021, 0xd63f_0000];
        let code: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        check(of_aarch64, &code, &[Target::At(0x40_0100), Target::At(0x40_0000)]);
    }
}
