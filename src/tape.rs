//! Autograd: a list of nodes in execution order, and the reverse loop over it.
//!
//! The tape knows no operations. An operation runs and pushes one node that holds what its backward pass needs.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use crate::{Result, gpu::Gpu, tensor::Tensor};

type Backward = Box<dyn FnOnce(&mut Gradients, Tensor) -> Result<()>>;

struct Node {
    output: u64,
    /// The watched leaves among its inputs.
    leaves: Vec<u64>,
    backward: Backward,
}

/// Records operations, or (when off) ignores them.
pub struct Tape {
    gpu: Gpu,
    /// `None` when off.
    nodes: Option<RefCell<Vec<Node>>>,
    tracked: RefCell<HashSet<u64>>,
    /// How many nodes have each watched leaf as an input.
    leaves: RefCell<HashMap<u64, usize>>,
}

impl Tape {
    /// A tape that records operations that depend on watched tensors.
    pub fn new(gpu: &Gpu) -> Self {
        Self {
            gpu: gpu.clone(),
            nodes: Some(RefCell::default()),
            tracked: RefCell::default(),
            leaves: RefCell::default(),
        }
    }

    /// A tape that records nothing, for inference and validation.
    pub fn off(gpu: &Gpu) -> Self {
        Self { gpu: gpu.clone(), nodes: None, tracked: RefCell::default(), leaves: RefCell::default() }
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Marks a leaf whose gradient is wanted.
    pub fn watch(&self, tensor: &Tensor) {
        if self.nodes.is_some() {
            self.tracked.borrow_mut().insert(tensor.id());
            self.leaves.borrow_mut().entry(tensor.id()).or_default();
        }
    }

    /// Whether a gradient will be asked for this tensor.
    pub fn tracks(&self, tensor: &Tensor) -> bool {
        self.tracked.borrow().contains(&tensor.id())
    }

    /// Whether anything is recorded at all.
    pub fn is_recording(&self) -> bool {
        self.nodes.is_some()
    }

    /// Records that `output` was computed from `inputs`. `backward` takes ownership of the output's gradient.
    pub fn push(
        &self,
        inputs: &[&Tensor],
        output: &Tensor,
        backward: impl FnOnce(&mut Gradients, Tensor) -> Result<()> + 'static,
    ) {
        let Some(nodes) = &self.nodes else { return };
        if inputs.iter().any(|input| self.tracks(input)) {
            self.tracked.borrow_mut().insert(output.id());
            let mut counts = self.leaves.borrow_mut();
            let mut leaves = Vec::new();
            for input in inputs {
                if let Some(count) = counts.get_mut(&input.id()) {
                    *count += 1;
                    leaves.push(input.id());
                }
            }
            nodes.borrow_mut().push(Node { output: output.id(), leaves, backward: Box::new(backward) });
        }
    }

    /// Runs every node backward, last first, starting from `gradient` of `output`. Consumes the tape: what the nodes
    /// held is freed on the way.
    ///
    /// # Errors
    /// Returns the errors of the backward kernels.
    pub fn backward(self, output: &Tensor, gradient: Tensor, gradients: &mut Gradients) -> Result<()> {
        self.backward_telling(output, gradient, gradients, |_, _| Ok(()))
    }

    /// [`Tape::backward`] that calls `done` with the identity of each watched leaf once its gradient is complete.
    ///
    /// # Errors
    /// Returns the errors of the backward kernels and of `done`.
    pub fn backward_telling(
        self,
        output: &Tensor,
        gradient: Tensor,
        gradients: &mut Gradients,
        mut done: impl FnMut(&Gradients, u64) -> Result<()>,
    ) -> Result<()> {
        gradients.give(output, gradient)?;
        let mut nodes = self.nodes.map(RefCell::into_inner).unwrap_or_default();
        let mut counts = self.leaves.into_inner();
        while let Some(node) = nodes.pop() {
            // A node whose output was never used has no gradient and passes none on.
            if let Some(gradient) = gradients.take(node.output) {
                (node.backward)(gradients, gradient)?;
            }
            for leaf in node.leaves {
                let left = counts.entry(leaf).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    done(gradients, leaf)?;
                }
            }
        }
        Ok(())
    }

