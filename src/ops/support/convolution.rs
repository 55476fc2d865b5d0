//! Convolution of pictures of up to three dimensions: tiles of places are computed in parallel, from a copy of the part
//! of the picture that they need. In this copy the elements that one kernel element meets lie one behind the other,
//! over all rows of the tile, so that every kernel element of every channel is one row of [`Panels::accumulate`]:
//!
//! ```text
//! kernel 3, columns 4:  line 0  a b c d | e f      the tap (0, 1) meets b c d e . . h i j k: one row that begins at b;
//!                       line 1  g h i j | k l      the two places in between are computed and thrown away
//! ```
//!
//! With a stride, what lies a stride apart is laid side by side. Sums do not depend on how the places are cut into
//! tiles.

use std::ops::Range;

use rayon::prelude::*;

use super::shifted::Panels;

/// Filters that are computed from one copy.
const FILTERS: usize = 64;
/// Lines of the copy that are used together: with the places of a block, they fit into the nearest cache.
const LINES: usize = 64;
/// Places of a tile: with all filters, they fit into the second cache.
const PLACES: Range<usize> = 256..2048;
/// Where pictures are large enough, there are so many tiles at least.
const TILES: usize = 16;

/// One convolution: always three spatial dimensions, missing ones in front have length 1.
#[derive(Debug)]
pub(in crate::ops) struct Convolution {
    pub(in crate::ops) groups: usize,
    /// Input channels of a group.
    pub(in crate::ops) channels: usize,
    /// Output channels of all groups.
    pub(in crate::ops) filters: usize,
    pub(in crate::ops) input: [usize; 3],
    pub(in crate::ops) kernel: [usize; 3],
    pub(in crate::ops) output: [usize; 3],
    pub(in crate::ops) stride: [usize; 3],
    pub(in crate::ops) dilation: [usize; 3],
    /// Zeros in front.
    pub(in crate::ops) before: [usize; 3],
}

impl Convolution {
    /// The convolution of `x` [batch, groups * channels, input..] with `weight` [filters, channels, kernel..].
    pub(in crate::ops) fn run(mut self, x: &[f32], weight: &[f32], bias: Option<&[f32]>, batch: usize) -> Vec<f32> {
        if self.is_pointwise() {
            let plane = self.input.iter().product();
            (self.input, self.output) = ([1, 1, plane], [1, 1, plane]);
        }
        let mut out = vec![0.0; batch * self.filters * self.output.iter().product::<usize>()];
        if out.is_empty() {
            return out;
        }
        let rows = self.channels * self.kernel.iter().product::<usize>();
        let own = weight.chunks(self.filters / self.groups * rows);
        let panels: Vec<Vec<Panels>> =
            own.map(|own| own.chunks(FILTERS * rows).map(|part| Panels::new(part, rows)).collect()).collect();
        let layout = Layout::new(&self);
        let image = self.channels * self.input.iter().product::<usize>();
        tiles(&self, &layout, &mut out).into_par_iter().for_each_init(Buffers::default, |buffers, tile| {
            let group = tile.group % self.groups;
            let panels = &panels[group][tile.part];
            let x = &x[tile.group * image..(tile.group + 1) * image];
            let bias = bias.map(|bias| &bias[group * (self.filters / self.groups) + tile.part * FILTERS..]);
            self.tile(x, panels, bias, &layout, tile, buffers);
        });
        out
    }

    /// Whether every place depends on the one place of the input that lies where it lies.
    fn is_pointwise(&self) -> bool {
        self.input == self.output && self.kernel == [1; 3] && self.stride == [1; 3] && self.before == [0; 3]
    }

