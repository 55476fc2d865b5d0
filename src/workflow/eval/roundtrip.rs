//! A picture through an encoder and a decoder, compared with itself: what an autoencoder loses, per precision and
//! compression.

use std::{collections::BTreeMap, path::Path};

use candle_core::Tensor;

use super::{
    BundleResult, CaseResult, Evaluation, EvaluationError, Outcome,
    compare::{Ran, Subject},
};
use crate::{
    contract::{Feature, Interface, features},
    emit::coreml::ColorSpace,
    eval::{
        golden::{Case, FitOptions, fit_inputs},
        pictures::Picture,
        pixels::{self, Pixels},
    },
    tensors::{self, PictureOptions, ReadOptions},
    workflow::{Amount, Error, bundles::Bundle},
};

const IMAGE: &str = features::IMAGE;
const LATENT: &str = features::LATENT;

impl Evaluation<'_> {
    pub(super) fn roundtrip(&self, path: &Path) -> Result<Outcome, Error> {
        let picture = self.picture(path)?;
        let bundles = self
            .subjects()?
            .into_iter()
            .map(|(found, _)| found.open(self.context))
            .collect::<Result<Vec<Bundle>, _>>()?;
        let pairs = pairs(&bundles);
        if pairs.is_empty() {
            return Err(EvaluationError::NoPairs {
                bundles: bundles.into_iter().map(|bundle| format!("`{}`", bundle.name)).collect(),
            }
            .into());
        }
        let mut outcome = Outcome { report: self.empty_report(path.display().to_string()), strips: Vec::new() };
        for (encoder, decoder) in pairs {
            let name = format!("{} + {}", encoder.name, decoder.name);
            let task = self.context.progress().begin(&format!("comparing {name}"), Amount::Unknown);
            let (encoder, decoder) = (self.subject(encoder, None)?, self.subject(decoder, None)?);
            let (width, height) = size(encoder.interface);
            let image = picture.resized(width, height);
            let tensor = image.tensor().map_err(|source| self.cannot_show(path, source))?;
            let case = self.through(&name, &encoder, &decoder, &tensor, &mut outcome)?;
            let reference = if (width, height) == (picture.width, picture.height) {
                path.display().to_string()
            } else {
                format!("{} at {width}x{height}", path.display())
            };
            outcome.report.bundles.push(BundleResult {
                bundle: name,
                reference,
                cases: vec![case],
                misfits: Vec::new(),
            });
            task.finish("compared");
        }
        Ok(outcome)
    }

    fn picture(&self, path: &Path) -> Result<Picture, EvaluationError> {
        let options = ReadOptions {
            name: Some(IMAGE.to_owned()),
            picture: PictureOptions { channels: Some(3), ..PictureOptions::default() },
        };
        let mut tensors = tensors::read(&self.context.directory().join(path), &options)?;
        let picture = tensors.pop_first().and_then(|(_, tensor)| Picture::of(&tensor, (0.0, 1.0)));
        picture.ok_or_else(|| EvaluationError::NotAPicture { path: path.to_owned() })
    }

    fn cannot_show(&self, path: &Path, source: candle_core::Error) -> EvaluationError {
        EvaluationError::Picture { name: path.display().to_string(), source: source.into() }
    }

    /// Encodes and decodes a picture [1, 3, H, W], and compares what comes back.
    fn through(
        &self,
        name: &str,
        encoder: &Subject<'_>,
        decoder: &Subject<'_>,
        image: &Tensor,
        outcome: &mut Outcome,
    ) -> Result<CaseResult, EvaluationError> {
        let wrong =
            |source: candle_core::Error| EvaluationError::Picture { name: IMAGE.to_owned(), source: source.into() };
        let find = |features: &[Feature]| features.iter().find(|feature| feature.name == IMAGE).cloned();
        let (given, made) = (find(&encoder.interface.inputs), find(&decoder.interface.outputs));
        let encoded = self.fed(encoder, IMAGE, &self.numbers(image, given.as_ref()).map_err(wrong)?)?;
        let latent = encoded.outputs.get(LATENT).expect("pairs have the output");
        let decoded = self.fed(decoder, LATENT, latent)?;
        let back = decoded.outputs.get(IMAGE).expect("pairs have the output");
        // NCHW, as the picture is.
        let back = if back.dims()[1..] == image.dims()[1..] {
            Ok(back.clone())
        } else {
            back.permute((0, 3, 1, 2)).and_then(|t| t.contiguous())
        };
        let (back, image) = (back.map_err(wrong)?, self.numbers(image, made.as_ref()).map_err(wrong)?);
        let output = self.measured_output([name, "", IMAGE], made.as_ref(), (&back, &image), outcome)?;
        let not_finite = encoded.not_finite.or(decoded.not_finite);
        let seconds = encoded.seconds + decoded.seconds;
        Ok(CaseResult {
            case: String::new(),
            seconds,
            outputs: vec![output],
            unchecked: Vec::new(),
            not_finite,
            operations: None,
        })
    }

    /// A picture [1, 3, H, W] of numbers from 0 to 1 with the numbers that a feature has: those of the range, or pixels
    /// in their order.
    fn numbers(&self, picture: &Tensor, feature: Option<&Feature>) -> candle_core::Result<Tensor> {
        let (black, white) = self.limits(feature);
        let scaled = picture.affine(f64::from(white - black), f64::from(black))?;
        let Some(color) = feature.and_then(|feature| ColorSpace::from_name(feature.color.as_deref()?)) else {
            return Ok(scaled);
        };
        let pixels = pixels::rounded(&scaled, Pixels::of(color))?;
        if color == ColorSpace::Bgr { pixels::reversed(&pixels) } else { Ok(pixels) }
    }

    fn fed(&self, subject: &Subject<'_>, input: &str, tensor: &Tensor) -> Result<Ran, EvaluationError> {
        let inputs = BTreeMap::from([(input.to_owned(), tensor.clone())]);
        let case = Case { name: String::new(), inputs, outputs: BTreeMap::new() };
        let misfit = |source| EvaluationError::Misfit { bundle: subject.bundle.name.clone(), source };
        let fitted = fit_inputs(&case, subject.interface, FitOptions::default()).map_err(misfit)?;
        self.run(subject, fitted.inputs).map_err(|source| subject.cannot_run(source))
    }
}

