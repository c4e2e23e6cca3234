//! Apple's. One instruction per turn.

use super::{Kind, Line};

/// The lines of the shader in what the driver prints: `28c: 623a0000  ldimm r14h, 0`. Addresses begin at 0 again for the
/// part that is executed once before all workgroups, which is left out: the longer one is the shader.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let mut parts: Vec<Vec<(u64, &str)>> = Vec::new();
    for line in text.lines() {
        let Some((address, rest)) = line.trim().split_once(": ") else { continue };
        let Ok(address) = u64::from_str_radix(address, 16) else { continue };
        let Some((code, text)) = rest.trim().split_once(char::is_whitespace) else { continue };
        if !code.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            continue;
        }
        if address == 0 {
            parts.push(Vec::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push((address, text.trim()));
        }
    }
    let part = parts.into_iter().max_by_key(Vec::len).unwrap_or_default();
    let targets: Vec<_> = part.iter().filter_map(|(address, text)| target(*address, text)).collect();
    let mut lines = Vec::new();
    for (address, text) in part {
        let name = format!("{address:x}");
        if targets.contains(&name) {
            lines.push(Line::label(name));
        }
        let op = text.split_whitespace().next().unwrap_or_default();
        let kind = kind(op, text);
        let mut line = Line::instruction(kind, if kind == Kind::Wait { 0.0 } else { 1.0 }, text);
        line.target = target(address, text);
        line.ends = op == "stop";
        lines.push(line);
    }
    lines
}

/// The address that a jump goes to, which the text gives as a distance.
fn target(address: u64, text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    let jumps = words.next()?.starts_with("jmp");
    let distance: i64 = words.last().filter(|_| jumps)?.parse().ok()?;
    Some(format!("{:x}", address.checked_add_signed(distance)?))
}

fn kind(op: &str, text: &str) -> Kind {
    let is = |names: &[&str]| names.contains(&op);
    // `load r16l_r16h, du106, r15, lsl 2, i16, xyzw`
    let bytes = || {
        let words: Vec<_> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        let size = words.iter().find_map(|word| match *word {
            "i8" => Some(1),
            "i16" => Some(2),
            "i32" => Some(4),
            _ => None,
        });
        let columns = words.iter().rev().find(|word| word.bytes().all(|byte| b"xyzw".contains(&byte)));
        size.unwrap_or(4) * columns.map_or(1, |columns| columns.len() as u32)
    };
    match op {
        _ if is(&["wait", "stop"]) => Kind::Wait,
        _ if op.starts_with("jmp") || is(&["if", "else", "pop_exec", "while", "break", "ret"]) => Kind::Branch,
        _ if is(&["barrier"]) => Kind::Barrier,
        _ if op.starts_with("lload") => Kind::WorkgroupLoad(bytes()),
        _ if op.starts_with("lstore") => Kind::WorkgroupStore(bytes()),
        _ if op.starts_with("stack") || op.contains("scratch") => Kind::Scratch,
        _ if op.starts_with("load") || op.starts_with("device_load") => Kind::GlobalLoad(bytes()),
        _ if op.starts_with("store") || op.starts_with("device_store") => Kind::GlobalStore(bytes()),
        _ if op.starts_with("ffma") || op.starts_with("fmadd") || op.starts_with("hfma") => Kind::MultiplyAdd(1),
        _ if is(&["rcp", "rsqrt", "exp2", "log2", "sin", "sqrt", "rsqrt_special"]) => Kind::Special,
        _ if op.contains("_to_") => Kind::Conversion,
        _ if op.starts_with("mov") || op.starts_with("csel") || op == "ldimm" || op.starts_with("get_sr") => Kind::Move,
        _ if op.contains("shuffle") || op.contains("ballot") => Kind::Shuffle,
        _ if op.starts_with('f') || op.starts_with("hadd") || op.starts_with("hmul") => Kind::Float,
        _ => Kind::Integer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shader_is_the_longer_part_and_jumps_find_their_addresses() {
        let text = "\
   0: f2050000               mov      $r1, threadgroup_in_grid_x
   4: 8580e40ed1c8f000       load     r16l_r16h_r17l_r17h, du106, r15, lsl 2, i16, xyzw, a
   c: 3800                   wait     a
   e: 1234                   lload    r36_r37_r38_r39, r15l, 0, i32, xyzw
  12: 3a811234               ffma     $r1, r2, r3, r4
  16: 20c06e010000           jmp_any  -18
  1c: 8800                   stop
   0: 62840000               mov      u1, r2
";
        let lines = lines(text);
        let kinds: Vec<_> = lines.iter().filter_map(|line| Some(line.instruction.as_ref()?.kind)).collect();
        assert_eq!(
            kinds,
            [
                Kind::Move,
                Kind::GlobalLoad(8),
                Kind::Wait,
                Kind::WorkgroupLoad(16),
                Kind::MultiplyAdd(1),
                Kind::Branch,
                Kind::Wait
            ]
        );
        assert_eq!(lines.iter().filter_map(|line| line.label.as_deref()).collect::<Vec<_>>(), ["4"]);
    }
}
