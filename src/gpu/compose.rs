//! Composes kernel text: includes, replaced constants, and the form that an adapter's compiler accepts.

use super::Capabilities;

/// Why a kernel's text could not be composed.
pub type Reason = String;

/// How a kernel's text must be written for the compiler that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Form {
    /// Whether parameters travel in the command stream instead of a uniform buffer.
    pub immediates: bool,
    /// Whether a text that uses subgroups begins with `enable subgroups;`. The WGSL standard and browsers require it;
    /// naga 30 does not know it and accepts subgroups without.
    pub subgroup_line: bool,
    /// Whether vectors of four that are only read are loaded as two 64-bit integers each. Drivers that run kernels on the
    /// processor load lane by lane and element by element, so this takes half as long there.
    pub pairs: bool,
}

impl Form {
    /// The form that naga compiles, for an adapter with or without immediates.
    pub const fn native(immediates: bool) -> Self {
        Self { immediates, subgroup_line: false, pairs: false }
    }

    /// The form that naga compiles for an adapter with these capabilities.
    pub fn of(capabilities: &Capabilities) -> Self {
        Self { pairs: capabilities.pairs, ..Self::native(capabilities.immediates) }
    }

    /// The form that a browser compiles.
    pub const BROWSER: Self = Self { immediates: false, subgroup_line: true, pairs: false };
}

/// The files below `shaders/lib`, by the name that an `// @include` line uses.
const LIBRARY: &[(&str, &str)] = &[
    ("lib/append.wgsl", include_str!("../../shaders/lib/append.wgsl")),
    ("lib/attention.wgsl", include_str!("../../shaders/lib/attention.wgsl")),
    ("lib/attention_block.wgsl", include_str!("../../shaders/lib/attention_block.wgsl")),
    ("lib/attention_keys.wgsl", include_str!("../../shaders/lib/attention_keys.wgsl")),
    ("lib/attention_pieces.wgsl", include_str!("../../shaders/lib/attention_pieces.wgsl")),
    ("lib/attention_plain.wgsl", include_str!("../../shaders/lib/attention_plain.wgsl")),
    ("lib/attention_rows.wgsl", include_str!("../../shaders/lib/attention_rows.wgsl")),
    ("lib/attention_segments.wgsl", include_str!("../../shaders/lib/attention_segments.wgsl")),
    ("lib/attention_shared.wgsl", include_str!("../../shaders/lib/attention_shared.wgsl")),
    ("lib/attention_shuffled.wgsl", include_str!("../../shaders/lib/attention_shuffled.wgsl")),
    ("lib/attention_stored.wgsl", include_str!("../../shaders/lib/attention_stored.wgsl")),
    ("lib/attention_tiles.wgsl", include_str!("../../shaders/lib/attention_tiles.wgsl")),
    ("lib/cache_f16.wgsl", include_str!("../../shaders/lib/cache_f16.wgsl")),
    ("lib/cache_f32.wgsl", include_str!("../../shaders/lib/cache_f32.wgsl")),
    ("lib/chained_dot.wgsl", include_str!("../../shaders/lib/chained_dot.wgsl")),
    ("lib/elements.wgsl", include_str!("../../shaders/lib/elements.wgsl")),
    ("lib/elements_vec4.wgsl", include_str!("../../shaders/lib/elements_vec4.wgsl")),
    ("lib/gelu.wgsl", include_str!("../../shaders/lib/gelu.wgsl")),
    ("lib/index.wgsl", include_str!("../../shaders/lib/index.wgsl")),
    ("lib/matmul.wgsl", include_str!("../../shaders/lib/matmul.wgsl")),
    ("lib/matmul_scalar.wgsl", include_str!("../../shaders/lib/matmul_scalar.wgsl")),
    ("lib/matmul_store.wgsl", include_str!("../../shaders/lib/matmul_store.wgsl")),
    ("lib/matmul_vec4.wgsl", include_str!("../../shaders/lib/matmul_vec4.wgsl")),
    ("lib/packed.wgsl", include_str!("../../shaders/lib/packed.wgsl")),
    ("lib/packed_block.wgsl", include_str!("../../shaders/lib/packed_block.wgsl")),
    ("lib/random.wgsl", include_str!("../../shaders/lib/random.wgsl")),
    ("lib/row_index.wgsl", include_str!("../../shaders/lib/row_index.wgsl")),
    ("lib/rows.wgsl", include_str!("../../shaders/lib/rows.wgsl")),
    ("lib/rows_subgroup.wgsl", include_str!("../../shaders/lib/rows_subgroup.wgsl")),
    ("lib/weights_bf16.wgsl", include_str!("../../shaders/lib/weights_bf16.wgsl")),
    ("lib/weights_f16.wgsl", include_str!("../../shaders/lib/weights_f16.wgsl")),
    ("lib/weights_f32.wgsl", include_str!("../../shaders/lib/weights_f32.wgsl")),
    ("lib/weights_k_scales.wgsl", include_str!("../../shaders/lib/weights_k_scales.wgsl")),
    ("lib/weights_q4.wgsl", include_str!("../../shaders/lib/weights_q4.wgsl")),
    ("lib/weights_q4_k.wgsl", include_str!("../../shaders/lib/weights_q4_k.wgsl")),
    ("lib/weights_q5.wgsl", include_str!("../../shaders/lib/weights_q5.wgsl")),
    ("lib/weights_q5_k.wgsl", include_str!("../../shaders/lib/weights_q5_k.wgsl")),
    ("lib/weights_q6_k.wgsl", include_str!("../../shaders/lib/weights_q6_k.wgsl")),
    ("lib/weights_q8.wgsl", include_str!("../../shaders/lib/weights_q8.wgsl")),
];

