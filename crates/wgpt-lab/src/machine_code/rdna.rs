//! AMD's RDNA. Vector arithmetic is what competes with multiply-adds; scalars, memory and branches have units of their own.

use super::{Kind, Line, trailing_number};

/// The lines of ACO's assembly: `BB3:` or an instruction, with its encoding after `;`.
pub(super) fn lines(text: &str) -> Vec<Line> {
    text.lines().filter_map(line).collect()
}

fn line(text: &str) -> Option<Line> {
    let text = text.split(';').next().unwrap_or_default().trim();
    let op = text.split_whitespace().next()?;
    if let Some(label) = op.strip_suffix(':') {
        return Some(Line::label(label));
    }
    let kind = kind(op, text);
    let vector = op.starts_with("v_") && kind != Kind::Matrix;
    let mut line = Line::instruction(kind, if vector { 1.0 } else { 0.0 }, text);
    if kind == Kind::Branch {
        line.target = text.split_whitespace().nth(1).filter(|word| word.starts_with("BB")).map(str::to_string);
        line.ends = op == "s_branch" || op == "s_endpgm";
    }
    Some(line)
}

fn kind(op: &str, text: &str) -> Kind {
    // Bytes of b32, b64, b96, b128, and of dword, dwordx2 before RDNA3.
    let bytes = || {
        let last = op.rsplit('_').next().unwrap_or_default();
        match last {
            "dword" => 4,
            "ushort" | "sshort" | "u16" | "i16" | "b16" | "d16" => 2,
            "ubyte" | "sbyte" | "u8" | "i8" => 1,
            _ if last.starts_with("dwordx") => 4 * trailing_number(last).unwrap_or(1),
            _ => trailing_number(last).unwrap_or(32) / 8,
        }
    };
    let memory = |load: fn(u32) -> Kind, store: fn(u32) -> Kind| {
        let twice = if op.contains("2addr") || op.contains("read2") || op.contains("write2") { 2 } else { 1 };
        if op.contains("load") || op.contains("read") { load(twice * bytes()) } else { store(twice * bytes()) }
    };
    let multiplies = |op: &str| ["_fma", "_mac", "_mad_f", "_fmac"].iter().any(|word| op.contains(word));
    match op {
        _ if op.starts_with("s_wait") || op == "s_delay_alu" || op == "s_nop" || op == "s_clause" => Kind::Wait,
        _ if op.starts_with("s_barrier") => Kind::Barrier,
        _ if op.starts_with("s_cbranch") || op == "s_branch" || op == "s_endpgm" => Kind::Branch,
        _ if op.starts_with("s_") => Kind::Scalar,
        _ if op.starts_with("ds_bpermute") || op.starts_with("ds_permute") || op.starts_with("ds_swizzle") => {
            Kind::Shuffle
        }
        _ if op.starts_with("ds_") => memory(Kind::WorkgroupLoad, Kind::WorkgroupStore),
        _ if op.starts_with("scratch_") => Kind::Scratch,
        _ if ["buffer_", "global_", "flat_"].iter().any(|start| op.starts_with(start)) => {
            memory(Kind::GlobalLoad, Kind::GlobalStore)
        }
        _ if op.starts_with("v_wmma") || op.starts_with("v_swmmac") => Kind::Matrix,
        _ if op.starts_with("v_dot") => Kind::MultiplyAdd(trailing_number(&op[..6]).unwrap_or(4)),
        _ if op.starts_with("v_pk_fma") => Kind::MultiplyAdd(2),
        // Two instructions in one turn.
        _ if op.starts_with("v_dual_") => {
            let count = text.split("::").filter_map(|half| half.split_whitespace().next()).filter(|op| multiplies(op));
            match count.count() {
                0 if text.contains("f32") && !op.contains("_mov") => Kind::Float,
                0 => Kind::Move,
                count => Kind::MultiplyAdd(count as u32),
            }
        }
        _ if multiplies(op) => Kind::MultiplyAdd(1),
        _ if op.starts_with("v_cvt") || op.starts_with("v_pack") => Kind::Conversion,
        _ if ["v_permlane", "v_readlane", "v_writelane"].iter().any(|start| op.starts_with(start)) => Kind::Shuffle,
        _ if text.contains("row_") || text.contains("quad_perm") || text.contains("dpp8") => Kind::Shuffle,
        _ if ["v_mov", "v_readfirst", "v_cndmask", "v_swap", "v_accvgpr"].iter().any(|start| op.starts_with(start)) => {
            Kind::Move
        }
        _ if ["v_exp", "v_log", "v_rcp", "v_rsq", "v_sqrt", "v_sin", "v_cos"]
            .iter()
            .any(|start| op.starts_with(start)) =>
        {
            Kind::Special
        }
        _ if op.contains("_f32") || op.contains("_f16") => Kind::Float,
        _ => Kind::Integer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_understood() {
        for (text, expected) in [
            ("v_fmac_f32_e32 v1, v2, v3                  ; 56020503", Kind::MultiplyAdd(1)),
            ("v_dual_fmac_f32 v1, v2, v3 :: v_dual_fmac_f32 v4, v5, v6", Kind::MultiplyAdd(2)),
            ("v_dual_mov_b32 v1, v2 :: v_dual_mov_b32 v4, v5", Kind::Move),
            ("v_pk_fma_f16 v1, v2, v3, v1", Kind::MultiplyAdd(2)),
            ("v_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]", Kind::Matrix),
            ("ds_load_b128 v[0:3], v4", Kind::WorkgroupLoad(16)),
            ("ds_load_2addr_b64 v[0:3], v4 offset1:1", Kind::WorkgroupLoad(16)),
            ("ds_read2_b64 v[0:3], v4 offset1:1", Kind::WorkgroupLoad(16)),
            ("ds_store_b64 v0, v[1:2]", Kind::WorkgroupStore(8)),
            ("buffer_load_b128 v[20:23], v17, s[24:27], 0 offen", Kind::GlobalLoad(16)),
            ("buffer_load_dwordx4 v[20:23], v17, s[24:27], 0 offen", Kind::GlobalLoad(16)),
            ("buffer_load_u16 v20, v17, s[24:27], 0 offen", Kind::GlobalLoad(2)),
            ("global_store_b32 v0, v1, s[2:3]", Kind::GlobalStore(4)),
            ("scratch_load_b32 v0, off, s0", Kind::Scratch),
            ("v_cvt_f32_u32_e32 v1, s10", Kind::Conversion),
            ("v_add_nc_u32_e32 v17, 3, v6", Kind::Integer),
            ("v_add_f32_e32 v17, 3, v6", Kind::Float),
            ("v_exp_f32_e32 v1, v1", Kind::Special),
            ("v_mov_b32_dpp v1, v2 quad_perm:[1,0,3,2]", Kind::Shuffle),
            ("v_dot4_i32_iu8 v1, v2, v3, v1", Kind::MultiplyAdd(4)),
            ("s_waitcnt lgkmcnt(0)", Kind::Wait),
        ] {
            let found = line(text).and_then(|line| line.instruction).expect("an instruction");
            assert_eq!(found.kind, expected, "{text}");
        }
        let branch = line("\ts_cbranch_scc1 BB25").expect("a line");
        assert_eq!((branch.target.as_deref(), branch.ends), (Some("BB25"), false));
        assert_eq!(line("BB25:").and_then(|line| line.label).as_deref(), Some("BB25"));
    }
}
