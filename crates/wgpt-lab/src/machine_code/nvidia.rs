//! NVIDIA's. A scheduler issues one instruction per clock, whatever it does, so each takes a turn.

use super::{Kind, Line, trailing_number};

/// The lines of NAK's listing. A block begins with `block 3 L8 [1] -> {`, and an instruction is
/// `@!p0  r1 = ffma r2 r3 r4  // delay=4`, where the destination and the predicate may be missing.
pub(super) fn lines(text: &str) -> Vec<Line> {
    text.lines().filter_map(line).collect()
}

fn line(text: &str) -> Option<Line> {
    let text = text.split("//").next().unwrap_or_default().trim();
    if text.starts_with("block") {
        return text.split_whitespace().find(|word| word.starts_with('L')).map(Line::label);
    }
    if text.is_empty() || text.starts_with('}') {
        return None;
    }
    let (predicate, bare) = match text.strip_prefix('@') {
        Some(rest) => rest.split_once(char::is_whitespace).map(|(predicate, rest)| (Some(predicate), rest.trim()))?,
        None => (None, text),
    };
    let right = bare.split_once(" = ").map_or(bare, |(_, right)| right.trim());
    let op = right.split_whitespace().next()?;
    let kind = kind(op);
    let mut line = Line::instruction(kind, if kind == Kind::Matrix { 0.0 } else { 1.0 }, text);
    if kind == Kind::Branch {
        line.target = right.split_whitespace().find(|word| word.starts_with('L')).map(str::to_string);
        // `bra !up0 L3` has a condition as well.
        let always = right.split_whitespace().nth(1) == Some("pT");
        line.ends = predicate.is_none() && (op.starts_with("bra") && always || op == "exit");
    }
    Some(line)
}

fn kind(op: &str) -> Kind {
    let bytes = || op.split('.').rev().find_map(|part| part.strip_prefix('b')?.parse::<u32>().ok()).unwrap_or(32) / 8;
    let is = |names: &[&str]| {
        let first = op.split('.').next().unwrap_or_default();
        names.contains(&first)
    };
    match op {
        _ if op.starts_with("ld.shared") || is(&["ldsm"]) => {
            let matrices = op.split('.').rev().find_map(|part| part.strip_prefix('x').and_then(trailing_number));
            Kind::WorkgroupLoad(if is(&["ldsm"]) { 4 * matrices.unwrap_or(1) } else { bytes() })
        }
        _ if op.starts_with("st.shared") => Kind::WorkgroupStore(bytes()),
        _ if op.starts_with("ld.global") => Kind::GlobalLoad(bytes()),
        _ if op.starts_with("st.global") => Kind::GlobalStore(bytes()),
        _ if op.starts_with("ld.local") || op.starts_with("st.local") => Kind::Scratch,
        _ if is(&["hmma", "imma"]) => Kind::Matrix,
        _ if is(&["ffma"]) => Kind::MultiplyAdd(1),
        _ if is(&["hfma2"]) => Kind::MultiplyAdd(2),
        _ if op.starts_with("idp4") || op.starts_with("idp.4") => Kind::MultiplyAdd(4),
        _ if is(&["mufu"]) => Kind::Special,
        _ if is(&["f2f", "f2i", "i2f", "f2fp", "i2i", "frnd", "i2fp", "f2ip"]) => Kind::Conversion,
        _ if is(&["shfl"]) => Kind::Shuffle,
        _ if is(&["mov", "sel", "fsel", "prmt", "r2ur", "s2r", "cs2r", "movm", "par_copy", "copy", "ldc", "uldc"]) => {
            Kind::Move
        }
        _ if is(&["bar"]) => Kind::Barrier,
        _ if is(&["bra", "exit", "brk", "bssy", "bsync", "bclear"]) => Kind::Branch,
        _ if is(&["nop"]) => Kind::Wait,
        _ if op.starts_with('f') && !op.starts_with("flo") || op.starts_with('h') => Kind::Float,
        _ => Kind::Integer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_understood() {
        for (text, expected) in [
            ("r1 = ffma.ftz r2 r3 r4                 // delay=4", Kind::MultiplyAdd(1)),
            ("r8..12 = ld.shared.strong.cta.b128 [r3+0x10]", Kind::WorkgroupLoad(16)),
            ("r12..14 = ld.global.a64.constant.b64 [r12..14+rZ], pT", Kind::GlobalLoad(8)),
            ("st.global.a64.strong.gpu.b128 [r12..14+rZ] r0..4", Kind::GlobalStore(16)),
            ("@p0 r1 = f2f.f32.f16.re r12.yy", Kind::Conversion),
            ("r0..4 = hmma.m16n8k16.f32 r0..4 r4..6 r8..12", Kind::Matrix),
            ("r13 = iadd3.x rZ c[0x1][0x14] rZ p1 pF", Kind::Integer),
            ("r13 = mufu.rcp.f32 r2", Kind::Special),
            ("st.local.b32 [0x10] r3", Kind::Scratch),
        ] {
            let found = line(text).and_then(|line| line.instruction).expect("an instruction");
            assert_eq!(found.kind, expected, "{text}");
        }
        let branch = line("@!p0              bra pT L2       // delay=1 wt=000001").expect("a line");
        assert_eq!((branch.target.as_deref(), branch.ends), (Some("L2"), false));
        assert!(line("                  bra pT L9       // delay=1").expect("a line").ends);
        assert!(!line("                  bra !up0 L9     // delay=1").expect("a line").ends);
        assert_eq!(line("block.u 2 L8 [1] -> {").and_then(|line| line.label).as_deref(), Some("L8"));
    }
}