/// Resolves `// @include "lib/x.wgsl"` lines (each file once) and replaces the right-hand sides of declared
/// top-level `const`, `alias` and `// @include name = "lib/x.wgsl"` lines; substitutes the types that aliases name; then
/// puts the text into `form`.
///
/// # Errors
/// The reason, for an unknown include or a replacement for a name that the text does not declare.
pub fn compose(source: &str, replacements: &[(&str, String)], form: Form) -> Result<String, Reason> {
    let mut lines = Vec::new();
    let (files, constants): (Vec<_>, Vec<_>) = replacements.iter().partition(|(_, value)| value.starts_with('"'));
    let mut source = source.to_string();
    for (name, value) in files {
        let start = format!("// @include {name} = ");
        let line = source.lines().find(|line| line.starts_with(&start)).map(str::to_string);
        let line = line.ok_or_else(|| format!("no include named '{name}' to replace"))?;
        source = source.replace(&line, &format!("{start}{value}"));
    }
    include(&source, &mut Vec::new(), &mut lines)?;
    for (name, value) in constants {
        let line = lines
            .iter_mut()
            .find(|line| declares(line, name))
            .ok_or_else(|| format!("no top-level const or alias '{name}' to replace"))?;
        let (left, right) = line.split_once('=').ok_or_else(|| format!("'{name}' has no right-hand side"))?;
        let comment = right.split_once(';').map_or("", |(_, comment)| comment);
        *line = format!("{left}= {value};{comment}");
    }
    write_out(&mut lines);
    let mut text = lines.join("\n");
    if !form.immediates {
        text = text.replace("var<immediate> p: Params;", "@group(1) @binding(0) var<uniform> p: Params;");
    }
    if form.pairs {
        text = load_pairs(&text);
    }
    for (extension, word, wanted) in [("subgroups", "subgroup", form.subgroup_line), ("f16", "f16", true)] {
        if wanted && says(&text, word) {
            text.insert_str(0, &format!("enable {extension};\n"));
        }
    }
    Ok(text)
}

/// What [`load_pairs`] adds: the vectors that two 64-bit integers hold.
const PAIRS: &str = "
fn u32_pairs(x: vec2<u64>) -> vec4<u32> {
    return vec4<u32>(u32(x.x), u32(x.x >> 32u), u32(x.y), u32(x.y >> 32u));
}
fn f32_pairs(x: vec2<u64>) -> vec4<f32> {
    return bitcast<vec4<f32>>(u32_pairs(x));
}";

