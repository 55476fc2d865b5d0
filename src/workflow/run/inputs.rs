//! Input files: tensors, and pictures in the form that an input takes.
//!
//! A picture for an image becomes pixels from 0 to 255 in the order of the image's color space, as Core ML hands them
//! to a program. One for an array has the numbers of a range. Tensors are taken as they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use candle_core::Tensor;

use super::{ReadOptions, RunError, RunOptions};
use crate::{
    contract::{Feature, Interface},
    emit::coreml::ColorSpace,
    eval::{
        golden::{Case, FitOptions, fit_inputs},
        pixels::{self, Pixels},
    },
    tensors::{self, FitMode, Format, Image, Layout, PictureOptions, ValueRange},
};

/// How pictures become inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PictureChoice {
    /// The numbers of black and white, for arrays; none for the default.
    pub range: Option<ValueRange>,
    /// What happens to a picture of another size than the input; none where that is an error.
    pub fit: Option<FitMode>,
}

/// What files hold, under the names that are meant.
#[derive(Debug, Clone, Default)]
pub(in crate::workflow) struct Given {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    Tensor(Tensor),
    Picture(PathBuf, Image),
}

/// What is said about pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::workflow) struct PictureNotes {
    /// Images that got a picture, with their color spaces.
    images: Vec<(String, String)>,
    /// Whether an array got one.
    pub arrays: bool,
    /// Files whose alpha was left out.
    transparent: BTreeSet<PathBuf>,
}

impl PictureNotes {
    /// Sentences for the user. A range that was asked for and means nothing is an error; `is_used` says that other
    /// pictures have it.
    pub(in crate::workflow) fn warnings(self, choice: PictureChoice, is_used: bool) -> Result<Vec<String>, RunError> {
        let mut warnings = Vec::new();
        if let (Some(range @ (ValueRange::Unit | ValueRange::Signed)), Some((name, color))) =
            (choice.range, self.images.first())
        {
            if !is_used && !self.arrays {
                return Err(RunError::Range { range, name: name.clone(), color: color.clone() });
            }
            warnings
                .push(format!("`--range {range}` is not for `{name}`, an image ({color}): its pixels are 0 to 255"));
        }
        warnings.extend(
            self.transparent
                .iter()
                .map(|path| format!("`{}` is transparent in places: its alpha was left out", path.display())),
        );
        Ok(warnings)
    }
}

/// The inputs of a function, in the form that it takes, and what is to be said about pictures. A file's only tensor
/// goes to the function's only input without a default, a picture to the only image, whatever its name.
pub(super) fn read(
    directory: &Path,
    options: &RunOptions,
    bundle: &str,
    interface: &Interface,
) -> Result<(BTreeMap<String, Tensor>, PictureNotes), RunError> {
    let mut notes = PictureNotes::default();
    let given = Given::read(directory, &options.inputs, &options.names)?;
    let inputs = given.inputs(&interface.inputs, options.pictures, &mut notes)?;
    let case = Case { name: String::new(), inputs, outputs: BTreeMap::new() };
    let fitted = fit_inputs(&case, interface, FitOptions::default());
    Ok((fitted.map_err(|source| RunError::Inputs { bundle: bundle.to_owned(), source })?.inputs, notes))
}

impl Given {
    /// Reads files.
    pub(in crate::workflow) fn read(
        directory: &Path,
        files: &[PathBuf],
        names: &BTreeMap<String, String>,
    ) -> Result<Self, RunError> {
        let mut given = Self::default();
        for path in files {
            let file = directory.join(path);
            let entries: Vec<(String, Entry)> = if Format::of(path)?.is_picture() {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                vec![(stem, Entry::Picture(path.clone(), tensors::read_picture(&file)?))]
            } else {
                let tensors = tensors::read(&file, &ReadOptions::default())?;
                tensors.into_iter().map(|(name, tensor)| (name, Entry::Tensor(tensor))).collect()
            };
            for (name, entry) in entries {
                let name = names.get(&name).cloned().unwrap_or(name);
                if given.entries.insert(name.clone(), entry).is_some() {
                    return Err(RunError::Repeated { name, path: path.clone() });
                }
            }
        }
        Ok(given)
    }

