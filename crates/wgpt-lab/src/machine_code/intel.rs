//! Intel's Xe. A unit is 8 lanes wide: in a subgroup of 16, an instruction for 8 lanes or fewer takes half a turn, and so does
//! a message to memory.

use super::{Kind, Line};

/// The lines of brw's assembly: `L3:`, or `(f0.0) mad (16)  r1:f  r2:f  r3<0>:f  r4<1>:f  {I@2}`. What a message does follows
/// its `//`, as in `load.slm.d32x4.a32`.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let mut lines: Vec<_> = text.lines().filter_map(line).collect();
    // Turns are counted for all lanes of a subgroup, which the widest instructions have.
    let turns = |line: &Line| line.instruction.as_ref().map_or(0.0, |instruction| instruction.slots);
    let widest = lines.iter().map(turns).fold(1.0, f64::max);
    lines.iter_mut().filter_map(|line| line.instruction.as_mut()).for_each(|instruction| instruction.slots /= widest);
    lines
}

fn line(text: &str) -> Option<Line> {
    let text = text.trim();
    if let Some(label) = text.strip_suffix(':').filter(|label| label.starts_with('L')) {
        return Some(Line::label(label));
    }
    // A predicate comes first.
    let bare = match text.strip_prefix('(') {
        Some(rest) => rest.split_once(')')?.1.trim_start(),
        None => text,
    };
    let (op, rest) = bare.split_once('(')?;
    let op = op.trim();
    let (lanes, operands) = rest.split_once(')')?;
    let lanes: f64 = lanes.split('|').next()?.trim().parse().ok()?;
    let kind = match op.starts_with("send") {
        true => message(text.split("//").nth(1).unwrap_or_default()),
        false => kind(op, operands),
    };
    let slots = match kind {
        Kind::Matrix | Kind::Wait => 0.0,
        _ if op.starts_with("send") || kind == Kind::Branch => 1.0,
        _ => (lanes / 8.0).max(1.0),
    };
    let mut line = Line::instruction(kind, slots, text);
    if kind == Kind::Branch {
        let target = operands.split_whitespace().next().map(|word| word.trim_start_matches("jip:"));
        line.target = target.filter(|word| word.starts_with('L')).map(str::to_string);
        // What the closing word of a branch names is where all lanes meet; it jumps only past code without lanes.
        if op == "endif" {
            line.target = None;
        }
    }
    Some(line)
}

/// What a message does, by words like `wr:1+4, rd:0; store.slm.d32x4.a32`.
fn message(text: &str) -> Kind {
    let what = text.split(';').nth(1).unwrap_or_default().trim();
    let parts: Vec<_> = what.split(['.', '[']).collect();
    // A surface of its own holds what did not fit into registers.
    if parts.contains(&"ss") {
        return Kind::Scratch;
    }
    let (size, count) = parts
        .iter()
        .find_map(|part| part.strip_prefix('d')?.split_once('x').or(Some((&part[1..], "1"))))
        .unwrap_or(("32", "1"));
    // Transposed: a block for all lanes together.
    if count.ends_with('t') {
        return Kind::Scalar;
    }
    let bits: u32 = size.trim_end_matches("u32").parse().unwrap_or(32);
    let bytes = bits / 8 * count.parse().unwrap_or(1);
    match (parts.first().copied().unwrap_or_default(), parts.get(1).copied().unwrap_or_default()) {
        ("load", "slm") => Kind::WorkgroupLoad(bytes),
        ("store", "slm") => Kind::WorkgroupStore(bytes),
        ("load", _) => Kind::GlobalLoad(bytes),
        ("store", _) => Kind::GlobalStore(bytes),
        (other, _) if other.starts_with("barrier") => Kind::Barrier,
        _ => Kind::Wait,
    }
}

fn kind(op: &str, operands: &str) -> Kind {
    let first = op.split('.').next().unwrap_or_default();
    let is_float = |operand: &str| operand.ends_with(":f") || operand.ends_with(":hf");
    let mut words = operands.split_whitespace().filter(|word| !word.starts_with('('));
    let to = words.next().unwrap_or_default();
    let float = is_float(to);
    match first {
        "mad" | "mac" if float => Kind::MultiplyAdd(1),
        "dp4a" => Kind::MultiplyAdd(4),
        "dpas" => Kind::Matrix,
        "math" => Kind::Special,
        "sync" if op == "sync.bar" => Kind::Barrier,
        "sync" | "nop" => Kind::Wait,
        "if" | "else" | "endif" | "while" | "break" | "cont" | "halt" | "jmpi" | "goto" | "join" => Kind::Branch,
        "mov" => {
            let from = words.next().unwrap_or_default();
            let immediate = from.starts_with("0x");
            if float == is_float(from) || immediate || !(from.contains(':') || float) {
                Kind::Move
            } else {
                Kind::Conversion
            }
        }
        "sel" | "csel" => Kind::Move,
        "add" | "mul" | "cmp" | "rndd" | "rnde" | "rndz" | "frc" if float || words.clone().any(is_float) => Kind::Float,
        _ => Kind::Integer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_understood() {
        let text = "\
L0:
        mad (16)                  r15:f         r21:f             r56.4<0>:f        r114<1>:f
(W)     mov (8)                   r69:f         r88                               {Compacted,I@1}
        send.slm (8)              r24           r3     null:0  0x00000100  0x02003504   {$15}  // wr:1+0, rd:4; load.slm.d32x4.a32
        send.ugm (8)              r26     r44    null:0  0x00000000  0x62403500   {$1}  // wr:1+0, rd:4; load.ugm.d32x4.a32.bti[0]
(W)     send.ugm (1)              r15     r23    null:0  0x00000000  0x02109580   {$1}  // wr:1+0, rd:1; load.ugm.d32x2t.a64
        send.ugm (8)              null    r23    r9:1    0x00000000  0x02109580   {$1}  // wr:1+1, rd:0; store.ugm.d32.a32.ss[a0.2]
(f0.0)  while (8)                             L0
";
        let lines = lines(text);
        let found: Vec<_> = lines.iter().filter_map(|line| line.instruction.as_ref()).collect();
        let kinds: Vec<_> = found.iter().map(|instruction| instruction.kind).collect();
        let loads = [Kind::WorkgroupLoad(16), Kind::GlobalLoad(16), Kind::Scalar, Kind::Scratch];
        assert_eq!(kinds[..2], [Kind::MultiplyAdd(1), Kind::Conversion]);
        assert_eq!(kinds[2..6], loads);
        assert_eq!(kinds[6], Kind::Branch);
        assert_eq!(found.iter().map(|instruction| instruction.slots).collect::<Vec<_>>()[..3], [1.0, 0.5, 0.5]);
        assert_eq!(lines.last().and_then(|line| line.target.as_deref()), Some("L0"));
    }
}