/// Declares the arrays of four f32 or u32 that are only read as arrays of two u64, and converts what is loaded from them.
/// Comments go, so that nothing in them is taken for code.
fn load_pairs(text: &str) -> String {
    let mut text = text.lines().map(|line| split_comment(line).0.trim_end()).collect::<Vec<_>>().join("\n");
    let declared = |line: &str| {
        let (_, declaration) = line.split_once("var<storage, read> ")?;
        let (name, kind) = declaration.split_once(": ")?;
        let element =
            kind.strip_prefix("array<vec4<")?.strip_suffix(">>;").filter(|kind| ["f32", "u32"].contains(kind))?;
        Some((line.to_string(), name.to_string(), element.to_string()))
    };
    let arrays: Vec<_> = text.lines().filter_map(declared).collect();
    for (line, name, element) in &arrays {
        text = text.replace(line, &line.replace(&format!("vec4<{element}>"), "vec2<u64>"));
        text = convert_loads(&text, name, &format!("{element}_pairs"));
    }
    if !arrays.is_empty() {
        text += PAIRS;
    }
    text
}

/// `text` with every `array[index]` replaced by `convert(array[index])`.
fn convert_loads(text: &str, array: &str, convert: &str) -> String {
    let (mut written, mut rest) = (String::new(), text);
    let start = format!("{array}[");
    while let Some(at) = rest.find(&start) {
        let inside = at + start.len();
        let whole = begins_word(&rest[..at]);
        let mut depth = 1;
        let closing = rest[inside..].find(|letter: char| {
            depth += i32::from(letter == '[') - i32::from(letter == ']');
            depth == 0
        });
        written += &rest[..at];
        let (index, after) = match closing.filter(|_| whole) {
            Some(length) => (&rest[inside..inside + length], &rest[inside + length + 1..]),
            None => {
                written += &start;
                rest = &rest[inside..];
                continue;
            }
        };
        written += &format!("{convert}({start}{}])", convert_loads(index, array, convert));
        rest = after;
    }
    written + rest
}

/// Substitutes the types that `alias` lines name. To naga an alias is a type of its own, and its HLSL back end would
/// then define the same function twice, once for each, which no HLSL compiler accepts.
fn write_out(lines: &mut [String]) {
    for at in 0..lines.len() {
        let alias = lines[at].strip_prefix("alias ").and_then(|rest| rest.split_once(';'));
        let Some((name, kind)) = alias.and_then(|(alias, _)| alias.split_once('=')) else { continue };
        let (name, kind) = (name.trim().to_string(), kind.trim().to_string());
        lines[at].insert_str(0, "// ");
        lines.iter_mut().for_each(|line| *line = replace_word(line, &name, &kind));
    }
}

/// The code of a line, and its comment.
fn split_comment(line: &str) -> (&str, &str) {
    line.split_at(line.find("//").unwrap_or(line.len()))
}

fn part_of_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Whether a name that begins after `before` stands alone, rather than naming a member.
fn begins_word(before: &str) -> bool {
    !before.ends_with(|letter| part_of_word(letter) || letter == '.')
}

/// `line` with every word `old` of its code replaced by `new`, except where it is a member's name.
fn replace_word(line: &str, old: &str, new: &str) -> String {
    let (code, comment) = split_comment(line);
    let (mut written, mut rest) = (String::new(), code);
    while let Some(at) = rest.find(old) {
        let (before, after) = (&rest[..at], &rest[at + old.len()..]);
        let whole = begins_word(before) && !after.starts_with(part_of_word);
        written += before;
        // Skip the whole longer word, so that no part of it is taken for a word of its own.
        if whole {
            written += new;
            rest = after;
        } else {
            let end = after.find(|letter| !part_of_word(letter)).unwrap_or(after.len());
            written += &rest[at..at + old.len() + end];
            rest = &after[end..];
        }
    }
    written + rest + comment
}

/// Whether `word` occurs in the code of `text`, not only in its comments.
pub fn says(text: &str, word: &str) -> bool {
    text.lines().any(|line| split_comment(line).0.contains(word))
}

fn include(source: &str, seen: &mut Vec<String>, lines: &mut Vec<String>) -> Result<(), Reason> {
    for line in source.lines() {
        let quoted = line.strip_prefix("// @include ").and_then(|rest| rest.strip_suffix('"'));
        let Some((_, name)) = quoted.and_then(|rest| rest.split_once('"')) else {
            lines.push(line.to_string());
            continue;
        };
        if seen.iter().any(|earlier| earlier == name) {
            continue;
        }
        seen.push(name.to_string());
        let text = LIBRARY.iter().find(|(file, _)| *file == name);
        include(text.ok_or_else(|| format!("no shader file '{name}' to include"))?.1, seen, lines)?;
    }
    Ok(())
}