    /// The tensors for inputs.
    pub(in crate::workflow) fn inputs(
        &self,
        features: &[Feature],
        choice: PictureChoice,
        notes: &mut PictureNotes,
    ) -> Result<BTreeMap<String, Tensor>, RunError> {
        let needed: Vec<&Feature> =
            features.iter().filter(|feature| !feature.optional || feature.default.is_none()).collect();
        self.tensors(features, &needed, choice, true, notes)
    }

    /// The tensors that are expected of outputs, and the names of those that came as pictures of images.
    pub(in crate::workflow) fn outputs(
        &self,
        features: &[Feature],
        choice: PictureChoice,
        notes: &mut PictureNotes,
    ) -> Result<(BTreeMap<String, Tensor>, BTreeSet<String>), RunError> {
        let before = notes.images.len();
        let tensors = self.tensors(
            features,
            &features.iter().collect::<Vec<_>>(),
            PictureChoice { fit: None, ..choice },
            false,
            notes,
        )?;
        Ok((tensors, notes.images.drain(before..).map(|(name, _)| name).collect()))
    }

    fn tensors(
        &self,
        features: &[Feature],
        needed: &[&Feature],
        choice: PictureChoice,
        is_input: bool,
        notes: &mut PictureNotes,
    ) -> Result<BTreeMap<String, Tensor>, RunError> {
        let known = |name: &str| features.iter().find(|feature| feature.name == name);
        let images: Vec<&Feature> = features.iter().filter(|feature| feature.dtype == "image").collect();
        let is_stranger =
            |(name, entry): &(&String, &Entry)| matches!(entry, Entry::Picture(..)) && known(name).is_none();
        let strangers = self.entries.iter().filter(is_stranger).count();
        let mut tensors = BTreeMap::new();
        for (name, entry) in &self.entries {
            let feature = match (needed, images.as_slice(), entry) {
                ([only], ..) if self.entries.len() == 1 && (features.len() == 1 || known(name).is_none()) => {
                    Some(*only)
                }
                (_, [only], Entry::Picture(..))
                    if strangers == 1 && known(name).is_none() && !self.entries.contains_key(&only.name) =>
                {
                    Some(*only)
                }
                _ => known(name),
            };
            let tensor = match entry {
                Entry::Tensor(tensor) => tensor.clone(),
                Entry::Picture(path, image) => taken(path, image, feature, choice, is_input, notes)?,
            };
            tensors.insert(feature.map_or(name, |feature| &feature.name).clone(), tensor);
        }
        Ok(tensors)
    }
}