    fn tile(
        &self,
        x: &[f32],
        panels: &Panels,
        bias: Option<&[f32]>,
        layout: &Layout,
        mut tile: Tile<'_>,
        buffers: &mut Buffers,
    ) {
        let width = layout.axes[2].length;
        let rows = tile.parts.len() / panels.filters();
        let places = (rows - 1) * width + tile.parts[0].len();
        buffers.sums.clear();
        buffers.sums.resize(panels.filters() * places, 0.0);
        if let Some(bias) = bias {
            buffers.sums.chunks_mut(places).zip(bias).for_each(|(sums, &bias)| sums.fill(bias));
        }
        let plane: usize = self.input.iter().product();
        for (i, x) in x.chunks(layout.channels * plane).enumerate() {
            let channels = x.len() / plane;
            let first = i * layout.channels * layout.offsets.len();
            if self.is_pointwise() {
                let offsets: Vec<usize> = (0..channels).map(|channel| channel * plane + tile.at[2]).collect();
                panels.accumulate(first, &offsets, x, &mut buffers.sums);
            } else {
                buffers.lines.resize(channels * layout.size(), 0.0);
                let copies = buffers.lines.chunks_mut(layout.size()).zip(x.chunks(plane));
                copies.for_each(|(lines, plane)| self.copy(plane, layout, tile.at, lines));
                let offsets = (0..channels)
                    .flat_map(|channel| layout.offsets.iter().map(move |offset| channel * layout.size() + offset));
                panels.accumulate(first, &offsets.collect::<Vec<_>>(), &buffers.lines, &mut buffers.sums);
            }
        }
        for (parts, sums) in tile.parts.chunks_mut(rows).zip(buffers.sums.chunks(places)) {
            parts.iter_mut().zip(sums.chunks(width)).for_each(|(part, sums)| part.copy_from_slice(&sums[..part.len()]));
        }
    }

    /// Copies what the tile at `at` needs of one channel, phase by phase.
    fn copy(&self, plane: &[f32], layout: &Layout, at: [usize; 3], lines: &mut [f32]) {
        let [deep, high, wide] = &layout.axes;
        let mut lines = lines.chunks_mut(wide.length);
        for (&phase_z, &phase_y, &phase_x) in phases(deep, high, wide) {
            for (z, y) in (0..deep.length).flat_map(|z| (0..high.length).map(move |y| (z, y))) {
                let Some(line) = lines.next() else { return };
                match (self.source(0, at[0] + z, phase_z), self.source(1, at[1] + y, phase_y)) {
                    (Some(z), Some(y)) => self.copy_line(
                        &plane[(z * self.input[1] + y) * self.input[2]..][..self.input[2]],
                        at[2],
                        phase_x,
                        line,
                    ),
                    _ => line.fill(0.0),
                }
            }
        }
    }

    /// Where in the input `phase` behind place `place` lies; `None` in the padding.
    fn source(&self, axis: usize, place: usize, phase: usize) -> Option<usize> {
        (place * self.stride[axis] + phase).checked_sub(self.before[axis]).filter(|&at| at < self.input[axis])
    }

    /// Every stride-th element of a line of the input, as seen from place `at` on; zeros in the padding.
    fn copy_line(&self, input: &[f32], at: usize, phase: usize, line: &mut [f32]) {
        let (stride, before) = (self.stride[2], self.before[2]);
        let place =
            |source: usize| (source + before).saturating_sub(phase).div_ceil(stride).saturating_sub(at).min(line.len());
        let (start, end) = (place(0), place(input.len()));
        line[..start].fill(0.0);
        line[end..].fill(0.0);
        if start < end {
            let from = &input[(at + start) * stride + phase - before..];
            if stride == 1 {
                line[start..end].copy_from_slice(&from[..end - start]);
            } else {
                line[start..end].iter_mut().zip(from.iter().step_by(stride)).for_each(|(out, &value)| *out = value);
            }
        }
    }
}

/// What a thread keeps from tile to tile.
#[derive(Debug, Default)]
struct Buffers {
    lines: Vec<f32>,
    /// [filters, places], with the places between the rows that are thrown away.
    sums: Vec<f32>,
}

/// How the copy of a channel is laid out: [phases.., depth, lines, columns].
#[derive(Debug)]
struct Layout {
    axes: [Axis; 3],
    /// Rows and columns of a tile.
    rows: usize,
    columns: usize,
    /// Channels that are copied at once.
    channels: usize,
    /// Where each kernel element begins.
    offsets: Vec<usize>,
}