/// Encoders and the decoders that belong to them: of one release those whose axes are the same, otherwise those whose
/// shapes fit.
fn pairs(bundles: &[Bundle]) -> Vec<(&Bundle, &Bundle)> {
    let with = |input: &'static str, output: &'static str| {
        bundles.iter().filter(move |bundle| {
            bundle
                .package
                .interface(None)
                .is_some_and(|interface| has(&interface.inputs, input) && has(&interface.outputs, output))
        })
    };
    let mut pairs = Vec::new();
    for encoder in with(IMAGE, LATENT) {
        let belongs = |decoder: &&Bundle| match (&encoder.variant, &decoder.variant) {
            (Some(encoder), Some(decoder)) => (&encoder.axes, encoder.target) == (&decoder.axes, decoder.target),
            _ => shapes(encoder) == shapes(decoder),
        };
        pairs.extend(with(LATENT, IMAGE).filter(belongs).map(|decoder| (encoder, decoder)));
    }
    pairs
}

fn has(features: &[Feature], name: &str) -> bool {
    features.iter().any(|feature| feature.name == name && feature.shape.len() == 4)
}

/// The shapes of image and latent, whichever goes in, without regard to the layout.
fn shapes(bundle: &Bundle) -> [Vec<u64>; 2] {
    let interface = bundle.package.interface(None).cloned().unwrap_or_default();
    [IMAGE, LATENT].map(|name| {
        let mut shape = interface
            .inputs
            .iter()
            .chain(&interface.outputs)
            .find(|feature| feature.name == name)
            .map_or(Vec::new(), |f| f.shape.clone());
        shape.sort_unstable();
        shape
    })
}

/// Width and height of an encoder's picture.
fn size(interface: &Interface) -> (usize, usize) {
    let shape = interface.inputs.iter().find(|feature| feature.name == IMAGE).map_or(&[][..], |feature| &feature.shape);
    let side = |axis: usize| shape.get(axis).map_or(1, |&n| n as usize);
    if shape.get(1) == Some(&3) { (side(3), side(2)) } else { (side(2), side(1)) }
}