    /// Runs `block` without keeping its intermediate tensors and runs it again when its gradient is needed (activation
    /// checkpointing): the memory of one block instead of all, at the cost of another forward pass.
    ///
    /// `leaves` are the parameters that `block` uses. The block must give the same result both times.
    ///
    /// # Errors
    /// Returns the errors of `block`.
    pub fn checkpoint(
        &self,
        input: &Tensor,
        leaves: &[Tensor],
        block: impl Fn(&Self, &Tensor) -> Result<Tensor> + 'static,
    ) -> Result<Tensor> {
        let output = block(&Self::off(&self.gpu), input)?;
        let (gpu, kept, leaves) = (self.gpu.clone(), input.clone(), leaves.to_vec());
        let needed: Vec<_> = leaves.iter().chain([input]).collect();
        let watched: Vec<_> = needed.iter().filter(|leaf| self.tracks(leaf)).map(|leaf| leaf.id()).collect();
        self.push(&needed, &output, move |gradients, gradient| {
            let inner = Self::new(&gpu);
            inner.tracked.borrow_mut().extend(watched);
            let again = block(&inner, &kept)?;
            inner.backward(&again, gradient, gradients)
        });
        Ok(output)
    }
}

struct Gradient {
    tensor: Tensor,
    written: bool,
    kept: bool,
}

/// Gradients by tensor identity.
#[derive(Default)]
pub struct Gradients {
    map: HashMap<u64, Gradient>,
    /// Whether the write in parts that is in progress adds to an earlier gradient.
    part_adds: bool,
}

impl Gradients {
    /// Keeps the gradient of `leaf` in `buffer` across all steps instead of freeing it after use.
    pub fn keep(&mut self, leaf: &Tensor, buffer: Tensor) {
        self.map.insert(leaf.id(), Gradient { tensor: buffer, written: false, kept: true });
    }

    /// Discards the values of kept gradients: the next write replaces instead of adding.
    pub fn reset(&mut self) {
        for gradient in self.map.values_mut() {
            gradient.written = false;
        }
    }

    /// Where to write the gradient of `tensor`, and whether to add to what is already there.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn slot(&mut self, tensor: &Tensor) -> Result<(Tensor, bool)> {
        if let Some(gradient) = self.map.get_mut(&tensor.id()) {
            let accumulate = std::mem::replace(&mut gradient.written, true);
            return Ok((gradient.tensor.clone(), accumulate));
        }
        let fresh = Tensor::empty(tensor.gpu(), tensor.shape(), tensor.dtype())?;
        self.map.insert(tensor.id(), Gradient { tensor: fresh.clone(), written: true, kept: false });
        Ok((fresh, false))
    }

    /// [`Gradients::slot`] for a gradient that is written part by part: `later` parts belong to the write that the
    /// first part began, and add only if the first one did.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`].
    pub fn slot_part(&mut self, tensor: &Tensor, later: bool) -> Result<(Tensor, bool)> {
        if !later {
            let (slot, accumulate) = self.slot(tensor)?;
            self.part_adds = accumulate;
            return Ok((slot, accumulate));
        }
        let adds = self.part_adds;
        Ok((self.slot(tensor)?.0, adds))
    }

    /// Adds a gradient that the caller no longer needs; it may become the stored one.
    ///
    /// # Errors
    /// Returns the errors of the kernel that adds.
    pub fn give(&mut self, tensor: &Tensor, gradient: Tensor) -> Result<()> {
        let stored = self.map.get(&tensor.id());
        if stored.is_none() {
            let entry = Gradient { tensor: gradient, written: true, kept: false };
            self.map.insert(tensor.id(), entry);
            return Ok(());
        }
        let (target, accumulate) = self.slot(tensor)?;
        gradient.scale_into(&target, 1.0, accumulate)
    }

    /// The gradient of `tensor`, if anything reached it.
    pub fn get(&self, tensor: &Tensor) -> Option<&Tensor> {
        self.map.get(&tensor.id()).filter(|gradient| gradient.written).map(|gradient| &gradient.tensor)
    }

    /// Notes that the kept gradient of `leaf` was written from outside.
    pub fn wrote(&mut self, leaf: &Tensor) {
        if let Some(gradient) = self.map.get_mut(&leaf.id()) {
            gradient.written = true;
        }
    }

    fn take(&mut self, id: u64) -> Option<Tensor> {
        if self.map.get(&id)?.kept {
            return self.map.get(&id).map(|gradient| gradient.tensor.clone());
        }
        self.map.remove(&id).map(|gradient| gradient.tensor)
    }
}