impl Layout {
    fn new(convolution: &Convolution) -> Self {
        let [depth, height, width] = convolution.output;
        let places = (depth * height * width / TILES).clamp(PLACES.start, PLACES.end);
        let columns = width.div_ceil(width.div_ceil(PLACES.start.max(places / height)));
        let rows = (places / columns).clamp(1, height);
        let axis =
            |i: usize, length| Axis::new(length, convolution.kernel[i], convolution.dilation[i], convolution.stride[i]);
        let axes = [axis(0, 1), axis(1, rows), axis(2, columns)];
        let most = (LINES / (convolution.kernel[0] * convolution.kernel[1])).max(1);
        let channels = convolution.channels.div_ceil(convolution.channels.div_ceil(most));
        let offsets = offsets(&axes);
        Self { axes, rows, columns, channels, offsets }
    }

    /// Length of the copy of a channel.
    fn size(&self) -> usize {
        self.axes.iter().map(|axis| axis.phases.len() * axis.length).product()
    }
}

/// One dimension of the copy: for each phase, elements that lie a stride apart.
#[derive(Debug)]
struct Axis {
    phases: Vec<usize>,
    /// For each kernel element, the index of its phase and how far behind the first it begins.
    taps: Vec<(usize, usize)>,
    /// Elements of a phase.
    length: usize,
}

impl Axis {
    /// What `places` places need. Kernel elements share what they have in common, unless a copy for each takes less.
    fn new(places: usize, kernel: usize, dilation: usize, stride: usize) -> Self {
        let at = |element: usize| element * dilation;
        let mut phases: Vec<usize> = (0..kernel).map(|element| at(element) % stride).collect();
        phases.sort_unstable();
        phases.dedup();
        let length = places + at(kernel - 1) / stride;
        if phases.len() * length > kernel * places {
            return Self {
                phases: (0..kernel).map(at).collect(),
                taps: (0..kernel).map(|element| (element, 0)).collect(),
                length: places,
            };
        }
        let tap =
            |element: usize| (phases.partition_point(|&phase| phase < at(element) % stride), at(element) / stride);
        Self { taps: (0..kernel).map(tap).collect(), phases, length }
    }
}

/// The phases of three dimensions, in the order in which they are laid out.
fn phases<'a>(
    deep: &'a Axis,
    high: &'a Axis,
    wide: &'a Axis,
) -> impl Iterator<Item = (&'a usize, &'a usize, &'a usize)> {
    let flat = deep.phases.iter().flat_map(|z| high.phases.iter().map(move |y| (z, y)));
    flat.flat_map(|(z, y)| wide.phases.iter().map(move |x| (z, y, x)))
}

fn offsets(axes: &[Axis; 3]) -> Vec<usize> {
    let mut offsets = vec![(0, 0)];
    for axis in axes {
        let next = |(phase, inner)| {
            axis.taps.iter().map(move |&(p, shift)| (phase * axis.phases.len() + p, inner * axis.length + shift))
        };
        offsets = offsets.into_iter().flat_map(next).collect();
    }
    let size: usize = axes.iter().map(|axis| axis.length).product();
    offsets.into_iter().map(|(phase, inner)| phase * size + inner).collect()
}

/// A piece of the result that is computed at once: the same places of some filters.
#[derive(Debug)]
struct Tile<'a> {
    /// Image times number of groups, plus group.
    group: usize,
    /// Which filters of the group.
    part: usize,
    /// Its first place.
    at: [usize; 3],
    /// The rows of the tile for each filter.
    parts: Vec<&'a mut [f32]>,
}

