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

/// The longest side of a panel on the page.
const PANEL: usize = 320;

/// Whether an output is shown as a picture.
pub(super) fn is_picture(name: &str, dims: &[usize]) -> bool {
    let channels = |count| dims.len() == 4 && dims[0] == 1 && (dims[1] == count || dims[3] == count);
    channels(3) || (name.contains("image") && (channels(1) || channels(4)))
}

/// Three panels: expected, actual, difference.
pub(super) struct Strip {
    /// Bundle, case and output.
    pub(super) names: [String; 3],
    /// The largest difference of a pixel: what white means.
    pub(super) largest: f32,
    panels: Option<[Picture; 3]>,
    /// A small picture for the page, as a PNG file.
    pub(super) thumbnail: Vec<u8>,
}

impl Strip {
    pub(super) fn new(names: [&str; 3], (actual, expected): (&Tensor, &Tensor), limits: (f32, f32)) -> Self {
        let pictures = Picture::of(actual, limits).zip(Picture::of(expected, limits));
        let panels = pictures.map(|(actual, expected)| {
            let (difference, largest) = actual.difference(&expected);
            ([expected, actual, difference], largest)
        });
        let (panels, largest) = panels.map_or((None, 0.0), |(panels, largest)| (Some(panels), largest));
        Self { names: names.map(str::to_owned), largest, panels, thumbnail: Vec::new() }
    }

    /// `<bundle>[-<case>]-<output>.png`, of characters that every file system has.
    fn file_name(&self) -> String {
        let bundle = Path::new(&self.names[0]).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let parts: Vec<&str> = [bundle.as_str(), &self.names[1], &self.names[2]].into_iter().filter(|part| !part.is_empty()).collect();
        let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        parts.join("-").chars().map(safe).collect::<String>() + ".png"
    }

    fn png(&self, most: usize) -> Result<Vec<u8>, EvaluationError> {
        let Some(panels) = &self.panels else { return Ok(Vec::new()) };
        let panels = panels.each_ref().map(|panel| panel.at_most(most));
        // NaN cannot be shown; the difference map has it as white.
        let strip = Picture::side_by_side(&[&panels[0], &panels[1], &panels[2]]).without_nan();
        let wrong = |source| EvaluationError::Picture { name: self.names[2].clone(), source };
        let tensor = strip.tensor().map_err(|error| wrong(error.into()))?;
        tensors::png(&tensor, &PictureOptions::default()).map_err(wrong)
    }

    fn write(&self, folder: &Path) -> Result<PathBuf, EvaluationError> {
        let path = folder.join(self.file_name());
        let bytes = self.png(usize::MAX)?;
        let write = || {
            fs::create_dir_all(folder)?;
            AtomicFile::write(&path, &bytes)
        };
        write().map_err(|source| EvaluationError::Write { path: path.clone(), source })?;
        Ok(path)
    }
}

impl Outcome {
    /// Writes a strip at once, and keeps only what the page needs.
    pub(super) fn keep(&mut self, mut strip: Strip, evaluation: &Evaluation<'_>) -> Result<(), EvaluationError> {
        if let Some(folder) = &evaluation.options.pictures {
            self.report.written.push(strip.write(&evaluation.context.directory().join(folder))?);
        }
        if evaluation.options.report.is_some() {
            strip.thumbnail = strip.png(PANEL)?;
            strip.panels = None;
            self.strips.push(strip);
        }
        Ok(())
    }
}
