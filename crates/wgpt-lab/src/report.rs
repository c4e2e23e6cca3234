//! Tables of figures: as JSON, as Markdown, and compared with earlier ones.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    bound::{Bound, Limit, Peak},
    figures::Figures,
    gpus,
};

/// The figures of one GPU.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    /// Its name here.
    pub(crate) gpu: String,
    /// The adapter's own name.
    pub(crate) driver: String,
    /// The driver and its version.
    pub(crate) compiler: String,
    /// Whether every access to a buffer is checked.
    pub(crate) robust: bool,
    /// The variants, by name.
    pub(crate) variants: Vec<Figures>,
}

impl Table {
    /// Reads a table.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Writes `GPU.json` and `GPU.md` to a folder.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), String> {
        let variants: Result<Vec<_>, _> = self.variants.iter().map(serde_json::to_string).collect();
        let variants = variants.map_err(|error| error.to_string())?.join(",\n");
        let (gpu, driver) = (json(&self.gpu), json(&self.driver));
        let head = format!("{{\"gpu\":{gpu},\"driver\":{driver},\"compiler\":{}", json(&self.compiler));
        let text = format!("{head},\"robust\":{},\"variants\":[\n{variants}\n]}}\n", self.robust);
        let put = |ending: &str, text: String| {
            let path = folder.join(format!("{}.{ending}", self.gpu));
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        put("json", text)?;
        put("md", self.markdown())
    }

