//! Reads the machine code that drivers print: what each instruction does, and which loop is the hottest.
//!
//! Each architecture has a file that turns its text into [`Line`]s; everything after that is the same for all.

mod adreno;
mod apple;
mod intel;
mod loops;
mod nvidia;
mod rdna;
mod valhall;

#[cfg(test)]
pub(crate) use loops::Inner;
pub(crate) use loops::{Hot, Nest, hottest};

use serde::{Deserialize, Serialize};

/// An instruction set whose text can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    /// AMD's RDNA, as ACO prints it.
    Rdna,
    /// NVIDIA's, as NAK prints it before encoding.
    Nvidia,
    /// Intel's Xe, as brw prints it.
    Intel,
    /// Qualcomm's Adreno, as ir3 prints it.
    Adreno,
    /// Apple's, as Mesa's disassembler prints it.
    Apple,
    /// ARM's Valhall, as Mesa's disassembler prints it.
    Valhall,
}

/// What an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Multiplies and adds this many pairs per lane.
    MultiplyAdd(u32),
    /// A product of matrices by a whole subgroup.
    Matrix,
    /// Other arithmetic on floats.
    Float,
    /// Exponentials, logarithms, roots and reciprocals.
    Special,
    /// Arithmetic and comparisons of integers, addresses among them.
    Integer,
    /// Converts between types.
    Conversion,
    /// Moves a value, or chooses one of two.
    Move,
    /// Reads a value of another lane.
    Shuffle,
    /// Loads this many bytes per lane from workgroup memory.
    WorkgroupLoad(u32),
    /// Stores this many bytes per lane in workgroup memory.
    WorkgroupStore(u32),
    /// Loads this many bytes per lane from global memory.
    GlobalLoad(u32),
    /// Stores this many bytes per lane in global memory.
    GlobalStore(u32),
    /// Loads or stores registers that did not fit.
    Scratch,
    /// Computed once for all lanes, by a unit of its own.
    Scalar,
    /// Ends a block.
    Branch,
    /// Waits for the workgroup.
    Barrier,
    /// Waits, or does nothing.
    Wait,
}

/// One instruction.
#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    /// What it does.
    pub(crate) kind: Kind,
    /// How many turns of the unit that multiplies and adds it takes from it; 0 if another unit executes it meanwhile.
    pub(crate) slots: f64,
    /// The text.
    pub(crate) text: String,
}

/// A line of machine code that matters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    /// A block begins here.
    pub(crate) label: Option<String>,
    /// The instruction.
    pub(crate) instruction: Option<Instruction>,
    /// The label that it may branch to.
    pub(crate) target: Option<String>,
    /// Whether what follows is not reached from here.
    pub(crate) ends: bool,
}

impl Line {
    fn label(name: impl Into<String>) -> Self {
        Self { label: Some(name.into()), ..Self::default() }
    }

    fn instruction(kind: Kind, slots: f64, text: &str) -> Self {
        Self { instruction: Some(Instruction { kind, slots, text: text.to_string() }), ..Self::default() }
    }
}

impl Architecture {
    /// The name of the representation with machine code among those that the driver gives.
    pub(crate) fn representation(self) -> &'static str {
        match self {
            Self::Rdna | Self::Valhall => "Assembly",
            Self::Nvidia => "NAK assembly",
            Self::Intel => "GEN Assembly",
            Self::Adreno => "IR3 Assembly",
            // It gives none; the text is what it prints.
            Self::Apple => "printed",
        }
    }

    /// The lines of a shader's machine code.
    pub(crate) fn lines(self, text: &str) -> Vec<Line> {
        match self {
            Self::Rdna => rdna::lines(text),
            Self::Nvidia => nvidia::lines(text),
            Self::Intel => intel::lines(text),
            Self::Adreno => adreno::lines(text),
            Self::Apple => apple::lines(text),
            Self::Valhall => valhall::lines(text),
        }
    }
}

/// How many instructions of each kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// All but waits.
    pub(crate) instructions: u32,
    /// Turns of the unit that multiplies and adds, see [`Instruction::slots`].
    pub(crate) slots: f64,
    /// Multiply-adds per lane.
    pub(crate) multiply_adds: u32,
    /// The turns that these take.
    pub(crate) multiply_add_slots: f64,
    /// Products of matrices.
    pub(crate) matrix: u32,
    /// Other arithmetic on floats.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) floats: u32,
    /// Exponentials and the like.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) special: u32,
    /// Integers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) integers: u32,
    /// Conversions.
    pub(crate) conversions: u32,
    /// Moves.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) moves: u32,
    /// Shuffles.
    pub(crate) shuffles: u32,
    /// Scalar instructions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) scalar: u32,
    /// Barriers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) barriers: u32,
    /// Instructions that read or write spilled registers.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) scratch: u32,
    /// Loads from workgroup memory.
    pub(crate) workgroup_loads: u32,
    /// Bytes per lane that they load.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) workgroup_load_bytes: u32,
    /// Stores to workgroup memory.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) workgroup_stores: u32,
    /// Bytes per lane that they store.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) workgroup_store_bytes: u32,
    /// Loads from global memory.
    pub(crate) global_loads: u32,
    /// Bytes per lane that they load.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) global_load_bytes: u32,
    /// Stores to global memory.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) global_stores: u32,
}

