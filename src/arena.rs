//! Many tensors in few buffers: what is updated together lies together, so that one dispatch can update it.

use crate::{
    Result,
    gpu::{Gpu, pool::Purpose},
    tensor::{DType, Tensor},
};

/// Every tensor starts at a multiple of this many elements: 256 bytes of the smallest type, the strictest alignment of
/// bindings. So arenas of the same shapes have the same element offsets whatever their types are.
const ALIGNMENT: usize = 128;

/// Maximum bytes of one buffer, however large the adapter's may be.
const LARGEST: u64 = 1 << 30;

/// Zeroed tensors of `shapes`, one after the other in that order; the gaps between them are zero and stay zero.
fn arena(gpu: &Gpu, shapes: &[&[usize]], dtype: DType) -> Result<Vec<Tensor>> {
    let size = |shape: &[usize]| shape.iter().product::<usize>().next_multiple_of(ALIGNMENT);
    // Counted in f32 bytes for every type, so that all arenas are cut into buffers alike.
    let most = (gpu.capabilities().buffer.min(LARGEST) / DType::F32.bytes()) as usize;
    let mut tensors = Vec::with_capacity(shapes.len());
    let mut rest = shapes;
    while !rest.is_empty() {
        let (mut count, mut elements) = (0, 0);
        while count < rest.len() && (count == 0 || elements + size(rest[count]) <= most) {
            elements += size(rest[count]);
            count += 1;
        }
        let all = Tensor::allocate(gpu, &[elements], dtype, Purpose::Arena)?;
        all.clear();
        let mut first = 0;
        for shape in &rest[..count] {
            tensors.push(all.part(first, shape)?);
            first += size(shape);
        }
        rest = &rest[count..];
    }
    Ok(tensors)
}

/// Zeroed tensors for a model's parameters, returned in the order of `shapes` but stored with matrices before vectors:
/// weight decay applies to matrices only, so what one pass updates alike lies together.
///
/// # Errors
/// [`crate::Error::TooLarge`] for a tensor over the adapter's largest buffer, [`crate::Error::OutOfMemory`].
pub fn of_parameters(gpu: &Gpu, shapes: &[&[usize]], dtype: DType) -> Result<Vec<Tensor>> {
    let order = update_order(shapes);
    let sorted: Vec<_> = order.iter().map(|&index| shapes[index]).collect();
    let mut placed: Vec<_> = order.into_iter().zip(arena(gpu, &sorted, dtype)?).collect();
    placed.sort_by_key(|(index, _)| *index);
    Ok(placed.into_iter().map(|(_, tensor)| tensor).collect())
}

/// The order in which parameters are stored and updated: matrices, then vectors.
pub fn update_order(shapes: &[&[usize]]) -> Vec<usize> {
    let mut order: Vec<_> = (0..shapes.len()).collect();
    order.sort_by_key(|&index| shapes[index].len() < 2);
    order
}

/// Whether one flat pass over everything from `first` to `last` may continue through `next`: it must follow with nothing
/// but zeros between, and all of it must fit into one binding.
pub fn follows(first: &Tensor, last: &Tensor, next: &Tensor) -> bool {
    let gap = last.elements().next_multiple_of(ALIGNMENT) - last.elements();
    let through = |tensor: &Tensor| first.through(tensor);
    let (Some(before), Some(after)) = (through(last), through(next)) else { return false };
    // Kernels that store four at a time may write anything after the end if the last vector is not full.
    last.elements() % 4 == 0
        && after.elements() == before.elements() + gap + next.elements()
        && after.bytes() <= after.gpu().capabilities().binding
}