/// Whether `line` is the top-level declaration of `name`.
fn declares(line: &str, name: &str) -> bool {
    let rest = line.strip_prefix("const ").or_else(|| line.strip_prefix("alias "));
    let rest = rest.and_then(|rest| rest.trim_start().strip_prefix(name));
    rest.is_some_and(|rest| rest.starts_with([' ', ':', '=']))
}

#[cfg(test)]
mod tests {
    use super::{Form, compose};

    const NATIVE: Form = Form::native(true);

    #[test]
    fn replaces_only_what_is_declared() {
        let source = "const TILE: u32 = 4u; // rows\nalias elem = f32;\nfn f() { let TILE_M = 1; }";
        let text =
            compose(source, &[("TILE", "8u".into()), ("elem", "u32".into())], NATIVE).expect("both are declared");
        assert_eq!(text, "const TILE: u32 = 8u; // rows\n// alias elem = u32;\nfn f() { let TILE_M = 1; }");
        assert!(compose(source, &[("TILE_M", "2u".into())], NATIVE).is_err());
        assert!(compose("// @include \"lib/nothing.wgsl\"", &[], NATIVE).is_err());
    }

    #[test]
    fn vectors_that_are_only_read_are_loaded_as_pairs() {
        let declared = "alias e = vec4<f32>;\nvar<storage, read> x: array<e>; // x[ is read\nvar<storage, read> at: array<vec4<u32>>;\n\
            var<storage, read_write> y: array<e>;\nvar<storage, read> z: array<f32>;\n";
        let used = "y[0] = x[at[i[j]].x] + max[1] + s.x[2] + vec4<f32>(x[1]) + z[x[x[0].y].z];";
        let form = Form { pairs: true, ..NATIVE };
        let text = compose(&format!("{declared}{used}"), &[], form).expect("nothing to resolve");
        let lines: Vec<_> = text.lines().take(6).collect();
        assert_eq!(
            lines,
            [
                "",
                "var<storage, read> x: array<vec2<u64>>;",
                "var<storage, read> at: array<vec2<u64>>;",
                "var<storage, read_write> y: array<vec4<f32>>;",
                "var<storage, read> z: array<f32>;",
                "y[0] = f32_pairs(x[u32_pairs(at[i[j]]).x]) + max[1] + s.x[2] + vec4<f32>(f32_pairs(x[1])) + \
                 z[f32_pairs(x[f32_pairs(x[0]).y]).z];",
            ]
        );
        assert!(text.ends_with(super::PAIRS), "{text}");
        let none = "var<storage, read> z: array<f32>;\nz[0];";
        assert_eq!(compose(none, &[], form).expect("nothing to resolve"), none);
    }

    #[test]
    fn parameters_become_a_uniform_without_immediates() {
        let text = compose("var<immediate> p: Params;", &[], Form::native(false)).expect("nothing to resolve");
        assert_eq!(text, "@group(1) @binding(0) var<uniform> p: Params;");
    }

    #[test]
    fn aliases_are_replaced_by_their_types() {
        let source =
            "alias row = array<e, 2>; // of e\nalias e = f32;\nfn f(a_e: row, e_1: e) -> e { return e(a_e.e); } // e";
        let text = compose(source, &[("e", "vec4<f32>".into())], NATIVE).expect("both are declared");
        let expected = "// alias row = array<e, 2>; // of e\n// alias e = vec4<f32>;\n\
            fn f(a_e: array<vec4<f32>, 2>, e_1: vec4<f32>) -> vec4<f32> { return vec4<f32>(a_e.e); } // e";
        assert_eq!(text, expected);
    }

    /// Words in comments enable no extension.
    #[test]
    fn extensions_are_enabled_where_they_are_used() {
        let source = "// subgroups of f16\nfn f(x: f32) -> f32 { return subgroupAdd(x); }";
        let browser = compose(source, &[], Form::BROWSER).expect("nothing to resolve");
        assert_eq!(browser, format!("enable subgroups;\n{source}"));
        assert_eq!(compose(source, &[], NATIVE).expect("nothing to resolve"), source);
        let text = compose("alias elem = f16;\nvar<private> x: elem;", &[], Form::BROWSER).expect("nothing to resolve");
        assert_eq!(text, "enable f16;\n// alias elem = f16;\nvar<private> x: f16;");
    }
}