impl Counts {
    /// Counts instructions.
    pub(crate) fn of<'a>(instructions: impl Iterator<Item = &'a Instruction>) -> Self {
        let mut counts = Self::default();
        instructions.for_each(|instruction| counts.add(instruction));
        counts
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those of as many turns.
    pub(crate) fn repeated(&self, times: u32) -> Self {
        Self {
            slots: f64::from(times) * self.slots,
            multiply_add_slots: f64::from(times) * self.multiply_add_slots,
            instructions: times * self.instructions,
            multiply_adds: times * self.multiply_adds,
            matrix: times * self.matrix,
            floats: times * self.floats,
            special: times * self.special,
            integers: times * self.integers,
            conversions: times * self.conversions,
            moves: times * self.moves,
            shuffles: times * self.shuffles,
            scalar: times * self.scalar,
            barriers: times * self.barriers,
            scratch: times * self.scratch,
            workgroup_loads: times * self.workgroup_loads,
            workgroup_load_bytes: times * self.workgroup_load_bytes,
            workgroup_stores: times * self.workgroup_stores,
            workgroup_store_bytes: times * self.workgroup_store_bytes,
            global_loads: times * self.global_loads,
            global_load_bytes: times * self.global_load_bytes,
            global_stores: times * self.global_stores,
        }
    }

    /// Both together.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            slots: self.slots + other.slots,
            multiply_add_slots: self.multiply_add_slots + other.multiply_add_slots,
            instructions: self.instructions + other.instructions,
            multiply_adds: self.multiply_adds + other.multiply_adds,
            matrix: self.matrix + other.matrix,
            floats: self.floats + other.floats,
            special: self.special + other.special,
            integers: self.integers + other.integers,
            conversions: self.conversions + other.conversions,
            moves: self.moves + other.moves,
            shuffles: self.shuffles + other.shuffles,
            scalar: self.scalar + other.scalar,
            barriers: self.barriers + other.barriers,
            scratch: self.scratch + other.scratch,
            workgroup_loads: self.workgroup_loads + other.workgroup_loads,
            workgroup_load_bytes: self.workgroup_load_bytes + other.workgroup_load_bytes,
            workgroup_stores: self.workgroup_stores + other.workgroup_stores,
            workgroup_store_bytes: self.workgroup_store_bytes + other.workgroup_store_bytes,
            global_loads: self.global_loads + other.global_loads,
            global_load_bytes: self.global_load_bytes + other.global_load_bytes,
            global_stores: self.global_stores + other.global_stores,
        }
    }

    fn add(&mut self, instruction: &Instruction) {
        self.instructions += u32::from(instruction.kind != Kind::Wait);
        self.slots += instruction.slots;
        match instruction.kind {
            Kind::MultiplyAdd(count) => {
                self.multiply_adds += count;
                self.multiply_add_slots += instruction.slots;
            }
            Kind::Matrix => self.matrix += 1,
            Kind::Float => self.floats += 1,
            Kind::Special => self.special += 1,
            Kind::Integer => self.integers += 1,
            Kind::Conversion => self.conversions += 1,
            Kind::Move => self.moves += 1,
            Kind::Shuffle => self.shuffles += 1,
            Kind::WorkgroupLoad(bytes) => {
                self.workgroup_loads += 1;
                self.workgroup_load_bytes += bytes;
            }
            Kind::WorkgroupStore(bytes) => {
                self.workgroup_stores += 1;
                self.workgroup_store_bytes += bytes;
            }
            Kind::GlobalLoad(bytes) => {
                self.global_loads += 1;
                self.global_load_bytes += bytes;
            }
            Kind::GlobalStore(_) => self.global_stores += 1,
            Kind::Scratch => self.scratch += 1,
            Kind::Scalar => self.scalar += 1,
            Kind::Barrier => self.barriers += 1,
            Kind::Branch | Kind::Wait => {}
        }
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// The number at the end of a word, as in `b128`.
fn trailing_number(word: &str) -> Option<u32> {
    let digits = word.len() - word.bytes().rev().take_while(u8::is_ascii_digit).count();
    word[digits..].parse().ok()
}
