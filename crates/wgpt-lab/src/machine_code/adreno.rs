//! Qualcomm's Adreno. One instruction per turn; repeats and the waits written into an instruction take turns as well.

use super::{Kind, Line};

/// The lines of ir3's assembly: `l52:` or an instruction after flags like `(sy)(rpt2)(nop3)`.
pub(super) fn lines(text: &str) -> Vec<Line> {
    text.lines().flat_map(line).collect()
}

fn line(text: &str) -> Vec<Line> {
    let text = text.trim();
    if text.is_empty() || text.starts_with([';', '@']) || text.starts_with("Native") {
        return Vec::new();
    }
    if let Some(label) = text.strip_suffix(':').filter(|label| label.starts_with('l')) {
        return vec![Line::label(label)];
    }
    let flag = |name: &str| {
        let rest = text.split_once(&format!("({name}"))?.1;
        rest.split(')').next()?.parse::<usize>().ok()
    };
    // Flags precede the instruction.
    let mut bare = text;
    while let Some(rest) = bare.strip_prefix('(') {
        bare = rest.split_once(')').map_or("", |(_, rest)| rest.trim_start());
    }
    let Some(op) = bare.split_whitespace().next() else { return Vec::new() };
    let kind = kind(op, bare);
    let mut lines = vec![Line::instruction(Kind::Wait, 1.0, "nop"); flag("nop").unwrap_or(0)];
    let repeats = flag("rpt").unwrap_or(0) + 1;
    lines.extend(vec![Line::instruction(kind, 1.0, text); repeats]);
    if kind == Kind::Branch {
        let last = lines.last_mut().expect("it was just added");
        last.target = text.split('#').nth(1).map(|label| label.trim().to_string());
        last.ends = op == "jump" || op == "end";
    }
    lines
}

fn kind(op: &str, text: &str) -> Kind {
    let is = |starts: &[&str]| starts.iter().any(|start| op.starts_with(start));
    // The size of a number, and how many: `stib.b.untyped.1d.u32.4.imm` or `ldl.u32 r0.x, l[r1.x], 4`.
    let size = |text: &str| if ["16", "h"].iter().any(|word| text.contains(word)) { 2 } else { 4 };
    let bytes = || {
        let count = op.split('.').find_map(|part| part.parse::<u32>().ok().filter(|count| *count <= 4));
        size(op) * count.or_else(|| text.rsplit([',', ' ']).next()?.trim().parse().ok()).unwrap_or(1)
    };
    // `isam.v.base0 (u32)(xyzw)r6.x`: as many as there are columns.
    let sampled = || {
        let columns = text.split('(').nth(2).and_then(|rest| rest.split(')').next()).unwrap_or("x");
        let element = if text.contains("(u16)") || text.contains("(f16)") || text.contains("(s16)") { 2 } else { 4 };
        element * columns.len() as u32
    };
    match op {
        _ if is(&["nop"]) => Kind::Wait,
        _ if is(&["br", "jump", "end", "predt", "predf", "prede", "shps", "shpe", "getone"]) => Kind::Branch,
        _ if is(&["bar"]) => Kind::Barrier,
        _ if is(&["ldp", "stp"]) => Kind::Scratch,
        _ if is(&["ldl"]) => Kind::WorkgroupLoad(bytes()),
        _ if is(&["stl"]) => Kind::WorkgroupStore(bytes()),
        _ if is(&["isam"]) => Kind::GlobalLoad(sampled()),
        _ if is(&["ldib", "ldg", "ldc"]) => Kind::GlobalLoad(bytes()),
        _ if is(&["stib", "stg"]) => Kind::GlobalStore(bytes()),
        _ if is(&["mad.f"]) => Kind::MultiplyAdd(1),
        _ if is(&["dp4acc"]) => Kind::MultiplyAdd(4),
        _ if is(&["rcp", "rsq", "exp2", "log2", "sqrt", "sin", "cos", "hrcp", "hrsq", "hexp2", "hlog2"]) => {
            Kind::Special
        }
        _ if is(&["cov"]) => Kind::Conversion,
        _ if is(&["mov", "sel", "swz", "movs", "gat", "sct"]) => Kind::Move,
        _ if is(&["shfl", "brcst", "quad_shuffle"]) => Kind::Shuffle,
        _ if op.ends_with(".f") || op.contains(".f.") || op.contains(".f32") || op.contains(".f16") => Kind::Float,
        _ => Kind::Integer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_understood() {
        let kinds = |text: &str| {
            let found = line(text).into_iter().filter_map(|line| line.instruction);
            found.map(|instruction| instruction.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds("(sy)(rpt1)mad.f32 r6.x, (r)r11.y, r2.x, (r)r6.x"), [Kind::MultiplyAdd(1); 2]);
        assert_eq!(kinds("(nop2) mull.u r12.w, r11.y, c1.x"), [Kind::Wait, Kind::Wait, Kind::Integer]);
        assert_eq!(kinds("isam.v.base0 (u32)(xyzw)r6.x, r11.y, s#0, t#2"), [Kind::GlobalLoad(16)]);
        assert_eq!(kinds("stib.b.untyped.1d.u32.4.imm.base0 r0.x, r1.x, 0"), [Kind::GlobalStore(16)]);
        assert_eq!(kinds("(ss)ldl.u32 r5.x, l[r3.w], 4"), [Kind::WorkgroupLoad(16)]);
        let branch = line("br !p0.y, #l237").pop().expect("a line");
        assert_eq!((branch.target.as_deref(), branch.ends), (Some("l237"), false));
    }
}
