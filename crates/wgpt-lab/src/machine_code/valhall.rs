//! ARM's Mali from Valhall on. One instruction per turn; loads and stores are messages, which take a turn as well.

use std::collections::BTreeSet;

use super::{Kind, Line};

/// The lines of Mesa's disassembler: one instruction each, with empty lines between blocks. Branches say how many
/// instructions after the next one they go on.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let instructions: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let target = |place: usize| {
        let branches = instructions[place].starts_with("BRANCH") || instructions[place].starts_with("JUMP");
        let offset: isize = instructions[place].rsplit_once("offset:").filter(|_| branches)?.1.trim().parse().ok()?;
        (place + 1).checked_add_signed(offset)
    };
    let targets: BTreeSet<usize> = (0..instructions.len()).filter_map(target).collect();
    // Registers whose addresses were computed for global memory: all others lie in workgroup memory.
    let mut global = BTreeSet::new();
    let mut lines = Vec::new();
    for (place, text) in instructions.iter().enumerate() {
        if targets.contains(&place) {
            lines.push(Line::label(place.to_string()));
        }
        let written = text.split_once(' ').map_or("", |(_, rest)| rest.split(',').next().unwrap_or("").trim());
        let op = text.split([' ', '.']).next().unwrap_or("");
        let address = text.split_once('[').map_or("", |(_, rest)| rest.split([':', ']']).next().unwrap_or(""));
        let mut line = Line::instruction(kind(op, text, global.contains(address.trim_end_matches('^'))), 1.0, text);
        if op != "STORE" {
            registers(written).for_each(|register| {
                global.remove(register);
            });
        }
        if op == "LEA_PKA" || op == "LEA_BUF" {
            global.extend(registers(written));
        }
        if let Some(target) = target(place) {
            line.target = Some(target.to_string());
            // Compared with nothing, the condition always holds.
            line.ends = op == "JUMP" || (text.contains(".eq") && written == "0x0");
        }
        line.ends |= op == "NOP" && text.contains(".end");
        lines.push(line);
    }
    lines
}

/// `@r4:r5:r6:r7`, or one register.
fn registers(written: &str) -> impl Iterator<Item = &str> {
    written.trim_start_matches('@').split(':').map(|register| register.trim_end_matches('^'))
}

fn kind(op: &str, text: &str, global: bool) -> Kind {
    let bytes =
        || text.split(['.', ' ']).find_map(|word| word.strip_prefix('i')?.parse::<u32>().ok()).unwrap_or(32) / 8;
    let is = |starts: &[&str]| starts.iter().any(|start| op.starts_with(start));
    match op {
        _ if is(&["NOP"]) => Kind::Wait,
        _ if is(&["BRANCH", "JUMP"]) => Kind::Branch,
        "BARRIER" => Kind::Barrier,
        "LOAD" | "STORE" if text.contains("thread_local_pointer") => Kind::Scratch,
        "LOAD" if global => Kind::GlobalLoad(bytes()),
        "LOAD" => Kind::WorkgroupLoad(bytes()),
        "STORE" if global => Kind::GlobalStore(bytes()),
        "STORE" => Kind::WorkgroupStore(bytes()),
        _ if is(&["LD_"]) => Kind::GlobalLoad(bytes()),
        _ if is(&["ST_"]) => Kind::GlobalStore(bytes()),
        // The addend of a mere product is a constant.
        "FMA" if text.ends_with("0x0.neg") => Kind::Float,
        "FMA" if text.contains(".v2f16") => Kind::MultiplyAdd(2),
        "FMA" => Kind::MultiplyAdd(1),
        "IDP4A" | "IDPADD" => Kind::MultiplyAdd(4),
        _ if is(&["FRCP", "FRSQ", "FEXP", "FLOG", "FSQRT", "FSIN", "FCOS"]) => Kind::Special,
        _ if op.contains("_TO_") => Kind::Conversion,
        _ if is(&["MOV", "CSEL", "MUX", "MKVEC", "SWZ"]) => Kind::Move,
        _ if is(&["CLPER", "WMASK"]) => Kind::Shuffle,
        _ if op.starts_with('F') => Kind::Float,
        _ => Kind::Integer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_understood_and_branches_count_instructions() {
        let lines = lines(
            "   MOV.i32 r9, workgroup_local_pointer.w1
   LOAD.i128.unsigned.slot0.wait0 @r4:r5:r6:r7, [r8^:r9^], offset:0

   FMA.f32 r1, r4^, r5^, r1^
   FMA.f32 r2, r2^, u3.w1, 0x0.neg
   LOAD.i32.force.unsigned.slot1 @r3, thread_local_pointer.w0, offset:128
   LD_PKA.i128.unsigned.slot2 @r2:r3:r4:r5, r2^, 0x1000000
   LEA_PKA.slot1 @r10:r11, r1^, u9.w1
   STORE.i128.slot0 @r4:r5:r6:r7, [r10^:r11^], offset:0
   STORE.i128.slot0 @r4:r5:r6:r7, [r8^:r9^], offset:0
   BRANCHZ.reconverge r1^.h0, offset:1

   BRANCHZ.eq.reconverge 0x0, offset:-10

   NOP.end ",
        );
        let kinds: Vec<_> = lines.iter().filter_map(|line| Some(line.instruction.as_ref()?.kind)).collect();
        let expected = [
            Kind::Move,
            Kind::WorkgroupLoad(16),
            Kind::MultiplyAdd(1),
            Kind::Float,
            Kind::Scratch,
            Kind::GlobalLoad(16),
            Kind::Integer,
            Kind::GlobalStore(16),
            Kind::WorkgroupStore(16),
            Kind::Branch,
            Kind::Branch,
            Kind::Wait,
        ];
        assert_eq!(kinds, expected);
        let branches: Vec<_> = lines.iter().filter_map(|line| Some((line.target.as_deref()?, line.ends))).collect();
        assert_eq!(branches, [("11", false), ("1", true)]);
        assert_eq!(lines[1].label.as_deref(), Some("1"));
    }
}
