//! A device that only takes notes.

use wgpt::{ops::elementwise, tape::Tape, tensor::Tensor};

use crate::device::device;

#[test]
fn imagining_takes_notes_and_nothing_else() {
    let device = device();
    let before = (device.gpu.memory(), device.gpu.created());
    let imagined = device.gpu.imagine();
    let tensor = Tensor::zeros(&imagined, &[1 << 10, 1 << 10]).expect("a tensor");
    let tape = Tape::off(&imagined);
    for _ in 0..3 {
        elementwise::add(&tape, &tensor, &tensor).expect("a note");
    }
    elementwise::fill(&tensor, 1.0).expect("another");
    assert_eq!(pollster::block_on(tensor.rows(4, 5).expect("rows").to_f32()).expect("zeros"), vec![0.0; 5 << 10]);
    imagined.finish().expect("nothing to wait for");
    let works = imagined.ledger().expect("an imagined device has a ledger").take();
    let notes: Vec<_> = works.iter().map(|work| (work.variant.kernel.name, work.count)).collect();
    assert_eq!(notes, [("add", 3), ("fill", 1)]);
    let (live, peak, _) = imagined.memory();
    assert_eq!((live, peak), (4 << 20, 8 << 20));
    assert_eq!((device.gpu.memory(), device.gpu.created()), before);
}
