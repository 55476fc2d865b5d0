//! Image features as the program sees them: tensors [n, channels, height, width].
//!
//! A description says only height and width of an image, and how either may vary; the program's own type has the rest. Core ML hands pixels over as
//! numbers from 0 to 255, channels in the order of the feature's colours.

use crate::{
    manifest::release::{Feature, Interface},
    mil::{Function, Program, ValueInfo},
};

/// Gives every image of `interface` the shape that the program has for it.
pub(super) fn as_tensors(interface: &mut Interface, program: &Program) {
    if let Some((_, function)) = program.main() {
        of_function(interface, function);
    }
    for (name, interface) in &mut interface.functions {
        if let Some(function) = program.functions.get(name) {
            of_function(interface, function);
        }
    }
}

fn of_function(interface: &mut Interface, function: &Function) {
    let values = |ids: &[_]| ids.iter().map(|&id| function.value(id).clone()).collect::<Vec<ValueInfo>>();
    let sides = [(&mut interface.inputs, values(&function.inputs)), (&mut interface.outputs, values(&function.block.outputs))];
    for (features, values) in sides {
        for feature in features.iter_mut().filter(|feature| feature.dtype == "image") {
            let value = values.iter().find(|value| value.name == feature.name);
            if let Some([n, channels]) = value.and_then(leading) {
                widen(feature, n, channels);
            }
        }
    }
}

/// The lengths before height and width.
fn leading(value: &ValueInfo) -> Option<[u64; 2]> {
    match value.ty.tensor()?.shape.as_slice() {
        [n, channels, _, _] => Some([n.known()?, channels.known()?]),
        _ => None,
    }
}

fn widen(feature: &mut Feature, n: u64, channels: u64) {
    feature.shape.splice(0..0, [n, channels]);
    if let Some(ranges) = &mut feature.ranges {
        ranges.splice(0..0, [(n, Some(n)), (channels, Some(channels))]);
    }
    for shape in feature.enumerated.iter_mut().flatten() {
        shape.splice(0..0, [n, channels]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_vary_gets_the_leading_lengths() {
        let mut feature = Feature {
            name: "picture".to_owned(),
            dtype: "image".to_owned(),
            shape: vec![4, 6],
            ranges: Some(vec![(4, Some(8)), (6, None)]),
            enumerated: Some(vec![vec![4, 6], vec![8, 6]]),
            optional: false,
        };
        widen(&mut feature, 1, 3);
        assert_eq!(feature.shape, [1, 3, 4, 6]);
        assert_eq!(feature.ranges.unwrap(), [(1, Some(1)), (3, Some(3)), (4, Some(8)), (6, None)]);
        assert_eq!(feature.enumerated.unwrap(), [[1, 3, 4, 6], [1, 3, 8, 6]]);
    }
}