fn tiles<'a>(convolution: &Convolution, layout: &Layout, out: &'a mut [f32]) -> Vec<Tile<'a>> {
    let [depth, height, width] = convolution.output;
    let per_group = convolution.filters / convolution.groups;
    let mut tiles: Vec<Tile<'a>> = Vec::new();
    for (group, planes) in out.chunks_mut(per_group * depth * height * width).enumerate() {
        for (part, planes) in planes.chunks_mut(FILTERS * depth * height * width).enumerate() {
            let first = tiles.len();
            let corners = (0..depth).flat_map(|z| (0..height).step_by(layout.rows).map(move |y| (z, y)));
            let corners = corners.flat_map(|(z, y)| (0..width).step_by(layout.columns).map(move |x| [z, y, x]));
            tiles.extend(corners.map(|at| Tile { group, part, at, parts: Vec::new() }));
            let (across, down) = (width.div_ceil(layout.columns), height.div_ceil(layout.rows));
            for (row, line) in planes.chunks_mut(width).enumerate() {
                let (z, y) = (row / height % depth, row % height);
                let band = first + (z * down + y / layout.rows) * across;
                line.chunks_mut(layout.columns).zip(&mut tiles[band..]).for_each(|(part, tile)| tile.parts.push(part));
            }
        }
    }
    tiles
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every product, one by one.
    fn reference(convolution: &Convolution, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let Convolution { groups, channels, filters, input, kernel, output, .. } = *convolution;
        let [depth, height, width] = output;
        let place = |p: usize| [p / (height * width) % depth, p / width % height, p % width];
        let tap = |t: usize| [t / (kernel[1] * kernel[2]), t / kernel[2] % kernel[1], t % kernel[2]];
        let (plane, taps) = (input.iter().product::<usize>(), kernel.iter().product::<usize>());
        let value = |filter: usize, p: usize| {
            let product = |i: usize| {
                let (channel, tap) = (filter / (filters / groups) * channels + i / taps, tap(i % taps));
                let at = |axis: usize| convolution.source(axis, place(p)[axis], tap[axis] * convolution.dilation[axis]);
                let (Some(z), Some(y), Some(x_at)) = (at(0), at(1), at(2)) else { return 0.0 };
                weight[filter * channels * taps + i] * x[channel * plane + (z * input[1] + y) * input[2] + x_at]
            };
            (0..channels * taps).map(product).sum()
        };
        (0..filters)
            .flat_map(|filter| (0..depth * height * width).map(move |p| (filter, p)))
            .map(|(f, p)| value(f, p))
            .collect()
    }

    /// The input, the kernel, strides, dilations, zeros in front and behind.
    type Case = [[usize; 3]; 6];

    /// Small integers, whose sums are exact in any order.
    fn check(groups: usize, channels: usize, filters: usize, [input, kernel, stride, dilation, before, after]: Case) {
        let places = |i: usize| (input[i] + before[i] + after[i] - (kernel[i] - 1) * dilation[i] - 1) / stride[i] + 1;
        let output = [places(0), places(1), places(2)];
        let convolution = Convolution { groups, channels, filters, input, kernel, output, stride, dilation, before };
        let numbers = |count: usize| (0..count).map(|i| ((i * 37) % 11) as f32 - 5.0).collect::<Vec<_>>();
        let x = numbers(groups * channels * input.iter().product::<usize>());
        let weight = numbers(filters * channels * kernel.iter().product::<usize>());
        let expected = reference(&convolution, &x, &weight);
        let what = format!("{convolution:?}");
        assert!(convolution.run(&x, &weight, None, 1) == expected, "{what}");
    }

    #[test]
    fn tiles_together_are_the_convolution() {
        let (one, none) = ([1; 3], [0; 3]);
        check(1, 3, 5, [[1, 40, 300], [1, 3, 3], one, one, [0, 1, 1], [0, 1, 1]]);
        check(1, 2, 70, [[1, 1, 2500], [1, 1, 5], one, [1, 1, 3], [0, 0, 4], [0, 0, 9]]);
        check(2, 2, 4, [[1, 33, 70], [1, 4, 3], [1, 3, 2], [1, 2, 1], [0, 0, 2], [0, 3, 0]]);
        check(1, 2, 3, [[5, 6, 70], [2, 3, 2], [2, 1, 3], [1, 1, 2], [1, 0, 1], [0, 2, 1]]);
        check(6, 1, 6, [[1, 20, 50], [1, 3, 3], one, one, [0, 1, 1], [0, 1, 1]]);
        check(1, 2, 2, [[1, 30, 30], [1, 2, 2], one, [1, 29, 25], none, none]);
    }

    #[test]
    fn one_place_of_many_channels_needs_no_copy() {
        check(1, 150, 66, [[1, 9, 31], [1; 3], [1; 3], [1; 3], [0; 3], [0; 3]]);
        check(2, 3, 2, [[2, 40, 50], [1; 3], [1; 3], [1; 3], [0; 3], [0; 3]]);
    }

    #[test]
    fn far_taps_take_no_memory() {
        let far = 1 << 40;
        check(1, 1, 1, [[1, 1, 4], [1, 1, 2], [1; 3], [1, 1, far], [0, 0, far], [0; 3]]);
    }
}
