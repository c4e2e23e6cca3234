//! The figures of a variant on a GPU, from what its compiler reported, in the same words for all.

use serde::{Deserialize, Serialize};

use crate::{
    bound::{Bound, bound},
    compile::Answer,
    gpus::Gpu,
    machine_code::{Architecture, Counts, hottest},
    variant::Item,
};

/// A variant on a GPU.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// The kernel.
    pub(crate) kernel: String,
    /// The variant: kernel and constants.
    pub(crate) variant: String,
    /// Whether some shape gets it without the tuner.
    pub(crate) chosen: bool,
    /// Whether it compiled.
    pub(crate) compiled: bool,
    /// The compiler's failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Lanes of a subgroup.
    pub(crate) subgroup: u32,
    /// Registers of 32 bits per lane.
    pub(crate) registers: u32,
    /// Values that did not fit in them.
    pub(crate) spills: u32,
    /// Bytes of memory per lane for these and for arrays with computed indices.
    pub(crate) scratch_bytes: u32,
    /// Bytes of workgroup memory.
    pub(crate) workgroup_bytes: u32,
    /// Subgroups that share a scheduler.
    pub(crate) occupancy: u32,
    /// Bytes of machine code.
    pub(crate) code_bytes: u32,
    /// Milliseconds of the compiler.
    pub(crate) compile_milliseconds: u32,
    /// The hottest loop.
    pub(crate) hot: Counts,
    /// The loop around it, without it.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    pub(crate) around: Counts,
    /// The share of the peak that it allows.
    pub(crate) bound: Option<Bound>,
}

impl Figures {
    /// Whether it compiled, and nothing spilled.
    pub(crate) fn fits(&self) -> bool {
        self.compiled && self.spills == 0 && self.scratch_bytes == 0
    }
}

/// The figures of an item, and its hot loop's text.
pub(crate) fn figures(gpu: &Gpu, item: &Item, answer: &Answer) -> (Figures, Vec<String>) {
    let mut figures = Figures {
        kernel: item.kernel.clone(),
        variant: item.name.clone(),
        chosen: item.chosen,
        compiled: answer.error.is_none(),
        error: answer.error.clone(),
        subgroup: answer.subgroup,
        registers: 0,
        spills: 0,
        scratch_bytes: 0,
        workgroup_bytes: item.workgroup_bytes,
        occupancy: 0,
        code_bytes: 0,
        compile_milliseconds: answer.milliseconds as u32,
        hot: Counts::default(),
        around: Counts::default(),
        bound: None,
    };
    if answer.error.is_some() {
        return (figures, Vec::new());
    }
    let value = |name: &str| answer.statistics.get(name).copied().unwrap_or(0.0);
    let sum = |names: &[&str]| names.iter().map(|name| value(name)).sum::<f64>() as u32;
    figures.code_bytes = value("Code size") as u32;
    let lanes = f64::from(answer.subgroup.max(1));
    // Subgroups per scheduler that registers leave room for.
    let waves = match gpu.architecture {
        Architecture::Rdna => {
            figures.registers = sum(&["VGPRs"]);
            figures.spills = sum(&["Spilled VGPRs", "Spilled SGPRs"]);
            // It is reported for the whole subgroup.
            figures.scratch_bytes = (value("Scratch size") / lanes) as u32;
            value("Subgroups per SIMD")
        }
        Architecture::Nvidia => {
            figures.registers = sum(&["Number of GPRs"]);
            figures.spills = sum(&["Spills to memory", "Fills from memory"]);
            figures.scratch_bytes = sum(&["SLM size"]);
            value("Max warps/SM") / gpu.simds
        }
        Architecture::Intel => {
            // Of 32 bytes for all lanes together (64 on Xe2): the most that are in use at once.
            figures.registers = sum(&["Max live registers"]);
            figures.spills = sum(&["Spills", "Fills"]);
            figures.scratch_bytes = sum(&["Scratch Memory Size"]) / answer.subgroup.max(1);
            gpu.waves
        }
        Architecture::Adreno => {
            // Registers of four components.
            figures.registers = 4 * sum(&["Registers used"]);
            figures.spills = sum(&["STP Count", "LDP Count"]);
            figures.scratch_bytes = 4 * sum(&["STP Count"]);
            value("Max Waves Per Core")
        }
        Architecture::Apple => {
            figures.registers = sum(&["GPRs"]).div_ceil(2);
            figures.spills = sum(&["Spills", "Fills"]);
            figures.scratch_bytes = sum(&["Scratch"]);
            value("Threads") / lanes / gpu.simds
        }
        Architecture::Valhall => {
            figures.registers = sum(&["Registers used"]);
            figures.spills = sum(&["Spills", "Fills"]);
            figures.scratch_bytes = 4 * sum(&["Spills"]);
            // Twice as many lanes if they need at most 32 registers.
            value("Threads") / 2.0 * gpu.waves
        }
    };
    // Subgroups per scheduler that workgroup memory leaves room for, where a workgroup is as many as it has.
    let subgroups = (f64::from(item.invocations) / lanes).ceil();
    let groups = (gpu.workgroup_memory / f64::from(item.workgroup_bytes.max(1))).floor();
    let waves = waves.min(gpu.waves).min(groups * subgroups / gpu.simds).max(subgroups.min(gpu.simds) / gpu.simds);
    figures.occupancy = waves.max(1.0) as u32;
    let hot = hottest(gpu.architecture.lines(&answer.text));
    figures.bound = bound(gpu, &hot, waves, lanes, item);
    (figures.hot, figures.around) = (hot.counts, hot.around);
    (figures, hot.text)
}
