//! Image features as the program sees them: tensors [n, channels, height, width].
//!
//! A description says only height and width of an image, and how either may vary; the program's own type has the rest.
//! Core ML hands pixels over as numbers from 0 to 255, channels in the order of the feature's colours.

use super::Part;
use crate::{
    contract::{Feature, Interface},
    emit::coreml::ColorSpace,
    mil::{Function, Program, TensorType, ValueInfo},
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

/// Gives every image of a pipeline the shape of a part that takes or gives it.
pub(super) fn as_parts(interface: &mut Interface, parts: &[Part]) {
    let find = |features: fn(&Interface) -> &[Feature], name: &str| {
        let mut features =
            parts.iter().flat_map(|part| features(&part.model.interface)).filter(|feature| feature.name == name);
        let shape = &features.find(|feature| feature.shape.len() == 4)?.shape;
        Some([shape[0], shape[1]])
    };
    for feature in interface.inputs.iter_mut().filter(|feature| is_image(feature)) {
        let [n, channels] = find(|it| &it.inputs, &feature.name).unwrap_or_else(|| [1, channels(feature)]);
        widen(feature, n, channels);
    }
    for feature in interface.outputs.iter_mut().filter(|feature| is_image(feature)) {
        let [n, channels] = find(|it| &it.outputs, &feature.name).unwrap_or_else(|| [1, channels(feature)]);
        widen(feature, n, channels);
    }
}

fn is_image(feature: &Feature) -> bool {
    feature.dtype == "image"
}

fn of_function(interface: &mut Interface, function: &Function) {
    let values = |ids: &[_]| ids.iter().map(|&id| function.value(id).clone()).collect::<Vec<ValueInfo>>();
    let sides =
        [(&mut interface.inputs, values(&function.inputs)), (&mut interface.outputs, values(&function.block.outputs))];
    for (features, values) in sides {
        for feature in features.iter_mut().filter(|feature| is_image(feature)) {
            let value = values.iter().find(|value| value.name == feature.name);
            if let Some([n, channels]) = value.and_then(|value| leading(value.ty.tensor()?, channels(feature))) {
                widen(feature, n, channels);
            }
        }
    }
}

/// The lengths before height and width; open ones are those of a single image.
fn leading(ty: &TensorType, channels: u64) -> Option<[u64; 2]> {
    match ty.shape.as_slice() {
        [n, c, _, _] => Some([n.known().unwrap_or(1), c.known().unwrap_or(channels)]),
        _ => None,
    }
}

/// The channels that the color space has.
fn channels(feature: &Feature) -> u64 {
    feature.color.as_deref().and_then(ColorSpace::from_name).map_or(3, ColorSpace::channels)
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
            ..Feature::default()
        };
        widen(&mut feature, 1, 3);
        assert_eq!(feature.shape, [1, 3, 4, 6]);
        assert_eq!(feature.ranges.unwrap(), [(1, Some(1)), (3, Some(3)), (4, Some(8)), (6, None)]);
        assert_eq!(feature.enumerated.unwrap(), [[1, 3, 4, 6], [1, 3, 8, 6]]);
    }
}