/// A picture in the form of a feature; in its own where that is no picture.
fn taken(
    path: &Path,
    image: &Image,
    feature: Option<&Feature>,
    choice: PictureChoice,
    is_input: bool,
    notes: &mut PictureNotes,
) -> Result<Tensor, RunError> {
    let problem = |problem| RunError::File(tensors::TensorFileError::Picture { path: path.to_owned(), problem });
    let range = choice.range.unwrap_or_default();
    let Some((feature, place)) = feature.and_then(|feature| Some((feature, Place::of(feature)?))) else {
        notes.arrays = true;
        return image.tensor(&PictureOptions { range, ..PictureOptions::default() }).map_err(problem);
    };
    let color = (feature.dtype == "image")
        .then(|| feature.color.as_deref().and_then(ColorSpace::from_name).unwrap_or(ColorSpace::Rgb));
    let range = if color.is_some() { ValueRange::Byte } else { range };
    let options = PictureOptions { layout: Some(Layout::Nchw), range, channels: Some(place.channels) };
    let mut tensor = image.tensor(&options).map_err(problem)?;
    if !place.sizes.have(image.size()) {
        let size = |(width, height): (usize, usize)| format!("{width} x {height}");
        let mismatch = || RunError::PictureSize {
            path: path.to_owned(),
            name: feature.name.clone(),
            found: size(image.size()),
            expected: place.sizes.to_string(),
            is_input,
        };
        let mode = choice.fit.ok_or_else(mismatch)?;
        tensor = tensors::fit(&tensor, place.sizes.nearest(image.size()), mode, range.limits().0).map_err(problem)?;
    }
    if image.is_transparent() && place.channels < 4 {
        notes.transparent.insert(path.to_owned());
    }
    let wrong = |source| RunError::Result { name: feature.name.clone(), source };
    match color {
        Some(color) => {
            notes.images.push((feature.name.clone(), color.name().to_owned()));
            let pixels = pixels::rounded(&tensor, Pixels::of(color)).map_err(wrong)?;
            if color == ColorSpace::Bgr { pixels::reversed(&pixels).map_err(wrong) } else { Ok(pixels) }
        }
        None => {
            notes.arrays = true;
            let layout = if place.layout == Layout::Nhwc {
                tensor.permute((0, 2, 3, 1)).and_then(|it| it.contiguous())
            } else {
                Ok(tensor)
            };
            layout.map_err(wrong)
        }
    }
}

/// Where a feature has a picture.
struct Place {
    layout: Layout,
    channels: usize,
    sizes: Sizes,
}

/// Width and height that a feature may have.
enum Sizes {
    /// One of these.
    Fixed(Vec<(usize, usize)>),
    /// Least and greatest width, and height.
    Ranges([(usize, usize); 2]),
}

impl Place {
    /// The place in a feature of one picture: [1, C, H, W] or [1, H, W, C]; `None` of anything else.
    fn of(feature: &Feature) -> Option<Self> {
        let least = || feature.ranges.iter().flatten().map(|(least, _)| *least).collect::<Vec<u64>>();
        let shape = if feature.shape.is_empty() { least() } else { feature.shape.clone() };
        let &[1, a, _, b] = shape.as_slice() else { return None };
        let (layout, channels, [height, width]) = match (a, b) {
            (3, _) => (Layout::Nchw, a, [2, 3]),
            (_, 3) if feature.dtype != "image" => (Layout::Nhwc, b, [1, 2]),
            (1 | 4, _) => (Layout::Nchw, a, [2, 3]),
            (_, 1 | 4) if feature.dtype != "image" => (Layout::Nhwc, b, [1, 2]),
            _ => return None,
        };
        let side = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let size = |shape: &[u64]| Some((side(*shape.get(width)?), side(*shape.get(height)?)));
        let sizes = match (&feature.enumerated, &feature.ranges) {
            (Some(shapes), _) => Sizes::Fixed(shapes.iter().map(|shape| size(shape)).collect::<Option<_>>()?),
            (None, Some(ranges)) => {
                let range =
                    |axis: usize| ranges.get(axis).map(|(least, most)| (side(*least), most.map_or(usize::MAX, side)));
                Sizes::Ranges([range(width)?, range(height)?])
            }
            (None, None) => Sizes::Fixed(vec![size(&shape)?]),
        };
        Some(Self { layout, channels: side(channels), sizes })
    }
}

impl Sizes {
    fn have(&self, (width, height): (usize, usize)) -> bool {
        match self {
            Self::Fixed(sizes) => sizes.contains(&(width, height)),
            Self::Ranges([widths, heights]) => {
                (widths.0..=widths.1).contains(&width) && (heights.0..=heights.1).contains(&height)
            }
        }
    }

