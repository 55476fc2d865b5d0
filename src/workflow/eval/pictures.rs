//! Pictures beside numbers: what was expected, what came out, and where they differ.

use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_core::Tensor;

use super::{Evaluation, EvaluationError, Outcome};
use crate::{
    base::AtomicFile,
    eval::pictures::Picture,
    tensors::{self, PictureOptions},
};

/// The longest side of a picture on the page.
const PANEL: usize = 480;

/// Whether an output is shown as a picture.
pub(super) fn is_picture(name: &str, dims: &[usize]) -> bool {
    let channels = |count| dims.len() == 4 && dims[0] == 1 && (dims[1] == count || dims[3] == count);
    channels(3) || (name.contains("image") && (channels(1) || channels(4)))
}

/// What was expected, what came out, and where they differ.
pub(super) struct Strip {
    /// Bundle, case and output.
    pub(super) names: [String; 3],
    /// Width and height.
    pub(super) size: String,
    /// The largest difference of a pixel.
    pub(super) largest: f32,
    /// Expected, actual, and how far each pixel is off, as grey.
    pictures: Option<[Picture; 3]>,
}

/// The pictures of a strip as PNG files.
pub(super) struct Panels {
    pub(super) expected: Vec<u8>,
    pub(super) found: Vec<u8>,
    pub(super) difference: Vec<u8>,
}

impl Strip {
    pub(super) fn new(names: [&str; 3], (actual, expected): (&Tensor, &Tensor), limits: (f32, f32)) -> Self {
        let pictures = Picture::of(expected, limits).zip(Picture::of(actual, limits));
        let pictures = pictures.map(|(expected, actual)| {
            let distance = actual.distance(&expected);
            [expected, actual, distance]
        });
        let largest = pictures.as_ref().map_or(0.0, |[.., distance]| distance.largest());
        let size = pictures
            .as_ref()
            .map_or(String::new(), |[expected, ..]| format!("{} × {}", expected.width, expected.height));
        Self { names: names.map(str::to_owned), size, largest, pictures }
    }

    /// `<bundle>[-<case>]-<output>.png`, of characters that every file system has.
    fn file_name(&self) -> String {
        let bundle = Path::new(&self.names[0]).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let parts: Vec<&str> =
            [bundle.as_str(), &self.names[1], &self.names[2]].into_iter().filter(|part| !part.is_empty()).collect();
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        parts.join("-").chars().map(safe).collect::<String>() + ".png"
    }

    /// The pictures side by side; white is the strip's own largest difference.
    fn png(&self) -> Result<Vec<u8>, EvaluationError> {
        let Some([expected, actual, distance]) = &self.pictures else { return Ok(Vec::new()) };
        self.encoded(Picture::side_by_side(&[expected, actual, &distance.heat(self.largest)]))
    }

    /// The pictures by themselves; `white` is the difference that is drawn white.
    pub(super) fn panels(&self, white: f32) -> Result<Option<Panels>, EvaluationError> {
        let Some([expected, actual, distance]) = &self.pictures else { return Ok(None) };
        let difference = self.encoded(distance.heat(white))?;
        Ok(Some(Panels { expected: self.encoded(expected.clone())?, found: self.encoded(actual.clone())?, difference }))
    }

    fn encoded(&self, picture: Picture) -> Result<Vec<u8>, EvaluationError> {
        let wrong = |source| EvaluationError::Picture { name: self.names[2].clone(), source };
        // NaN cannot be shown; the heat map has it as white.
        let tensor = picture.without_nan().tensor().map_err(|error| wrong(error.into()))?;
        tensors::png(&tensor, &PictureOptions::default()).map_err(wrong)
    }

    fn write(&self, folder: &Path) -> Result<PathBuf, EvaluationError> {
        let path = folder.join(self.file_name());
        let bytes = self.png()?;
        let write = || {
            fs::create_dir_all(folder)?;
            AtomicFile::write(&path, &bytes)
        };
        write().map_err(|source| EvaluationError::Write { path: path.clone(), source })?;
        Ok(path)
    }
}

impl Outcome {
    /// Writes a strip at once, and keeps small pictures of it where there is a page.
    pub(super) fn keep(&mut self, mut strip: Strip, evaluation: &Evaluation<'_>) -> Result<(), EvaluationError> {
        if let Some(folder) = &evaluation.options.pictures {
            self.report.written.push(strip.write(&evaluation.context.directory().join(folder))?);
        }
        if evaluation.options.report.is_some() {
            strip.pictures = strip.pictures.map(|pictures| pictures.map(|picture| picture.at_most(PANEL)));
            self.strips.push(strip);
        }
        Ok(())
    }
}
