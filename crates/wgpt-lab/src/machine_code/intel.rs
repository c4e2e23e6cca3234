//! Intel's Xe. An instruction for 16 lanes takes two turns of a unit that is 8 lanes wide; messages to memory take one.

use super::{Kind, Line};

/// The lines of brw's assembly: `LABEL3:`, or an instruction `(+f0.0) mad(16)  g1<1>F g2<8,8,1>F ... { align1 };`, where
/// a message's comment line follows: `ugm MsgDesc: ( load, a32, d32, V4, L1STATE_L3MOCS dst_len = 4 ... )`.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for text in text.lines() {
        let text = text.trim();
        if let Some(label) = text.strip_suffix(':').filter(|label| label.starts_with("LABEL")) {
            lines.push(Line::label(label));
        } else if let Some(message) = message(text) {
            // It describes the instruction before it.
            if let Some(instruction) = lines.last_mut().and_then(|line| line.instruction.as_mut()) {
                instruction.kind = message;
                instruction.text += &format!("    {text}");
            }
        } else if let Some(line) = line(text) {
            lines.push(line);
        }
    }
    lines
}

/// What a message's description says.
fn message(text: &str) -> Option<Kind> {
    let (unit, description) = text.split_once(" MsgDesc:")?;
    let words: Vec<_> = description.split([' ', ',', '(', ')']).filter(|word| !word.is_empty()).collect();
    let size = words.iter().find_map(|word| match *word {
        "d8" | "d8u32" => Some(1),
        "d16" | "d16u32" => Some(2),
        "d32" => Some(4),
        "d64" => Some(8),
        _ => None,
    });
    // V2, or the columns of load_cmask.
    let count =
        words.iter().find_map(|word| match word.strip_prefix('V').and_then(|count| count.parse::<u32>().ok()) {
            Some(count) => Some(count),
            None if !word.is_empty() && word.bytes().all(|byte| b"xyzw".contains(&byte)) => Some(word.len() as u32),
            None => None,
        });
    let bytes = size.unwrap_or(4) * count.unwrap_or(1);
    let stores = words.iter().any(|word| word.starts_with("store"));
    let loads = words.iter().any(|word| word.starts_with("load"));
    Some(match unit.split_whitespace().last()? {
        "slm" if stores => Kind::WorkgroupStore(bytes),
        "slm" if loads => Kind::WorkgroupLoad(bytes),
        "ugm" | "urb" | "tgm" if stores => Kind::GlobalStore(bytes),
        "ugm" | "urb" | "tgm" if loads => Kind::GlobalLoad(bytes),
        "gateway" => Kind::Barrier,
        _ => Kind::Move,
    })
}

fn line(text: &str) -> Option<Line> {
    let bare = match text.strip_prefix('(') {
        Some(rest) => rest.split_once(')')?.1.trim_start(),
        None => text,
    };
    let (op, rest) = bare.split_once('(')?;
    let op = op.trim();
    if op.is_empty() || !op.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte)) {
        return None;
    }
    let lanes: f64 = rest.split(')').next()?.parse().ok()?;
    let kind = kind(op, bare);
    let slots = match kind {
        Kind::Matrix => 0.0,
        Kind::Wait => 0.0,
        Kind::Branch | Kind::Barrier => 1.0,
        _ if op.starts_with("send") => 1.0,
        _ => (lanes / 8.0).max(1.0),
    };
    let mut line = Line::instruction(kind, slots, text);
    if kind == Kind::Branch {
        line.target = bare.split("JIP:").nth(1).and_then(|rest| rest.split_whitespace().next()).map(str::to_string);
    }
    Some(line)
}

fn kind(op: &str, text: &str) -> Kind {
    let first = op.split('.').next().unwrap_or_default();
    // The destination's type, as in `g1<1>F`.
    let float = text.split('>').nth(1).is_some_and(|rest| rest.starts_with('F') || rest.starts_with("HF"));
    match first {
        "mad" if float => Kind::MultiplyAdd(1),
        "mac" if float => Kind::MultiplyAdd(1),
        "dp4a" => Kind::MultiplyAdd(4),
        "dpas" => Kind::Matrix,
        "math" => Kind::Special,
        "sync" | "nop" | "wait" => Kind::Wait,
        "if" | "else" | "endif" | "while" | "break" | "cont" | "halt" | "jmpi" | "brd" | "brc" | "goto" | "join" => {
            Kind::Branch
        }
        // What it does is in the description that follows.
        "send" | "sendc" | "sends" => Kind::Move,
        "mov" if converts(text) => Kind::Conversion,
        "mov" | "sel" | "csel" => Kind::Move,
        "add" | "mul" | "cmp" | "cmpn" | "rndd" | "rnde" | "rndz" | "frc" | "add3" if float => Kind::Float,
        _ => Kind::Integer,
    }
}

/// Whether a move's source and destination have different types.
fn converts(text: &str) -> bool {
    let mut kinds = text.split('>').skip(1).map(|rest| rest.chars().take_while(char::is_ascii_alphabetic));
    let to: Option<String> = kinds.next().map(Iterator::collect);
    let from: Option<String> = kinds.next().map(Iterator::collect);
    let float = |kind: &Option<String>| kind.as_deref().is_some_and(|kind| kind == "F" || kind == "HF");
    to.is_some() && from.is_some() && to != from && (float(&to) || float(&from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_understood() {
        let text = "\
LABEL0:
mad(16)         g1<1>F          g2<8,8,1>F      g3<8,8,1>F      g4<1,1,1>F      { align1 1H };
(+f0.0) mov(16) g1<1>F          g2<8,8,1>UD                     { align1 1H };
send(16)        g10UD           g8UD            nullUD          0x0480a700                0x00000000
                            slm MsgDesc: ( load, a32, d32, V4, L1STATE_L3MOCS dst_len = 8, src0_len = 2, flat )  base_offset 0
while(16)       JIP:  LABEL0                                    { align1 1H };
";
        let lines = lines(text);
        let found: Vec<_> = lines.iter().filter_map(|line| line.instruction.as_ref()).collect();
        let kinds: Vec<_> = found.iter().map(|instruction| instruction.kind).collect();
        assert_eq!(kinds, [Kind::MultiplyAdd(1), Kind::Conversion, Kind::WorkgroupLoad(16), Kind::Branch]);
        assert_eq!(found.iter().map(|instruction| instruction.slots).collect::<Vec<_>>(), [2.0, 2.0, 1.0, 1.0]);
        assert_eq!(lines.last().and_then(|line| line.target.as_deref()), Some("LABEL0"));
    }
}