    /// The table for people: what some shape gets untuned, then the rest.
    pub(crate) fn markdown(&self) -> String {
        let gpu = gpus::of(&self.gpu);
        let product = gpu.map_or("", |gpu| gpu.product);
        let checks = if self.robust { "every access to a buffer checked" } else { "no access to a buffer checked" };
        let mut text = format!("# {}: {product}\n\n{}, {checks}.\n", self.gpu, self.compiler);
        text += "Made by `scripts/lab`; [docs/lab.md](../../../docs/lab.md) explains the columns.\n";
        if gpu.is_some_and(|gpu| !gpu.published) {
            text += "The maker does not publish all of its rates, so the bounds are estimates.\n";
        }
        for (title, chosen) in [("Used where nothing was timed", true), ("Others that can be chosen", false)] {
            let rows: Vec<_> = self.variants.iter().filter(|row| row.chosen == chosen).collect();
            if rows.is_empty() {
                continue;
            }
            write!(
                text,
                "\n## {title}\n\n| variant | lanes | registers | spills | scratch | workgroup | waves | code | "
            )
            .ok();
            text += "hot loop | multiply-adds | matrix | workgroup loads | global loads | shuffles | conversions | bound |\n";
            text += &format!("|---|{}\n", "---|".repeat(15));
            rows.iter().for_each(|row| text += &line(row));
        }
        text
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn line(row: &Figures) -> String {
    let name = short(&row.variant);
    if let Some(error) = &row.error {
        return format!("| {name} | {error} |{}\n", " |".repeat(14));
    }
    let Figures { subgroup, registers, spills, scratch_bytes, workgroup_bytes, occupancy, code_bytes, hot, .. } = row;
    format!(
        "| {name} | {subgroup} | {registers} | {spills} | {scratch_bytes} | {workgroup_bytes} | {occupancy} | \
         {code_bytes} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        hot.instructions,
        hot.multiply_adds,
        hot.matrix,
        sized(hot.workgroup_loads, hot.workgroup_load_bytes),
        sized(hot.global_loads, hot.global_load_bytes),
        hot.shuffles,
        hot.conversions,
        row.bound.as_ref().map_or_else(String::new, words),
    )
}

/// A variant's name without the flags that are off.
fn short(variant: &str) -> String {
    let words = variant.split(' ').filter_map(|word| match word.split_once('=') {
        Some((_, "false")) => None,
        Some((name, "true")) => Some(name.to_string()),
        Some((name, value)) => {
            let value = value.trim_matches('"').trim_start_matches("lib/").trim_end_matches(".wgsl");
            let digits = value.trim_end_matches('u');
            let value = if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits } else { value };
            Some(format!("{}={value}", name.trim_end_matches("_element")))
        }
        None => Some(word.to_string()),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// How many, and of how many bytes on average.
fn sized(count: u32, bytes: u32) -> String {
    bytes.checked_div(count).map_or_else(|| "0".to_string(), |each| format!("{count} x {each} B"))
}

/// A bound in a few words.
pub(crate) fn words(bound: &Bound) -> String {
    let of = match bound.of {
        Peak::MultiplyAdds => "",
        Peak::Bandwidth => " of bandwidth",
    };
    let limit = match bound.limit {
        Limit::Issue => ", by issue",
        Limit::WorkgroupMemory => ", by workgroup memory",
        Limit::Latency => ", by latency",
        Limit::Peak => "",
    };
    format!("{:.0} %{of}{limit}", 100.0 * bound.share)
}

/// A variant's figures on two lines.
pub(crate) fn details(row: &Figures) -> String {
    let mark = if row.chosen { "*" } else { " " };
    let name = short(&row.variant);
    let Figures { registers, spills, scratch_bytes, occupancy, hot, around, .. } = row;
    let Some(bound) = &row.bound else {
        let what = row.error.as_deref().unwrap_or("no multiply-adds");
        return format!("{mark} {name}\n    {registers} registers, {spills} spills: {what}\n");
    };
    format!(
        "{mark} {name}\n    {registers} registers, {spills} spills, {scratch_bytes} B scratch, {occupancy} waves; {} (issue \
         {:.0}, workgroup memory {:.0}, latency {:.0})\n    hot loop {}: {} multiply-adds, {} matrix, {} floats, {} special, {} \
         integers, {} conversions, {} moves, {} workgroup, {} global, {} scalar; around it {}\n",
        words(bound),
        100.0 * bound.issue,
        100.0 * bound.workgroup_memory,
        100.0 * bound.latency,
        hot.instructions,
        hot.multiply_adds,
        hot.matrix,
        hot.floats,
        hot.special,
        hot.integers,
        hot.conversions,
        hot.moves,
        hot.workgroup_loads + hot.workgroup_stores,
        hot.global_loads,
        hot.scalar,
        around.instructions,
    )
}

/// What changed from one table to another.
pub(crate) fn compare(before: &Table, after: &Table) -> String {
    let old: BTreeMap<_, _> = before.variants.iter().map(|row| (row.variant.as_str(), row)).collect();
    let new: BTreeMap<_, _> = after.variants.iter().map(|row| (row.variant.as_str(), row)).collect();
    let mut text = format!("{}: {} variants before, {} after\n", after.gpu, old.len(), new.len());
    let show = |row: &Figures| {
        let bound = row.bound.as_ref().map_or_else(|| "-".to_string(), words);
        match &row.error {
            Some(error) => error.clone(),
            None => format!(
                "{} registers, {} spills, {} B scratch, hot loop {} with {} multiply-adds, {bound}",
                row.registers, row.spills, row.scratch_bytes, row.hot.instructions, row.hot.multiply_adds,
            ),
        }
    };
    for (name, row) in &new {
        let mark = if row.chosen { "*" } else { " " };
        match old.get(name) {
            None => writeln!(text, "{mark} + {name}\n      {}", show(row)).ok(),
            Some(before) if show(before) != show(row) || before.chosen != row.chosen => {
                writeln!(text, "{mark} ~ {name}\n      {}\n      {}", show(before), show(row)).ok()
            }
            Some(_) => None,
        };
    }
    for (name, row) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
        writeln!(text, "  - {name}\n      {}", show(row)).ok();
    }
    text
}

/// The most lines of a summary.
const SHOWN: usize = 12;

/// A summary: how many compiled, and those among the chosen that spill.
pub(crate) fn summary(table: &Table) -> String {
    let count = |such: &dyn Fn(&Figures) -> bool| table.variants.iter().filter(|row| such(row)).count();
    let spills = |row: &Figures| row.compiled && !row.fits();
    let mut text = format!(
        "{} ({}): {} variants, {} not compiled; {} spill, {} of the {} that are used untuned\n",
        table.gpu,
        table.compiler,
        table.variants.len(),
        count(&|row| !row.compiled),
        count(&spills),
        count(&|row| row.chosen && spills(row)),
        count(&|row| row.chosen),
    );
    let wrong: Vec<_> = table.variants.iter().filter(|row| row.chosen && !row.fits()).collect();
    for row in wrong.iter().take(SHOWN) {
        let reason = row.error.clone().unwrap_or_else(|| format!("{} spills, {} B", row.spills, row.scratch_bytes));
        writeln!(text, "  {}: {reason}", short(&row.variant)).ok();
    }
    if wrong.len() > SHOWN {
        writeln!(text, "  and {} more", wrong.len() - SHOWN).ok();
    }
    text
}