    /// The size whose sides have the most similar ratio, and of several the most similar area.
    fn nearest(&self, (width, height): (usize, usize)) -> (usize, usize) {
        let ratio = |(width, height): (usize, usize)| (width.max(1) as f64 / height.max(1) as f64).ln();
        let area = |(width, height): (usize, usize)| (width.max(1) as f64 * height.max(1) as f64).ln();
        let distance = |size: (usize, usize)| {
            let own = (width, height);
            ((ratio(size) - ratio(own)).abs(), (area(size) - area(own)).abs())
        };
        match self {
            Self::Fixed(sizes) => {
                let nearest = sizes.iter().copied().min_by(|a, b| {
                    let (a, b) = (distance(*a), distance(*b));
                    a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
                });
                nearest.unwrap_or((width, height))
            }
            Self::Ranges([widths, heights]) => {
                (width.clamp(widths.0, widths.1.max(widths.0)), height.clamp(heights.0, heights.1.max(heights.0)))
            }
        }
    }
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(sizes) => {
                const SHOWN: usize = 8;
                let shown: Vec<String> =
                    sizes.iter().take(SHOWN).map(|(width, height)| format!("{width} x {height}")).collect();
                f.write_str(&shown.join(" or "))?;
                if sizes.len() > SHOWN { write!(f, " or {} more", sizes.len() - SHOWN) } else { Ok(()) }
            }
            Self::Ranges(ranges) => {
                let range = |(least, most): (usize, usize)| match most {
                    usize::MAX => format!("{least} or more"),
                    most if most == least => least.to_string(),
                    most => format!("{least} to {most}"),
                };
                write!(f, "{} x {}", range(ranges[0]), range(ranges[1]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(dtype: &str, shape: &[u64]) -> Feature {
        Feature { name: "x".to_owned(), dtype: dtype.to_owned(), shape: shape.to_vec(), ..Feature::default() }
    }

    fn image(color: ColorSpace, shape: &[u64]) -> Feature {
        Feature { color: Some(color.name().to_owned()), ..feature("image", shape) }
    }

    /// Red and a half transparent green, in a picture of two pixels.
    fn picture() -> Image {
        let tensor =
            Tensor::from_vec(vec![1f32, 0.0, 0.0, 1.0, 0.0, 0.2, 1.0, 0.5], (1, 4, 1, 2), &candle_core::Device::Cpu)
                .unwrap();
        Image::parse(&tensors::png(&tensor, &PictureOptions::default()).unwrap()).unwrap()
    }

    fn numbers(feature: &Feature, choice: PictureChoice) -> Result<(Vec<f32>, PictureNotes), RunError> {
        let mut notes = PictureNotes::default();
        let tensor = taken(Path::new("p.png"), &picture(), Some(feature), choice, true, &mut notes)?;
        Ok((tensor.flatten_all().unwrap().to_vec1().unwrap(), notes))
    }

    #[test]
    fn images_get_pixels_in_the_order_of_their_colors() {
        let pixels = |color, channels| numbers(&image(color, &[1, channels, 1, 2]), PictureChoice::default()).unwrap();
        assert_eq!(pixels(ColorSpace::Rgb, 3).0, [255.0, 0.0, 0.0, 255.0, 0.0, 51.0]);
        assert_eq!(pixels(ColorSpace::Bgr, 3).0, [0.0, 51.0, 0.0, 255.0, 255.0, 0.0]);
        assert_eq!(pixels(ColorSpace::Grayscale, 1).0, [76.0, 156.0], "as Pillow has it");
        let (halves, notes) = pixels(ColorSpace::GrayscaleFloat16, 1);
        assert!((halves[0] - 76.25).abs() < 0.04 && halves[0] != 76.0, "{halves:?}");
        assert_eq!(
            notes.warnings(PictureChoice::default(), false).unwrap(),
            ["`p.png` is transparent in places: its alpha was left out"]
        );
    }

    #[test]
    fn a_range_is_for_arrays() {
        let signed = PictureChoice { range: Some(ValueRange::Signed), fit: None };
        let (array, notes) = numbers(&feature("float32", &[1, 1, 2, 3]), signed).unwrap();
        assert_eq!(array, [1.0, -1.0, -1.0, -1.0, 1.0, -0.6], "channels last");
        assert_eq!(notes.warnings(signed, false).unwrap().len(), 1, "transparency alone");
        let (pixels, notes) = numbers(&image(ColorSpace::Rgb, &[1, 3, 1, 2]), signed).unwrap();
        assert_eq!(pixels[0], 255.0);
        let error = notes.clone().warnings(signed, false).unwrap_err();
        assert_eq!(error.to_string(), "`--range signed` does not fit `x`, an image (RGB): its pixels are 0 to 255");
        assert!(
            notes.clone().warnings(signed, true).unwrap()[0]
                .starts_with("`--range signed` is not for `x`, an image (RGB)")
        );
        assert_eq!(notes.warnings(PictureChoice { range: Some(ValueRange::Byte), fit: None }, false).unwrap().len(), 1);
    }

    #[test]
    fn sizes_that_differ_are_named_or_fitted() {
        let fixed = image(ColorSpace::Rgb, &[1, 3, 4, 6]);
        let error = numbers(&fixed, PictureChoice::default()).unwrap_err();
        assert_eq!(error.to_string(), "`p.png` has 2 x 1 pixels, `x` takes 6 x 4");
        assert_eq!(error.hint().unwrap(), "`--fit stretch`, `--fit crop` or `--fit pad` resizes it");
        for fit in [FitMode::Stretch, FitMode::Crop, FitMode::Pad] {
            assert_eq!(numbers(&fixed, PictureChoice { range: None, fit: Some(fit) }).unwrap().0.len(), 72, "{fit:?}");
        }
        let enumerated =
            Feature { enumerated: Some(vec![vec![1, 3, 4, 4], vec![1, 3, 2, 4], vec![1, 3, 8, 16]]), ..fixed.clone() };
        let sizes = Place::of(&enumerated).unwrap().sizes;
        assert_eq!(
            (sizes.to_string().as_str(), sizes.nearest((2, 1)), sizes.nearest((20, 20))),
            ("4 x 4 or 4 x 2 or 16 x 8", (4, 2), (4, 4))
        );
        let ranges = Feature { ranges: Some(vec![(1, Some(1)), (3, Some(3)), (2, None), (1, Some(4))]), ..fixed };
        let sizes = Place::of(&ranges).unwrap().sizes;
        assert_eq!(
            (sizes.to_string().as_str(), sizes.nearest((9, 1)), sizes.have((4, 7))),
            ("1 to 4 x 2 or more", (4, 2), true)
        );
    }

    #[test]
    fn a_single_tensor_is_for_the_input_that_has_no_default() {
        let tensor = Tensor::zeros((1, 4), candle_core::DType::F32, &candle_core::Device::Cpu).unwrap();
        let given = Given { entries: [("other".to_owned(), Entry::Tensor(tensor))].into() };
        let gain = Feature {
            name: "gain".to_owned(),
            optional: true,
            default: Some("1".to_owned()),
            ..feature("float32", &[1, 4])
        };
        let named = |features: &[Feature]| {
            let inputs = given.inputs(features, PictureChoice::default(), &mut PictureNotes::default()).unwrap();
            inputs.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(named(&[feature("float32", &[1, 4]), gain.clone()]), ["x"]);
        assert_eq!(named(std::slice::from_ref(&gain)), ["other"]);
        let given = Given { entries: [("p".to_owned(), Entry::Picture("p.png".into(), picture()))].into() };
        let features = [
            feature("float32", &[1, 4]),
            Feature { name: "image".to_owned(), ..image(ColorSpace::Rgb, &[1, 3, 1, 2]) },
        ];
        let inputs = given.inputs(&features, PictureChoice::default(), &mut PictureNotes::default()).unwrap();
        assert_eq!(inputs.into_keys().collect::<Vec<_>>(), ["image"]);
        assert_eq!(
            named(&[feature("float32", &[1, 4]), Feature { name: "y".to_owned(), ..feature("float32", &[1, 4]) }]),
            ["other"]
        );
    }
}
